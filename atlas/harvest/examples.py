"""The examples of a chunk while they are harvested: numbers as arrays, pictures as they are cut and drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from atlas.arrays import Flags, Floats, Ints
from atlas.explain.masking import Evidence
from atlas.network.recorder import cell
from atlas.store.pictures import Picture, missing
from atlas.tables.columns import EDGES
from atlas.tables.examples import EXAMPLES, EXPLANATIONS
from atlas.types import Box, Layer, Placement


@dataclass
class Found:
    """E examples. `number` (E,) is the place of the layer among `layers`; `image` (E,) the row of the chunk's images.

    `reference` (E,): what the response is measured from.
    """

    layers: Sequence[Layer]
    winners: pa.Table
    number: Ints
    channel: Ints
    image: Ints
    lowest: NDArray[np.bool_]
    side: list[str]
    rank: Ints
    response: Floats
    reference: Floats
    y: NDArray[np.int32] = field(init=False)
    x: NDArray[np.int32] = field(init=False)
    crops: list[Picture] = field(init=False)
    explanations: dict[str, dict[int, Picture]] = field(init=False, default_factory=dict)
    """By kind of picture, then by row: a picture, or why there is none."""
    evidence: dict[int, Mapping[str, Evidence | None]] = field(init=False, default_factory=dict)
    """By row, then by kind."""
    done: int = field(init=False, default=0)
    """Examples that want no more pictures and no more tests, for the progress line."""

    def __post_init__(self) -> None:
        count = len(self.number)
        self.y, self.x = np.zeros(count, np.int32), np.zeros(count, np.int32)
        self.crops = [missing("the crop is still to be cut")] * count

    def __len__(self) -> int:
        return len(self.number)

    def count(self, more: int) -> None:
        """So many examples more are done."""
        self.done += more

    @property
    def driven(self) -> Flags:
        """Which examples have something to explain: a response beyond its reference."""
        return np.where(self.lowest, self.response < self.reference, self.response > self.reference)

    def why_not(self, row: int) -> str:
        """Why an example that is not driven has no picture."""
        return why_not(float(self.response[row]), float(self.reference[row]), lowest=bool(self.lowest[row]))

    def explain(self, kind: str, row: int, picture: Picture) -> None:
        """Keeps a picture of an example, or why there is none."""
        self.explanations.setdefault(kind, {})[row] = picture

    def layer(self, row: int) -> Layer:
        return self.layers[int(self.number[row])]

    def box(self, row: int) -> Box:
        """The field of an example, in input pixels, before clipping."""
        return self.layer(row).field.box(int(self.y[row]), int(self.x[row]))

    def member(self, kind: str, row: int, ending: str) -> str:
        """The name of a picture inside its pack."""
        neuron = f"{self.layer(row).index:03d}-{self.channel[row]:05d}"
        return f"{kind}-{neuron}-{self.side[row]}-{self.rank[row]:02d}.{ending}"

    def table(self, placements: Sequence[Placement], height: int, width: int) -> pa.Table:
        """The rows by the table `examples`, and `reference`; `placements` of the chunk's images, `height` and `width`
        of the network's input."""
        boxes = [self.box(row) for row in range(len(self))]
        cells = [cell(self.layer(row), int(self.y[row]), int(self.x[row]), height, width) for row in range(len(self))]
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
            **{f"field_{edge}": [int(getattr(box, edge)) for box in boxes] for edge in EDGES},
            **{f"cell_{edge}": [float(getattr(each, edge)) for each in cells] for edge in EDGES},
            **{f"image_{edge}": [float(getattr(box, edge)) for box in stored] for edge in EDGES},
            "crop": self.crops,
            "duplicate_of": [None] * len(self),
        }
        table = pa.table([pa.array(columns[f.name], f.type) for f in EXAMPLES.columns], schema=EXAMPLES.columns)
        return table.append_column("reference", pa.array(self.reference))

    def explained(self) -> pa.Table:
        """The rows by the table `explanations`: by example, then in the order of the kinds."""
        rows = []
        for row in range(len(self)):
            tested = self.evidence.get(row, {})
            for kind in self.explanations:
                if row in self.explanations[kind]:
                    name = {
                        "layer": self.layer(row).name,
                        "channel": int(self.channel[row]),
                        "side": self.side[row],
                        "rank": int(self.rank[row]),
                        "kind": kind,
                        "picture": self.explanations[kind][row],
                    }
                    rows.append({**name, **(tested.get(kind) or {})})
        return pa.Table.from_pylist(rows, schema=EXPLANATIONS.columns)


def why_not(response: float, reference: float, *, lowest: bool) -> str:
    """Why an example that is not driven has no picture."""
    side, named = "below" if lowest else "above", "0" if reference == 0 else f"its reference {reference:.4g}"
    return f"the response is {response:.4g}, not {side} {named}: nothing in the image drives the neuron there"


def find(layers: Sequence[Layer], winners: pa.Table, image_ids: Ints) -> Found:
    """The chunk's winners, not yet placed; `image_ids` ascends."""
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
        winners.column("reference").to_numpy(),
    )
