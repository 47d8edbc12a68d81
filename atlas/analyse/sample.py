"""The neurons of an atlas in one order, and their responses to the images of the response sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.arrays import Floats
from atlas.errors import FolderError
from atlas.store.codes import Ids, matrix
from atlas.store.files import Folder

HELD = 1 << 28
"""Responses (neurons x images) held in memory at once: 1 GiB. Of a larger sample, evenly spaced images are compared."""

Rows = npt.NDArray[np.int64]


class Order:
    """The neurons in the order of a table with columns layer and channel: neuron number `n` is its row `n`."""

    def __init__(self, neurons: pa.Table) -> None:
        self.layer = neurons.column("layer").combine_chunks()
        self.channel = neurons.column("channel").combine_chunks()
        self._rows = {
            key: row for row, key in enumerate(zip(self.layer.to_pylist(), self.channel.to_pylist(), strict=True))
        }

    def __len__(self) -> int:
        return len(self.layer)

    def rows(self, table: pa.Table) -> Rows:
        """Neuron number of each row of a table with columns layer and channel. Raises `FolderError`."""
        keys = zip(table.column("layer").to_pylist(), table.column("channel").to_pylist(), strict=True)
        try:
            return np.array([self._rows[key] for key in keys], np.int64)
        except KeyError as error:
            raise FolderError(f"neuron {error.args[0]}: expected a row in neurons, found none; build again") from None

    def of_layer(self, layer: str, channels: int) -> Rows:
        """Neuron number of each channel of a layer. Raises `FolderError`."""
        try:
            return np.array([self._rows[layer, channel] for channel in range(channels)], np.int64)
        except KeyError as error:
            raise FolderError(f"neuron {error.args[0]}: expected a row in neurons, found none; build again") from None

    def columns(self, rows: Rows, prefix: str = "") -> dict[str, pa.Array]:
        """The columns layer and channel (with a prefix) of neurons by number."""
        take = pa.array(rows)
        return {f"{prefix}layer": self.layer.take(take), f"{prefix}channel": self.channel.take(take)}


@dataclass(frozen=True)
class Responses:
    """Side-max responses of a layer to the images of the sample: (images, channels), image_id ascending."""

    layer: str
    image_ids: Ids
    maxima: Floats


class Sample:
    """The response sample of a folder, a layer at a time. `image_ids`: those compared, ascending."""

    def __init__(self, folder: Folder, neurons: int) -> None:
        self._folder = folder
        self._parts = [f"responses/{name}" for name in folder.names("responses")]
        every = self._ids(self._parts[0]) if self._parts else np.empty(0, np.int64)
        every = np.sort(every)
        most = max(1, HELD // max(neurons, 1))
        if len(every) > most:
            every = every[np.linspace(0, len(every) - 1, most).astype(np.int64)]
        self.image_ids: Ids = every

    def _ids(self, part: str) -> Ids:
        with self._folder.open(part) as stream:
            return np.asarray(pq.read_table(stream, columns=["image_id"]).column("image_id").to_numpy())

    def layers(self) -> Iterator[Responses]:
        """The responses of every layer, in the order of the files. Raises `FolderError` where samples differ."""
        for part in self._parts:
            yield from self._read(part)

    def _read(self, part: str) -> Iterator[Responses]:
        with self._folder.open(part) as stream:
            table = pq.read_table(stream, columns=["layer", "image_id", "max"])
        if not len(table):
            return
        ids = table.column("image_id").to_numpy()
        order = np.argsort(ids, kind="stable")
        places = np.minimum(np.searchsorted(ids[order], self.image_ids), len(ids) - 1)
        rows = order[places]
        if (ids[rows] != self.image_ids).any():
            raise FolderError(f"{self._folder.location}/{part}: expected the images of the first part; build again")
        maxima = matrix(table.column("max"))[rows].astype(np.float32, copy=False)  # (images, channels)
        yield Responses(table.column("layer")[0].as_py(), self.image_ids, maxima)
