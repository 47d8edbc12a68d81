"""The examples of a unit while they are harvested: numbers as arrays, pictures as they are cut and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from atlas.arrays import Floats, Ints
from atlas.store import schema
from atlas.store.pictures import Picture, missing
from atlas.types import Box, Layer, Placement

_EDGES = ("left", "top", "right", "bottom")
NOT_ASKED = "not asked for"


@dataclass
class Found:
    """E examples. `number` (E,) is the place of the layer among `layers`; `image` (E,) the row of the unit's images."""

    layers: Sequence[Layer]
    winners: pa.Table
    number: Ints
    channel: Ints
    image: Ints
    lowest: NDArray[np.bool_]
    side: list[str]
    rank: Ints
    response: Floats
    y: NDArray[np.int32] = field(init=False)
    x: NDArray[np.int32] = field(init=False)
    pictures: dict[str, list[Picture]] = field(init=False)
    evidence: list[dict[str, Any] | None] = field(init=False)
    done: int = field(init=False, default=0)
    """Examples that want no more pictures, for the progress line."""

    def __post_init__(self) -> None:
        count = len(self.number)
        self.y, self.x = np.zeros(count, np.int32), np.zeros(count, np.int32)
        kinds = [f.name for f in schema.EXAMPLES if f.type == schema.PICTURE]
        self.pictures = {kind: [missing(NOT_ASKED)] * count for kind in kinds}
        self.evidence = [None] * count

    def __len__(self) -> int:
        return len(self.number)

    def layer(self, row: int) -> Layer:
        return self.layers[int(self.number[row])]

    def box(self, row: int) -> Box:
        """The field of an example, in input pixels, before clipping."""
        return self.layer(row).field.box(int(self.y[row]), int(self.x[row]))

    def member(self, kind: str, row: int, ending: str) -> str:
        """The name of a picture inside its pack."""
        neuron = f"{self.layer(row).index:03d}-{self.channel[row]:05d}"
        return f"{kind}-{neuron}-{self.side[row]}-{self.rank[row]:02d}.{ending}"

    def table(self, placements: Sequence[Placement]) -> pa.Table:
        """The rows by `schema.EXAMPLES`; `placements` of the unit's images."""
        boxes = [self.box(row) for row in range(len(self))]
        stored = [placements[i].to_stored(box) for i, box in zip(self.image, boxes, strict=True)]
        columns: dict[str, Any] = {
            "layer": [self.layers[i].name for i in self.number],
            "channel": self.channel,
            "side": self.winners.column("side").combine_chunks(),
            "rank": self.winners.column("rank").combine_chunks(),
            "image_id": self.winners.column("image_id").combine_chunks(),
            "response": self.winners.column("response").combine_chunks(),
            "y": self.y,
            "x": self.x,
            **{f"field_{edge}": [int(getattr(box, edge)) for box in boxes] for edge in _EDGES},
            **{f"image_{edge}": [float(getattr(box, edge)) for box in stored] for edge in _EDGES},
            **self.pictures,
            "evidence": self.evidence,
            "duplicate_of": [None] * len(self),
        }
        return pa.table([pa.array(columns[f.name], f.type) for f in schema.EXAMPLES], schema=schema.EXAMPLES)


def find(layers: Sequence[Layer], winners: pa.Table, image_ids: Ints) -> Found:
    """The unit's winners, not yet placed; `image_ids` ascends."""
    neuron = winners.column("neuron").to_numpy().astype(np.int64)
    first = np.concatenate([[0], np.cumsum([layer.channels for layer in layers])])
    side = winners.column("side").to_pylist()
    number = np.searchsorted(first, neuron, side="right") - 1
    return Found(
        layers,
        winners,
        number,
        neuron - first[number],
        np.searchsorted(image_ids, winners.column("image_id").to_numpy()),
        np.array([name == "min" for name in side], bool),
        side,
        winners.column("rank").to_numpy().astype(np.int64),
        winners.column("response").to_numpy(),
    )
