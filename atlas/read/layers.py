"""The layers of an atlas, and the number of each neuron: channels counted through all layers in order."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import numpy as np

from atlas.errors import FolderError, NotFoundError
from atlas.read import source
from atlas.read.records import Array, Words
from atlas.store.files import Folder
from atlas.types import Neuron


class Layers:
    """Layers in forward order. A neuron's number is `first[layer] + channel`."""

    def __init__(self, folder: Folder) -> None:
        table = source.read(folder, "layers")
        self.rows: list[dict[str, Any]] = sorted(table.to_pylist(), key=lambda row: row["index"])
        self.names: list[str] = [row["layer"] for row in self.rows]
        self.position = {name: i for i, name in enumerate(self.names)}
        if len(self.position) != len(self.names):
            raise FolderError("layers.parquet names a layer twice")
        sizes = [row["channels"] for row in self.rows]
        if min(sizes, default=0) < 0:
            raise FolderError("layers.parquet has a negative number of channels")
        self.first: list[int] = [0, *np.cumsum(sizes).tolist()]
        self.neurons = self.first[-1]

    def __len__(self) -> int:
        return len(self.rows)

    def index(self, layer: str) -> int:
        """Position of a layer, from 0. Raises `NotFoundError`."""
        try:
            return self.position[layer]
        except KeyError:
            raise NotFoundError(f"layer {layer!r}: no such layer; expected one of those that …/layers lists") from None

    def number(self, layer: str, channel: int) -> int:
        """Number of a neuron. Raises `NotFoundError`."""
        at = self.index(layer)
        channels = self.first[at + 1] - self.first[at]
        if not 0 <= channel < channels:
            raise NotFoundError(f"channel {channel} of layer {layer!r}: expected 0 to {channels - 1}")
        return self.first[at] + channel

    def neuron(self, number: int) -> Neuron:
        """Layer and channel of a neuron by its number."""
        at = bisect_right(self.first, number) - 1
        return Neuron(self.names[at], number - self.first[at])

    def positions(self, table: str, layer: Any) -> Array:
        """Positions of the layers of a column, from 0. Raises `FolderError` for an unknown one."""
        words = Words()
        code = words.encode(layer, np.int32)
        try:
            of = np.array([-1, *(self.position[name or ""] for name in words.texts[1:])])
        except KeyError as error:
            raise FolderError(f"{table}.parquet names layer {error}, which layers.parquet does not have") from None
        if len(code) and not code.all():
            raise FolderError(f"{table}.parquet has a row without a layer")
        return np.asarray(of[code])

    def numbers(self, table: str, layer: Any, channel: Any) -> Array:
        """Numbers of the neurons of the columns `layer` and `channel`. Raises `FolderError` for an unknown one."""
        at = self.positions(table, layer)
        first = np.array(self.first)
        channels = np.asarray(channel.to_numpy(zero_copy_only=False)).astype(np.int64)
        if len(at) and (channels.min() < 0 or (channels >= (first[1:] - first[:-1])[at]).any()):
            raise FolderError(f"{table}.parquet has a channel that its layer does not have")
        return np.asarray(first[at] + channels)
