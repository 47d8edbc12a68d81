"""The examples of each neuron, laid out for reading one neuron at a time, and found again by image."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.errors import FolderError
from atlas.read.images import Images, put
from atlas.read.layers import Layers
from atlas.read.pictures import Columns, Packs, Place, none, nowhere
from atlas.read.records import Array, Records, ahead
from atlas.store import layout
from atlas.types import PROJECTIONS, SIDES

KINDS = (*PROJECTIONS, "gradient_max", "occlusion")
"""Picture columns beside the crop."""
_EDGES = ("left", "top", "right", "bottom")
_PLACE = np.dtype([("pack", "<u2"), ("offset", "<i8"), ("length", "<u4"), ("why", "<u2")])
_EXAMPLE = np.dtype(
    [
        ("side", "u1"), ("rank", "<i4"), ("image_id", "<i8"), ("response", "<f4"), ("y", "<i4"), ("x", "<i4"),
        *((f"field_{edge}", "<i4") for edge in _EDGES), *((f"image_{edge}", "<f8") for edge in _EDGES),
        ("duplicate_of", "<i8"), ("class_id", "<i4"), ("width", "<i4"), ("height", "<i4"),
        ("thumbnail", "<u2"), ("picture", "<u2"),
        *((name, _PLACE[name]) for name in ("pack", "offset", "length", "why")),
        *((f"why_{kind}", "<u2") for kind in KINDS),
    ]
)  # fmt: skip
_PICTURE = np.dtype(
    [("row", "<i8"), ("pack", "<u2"), ("offset", "<i8"), ("length", "<u4"), ("seed", "<f4"), ("scale", "<f4")]
)
_MEASURES = ("keeps", "loses", "keeps_random", "loses_random")
_EVIDENCE = np.dtype(
    [
        ("row", "<i8"), *((kind, "?") for kind in PROJECTIONS),
        *((f"{kind}_{measure}", "<f4") for kind in PROJECTIONS for measure in _MEASURES),
    ]
)  # fmt: skip
_PLAIN = ("rank", "image_id", "response", "y", "x", *(f"{of}_{e}" for of in ("field", "image") for e in _EDGES))
_SIDE: dict[str, int] = {side: number for number, side in enumerate(SIDES)}


class Example(NamedTuple):
    """One row of examples.parquet, with what its image says; boxes as (left, top, right, bottom)."""

    side: str
    rank: int
    image_id: int
    response: float
    y: int
    x: int
    field: tuple[int, int, int, int]
    box: tuple[float, float, float, float]
    duplicate_of: int | None
    class_id: int | None
    width: int
    height: int
    no_thumbnail: str | None
    no_picture: str | None
    crop: Place
    pictures: list[Place]
    """In the order of `KINDS`."""
    evidence: list[tuple[float, float, float, float] | None]
    """In the order of `PROJECTIONS`: keeps, loses, keeps_random, loses_random."""


class Examples:
    """examples.parquet by neuron; and by image, the neurons that hold it."""

    def __init__(self, folder: Path, layers: Layers, images: Images, packs: Packs) -> None:
        self._packs = packs
        self._whys: list[Place] = []
        self._records = Records(_EXAMPLE, layers.neurons, "examples.parquet")
        self._pictures = [Records(_PICTURE, layers.neurons, "examples.parquet") for _ in KINDS]
        self._evidence = Records(_EVIDENCE, layers.neurons, "examples.parquet")
        self._best = np.zeros(layers.neurons, _PLACE)
        self._best["why"] = 1
        held: list[Array] = [np.empty(0, np.uint32)]
        file = pq.ParquetFile(folder / layout.table("examples"), read_dictionary=["layer", "side"])
        for batch in ahead(file.iter_batches(16_384)):
            held.append(self._lay_out(batch, layers, images))
        self._hold(held, images.count)

    def _lay_out(self, batch: pa.RecordBatch, layers: Layers, images: Images) -> Array:
        """Takes in some rows; returns the rows of their images."""
        first = self._records.total
        neuron = layers.numbers("examples", batch.column("layer"), batch.column("channel"))
        rows = np.empty(len(batch), _EXAMPLE)
        rows["side"] = _sides(batch.column("side"))
        for name in _PLAIN:
            rows[name] = batch.column(name).to_numpy(zero_copy_only=False)
        rows["duplicate_of"] = batch.column("duplicate_of").fill_null(-1).to_numpy()
        row = images.rows_of(rows["image_id"], "examples")
        for name in ("class_id", "width", "height", "thumbnail", "picture"):
            rows[name] = getattr(images.known, name)[row]
        put(rows, self._packs.columns(batch.column("crop")))
        best = np.flatnonzero((rows["side"] == 0) & (rows["rank"] == 0))
        for name in _PLACE.names or ():
            self._best[name][neuron[best]] = rows[name][best]
        for kind, records in zip(KINDS, self._pictures, strict=True):
            columns = self._packs.columns(batch.column(kind))
            rows[f"why_{kind}"] = columns.why
            records.append(neuron[columns.row], _drawn(columns, first))
        self._records.append(neuron, rows)
        there, tested = _evidences(batch.column("evidence"), first)
        self._evidence.append(neuron[there], tested)
        return row.astype(np.uint32)

    def _hold(self, held: list[Array], images: int) -> None:
        """Lays out the numbers of the examples of each image."""
        keys = np.concatenate(held).astype(np.int64)
        held.clear()
        keys <<= 32
        keys |= np.arange(len(keys))
        keys.sort()  # by image, then by number
        self._holders = Records(np.dtype("<u4"), images, "examples.parquet")
        self._holders.append(keys >> 32, keys.astype(np.uint32))

    def of(self, neuron: int) -> list[Example]:
        """The examples of a neuron by its number: sides in the order of `SIDES`, by rank."""
        first = self._records.first(neuron)
        raw = self._records.of(neuron).tolist()
        absent = self._absent()
        pictures = [[absent[code] for code in values[-len(KINDS) :]] for values in raw]
        packs = self._packs.packs.texts
        for kind, records in enumerate(self._pictures):
            if records.count(neuron):
                for row, pack, offset, length, seed, scale in records.of(neuron).tolist():
                    pictures[row - first][kind] = Place(packs[pack], offset, length, None, none(seed), none(scale))
        evidence: list[list[tuple[float, float, float, float] | None]] = [_UNTESTED] * len(raw)
        if self._evidence.count(neuron):
            kinds, size = len(PROJECTIONS), len(_MEASURES)
            for row, *rest in self._evidence.of(neuron).tolist():
                there, values = rest[:kinds], rest[kinds:]
                evidence[row - first] = [
                    tuple(values[size * k : size * (k + 1)]) if tested else None for k, tested in enumerate(there)
                ]
        found = [self._example(*each) for each in zip(raw, pictures, evidence, strict=True)]
        found.sort(key=_order)
        return found

    def _absent(self) -> list[Place]:
        """Pictures that are not there, by the number of the reason."""
        if len(self._whys) != len(self._packs.whys.texts):
            self._whys = [nowhere(text) for text in self._packs.whys.texts]
        return self._whys

    def _example(self, v: Any, pictures: list[Place], evidence: list[Any]) -> Example:
        whys, packs = self._packs.whys.texts, self._packs.packs.texts
        crop = Place(packs[v[20]], v[21], v[22], None, None, None) if v[20] else self._absent()[v[23]]
        return Example(
            SIDES[v[0]], v[1], v[2], v[3], v[4], v[5], v[6:10], v[10:14],
            v[14] if v[14] >= 0 else None, v[15] if v[15] >= 0 else None, v[16], v[17],
            whys[v[18]], whys[v[19]], crop, pictures, evidence,
        )  # fmt: skip

    def holding(self, row: int, first: int, count: int) -> tuple[list[tuple[int, Example]], int]:
        """Neurons (by number) that hold the image in `row`, with their examples of it, and how many there are.

        In the order of examples.parquet; `count` from the `first` on. Pictures beside the crop are not read.
        """
        total = self._holders.count(row)
        numbers = self._holders.span(self._holders.first(row) + first, max(0, min(count, total - first)))
        neurons = self._records.group_of(numbers.astype(np.int64))
        found = []
        for neuron, number in zip(neurons.tolist(), numbers.tolist(), strict=True):
            values = self._records.span(number, 1).tolist()[0]
            found.append((neuron, self._example(values, [], [])))
        return found, total

    def strongest(self, neuron: int) -> Place:
        """Crop of a neuron's strongest example."""
        pack, offset, length, why = self._best[neuron].item()
        name = self._packs.packs.texts[pack]
        return self._absent()[why] if name is None else Place(name, offset, length, None, None, None)

    def close(self) -> None:
        for records in (self._records, *self._pictures, self._evidence, self._holders):
            records.close()


_UNTESTED: list[tuple[float, float, float, float] | None] = [None] * len(PROJECTIONS)


def _order(example: Example) -> tuple[int, int]:
    return _SIDE[example.side], example.rank


def _sides(column: pa.Array) -> Array:
    names = column.dictionary.to_pylist()
    if any(name not in _SIDE for name in names):
        raise FolderError(f"examples.parquet names sides {names}; expected {', '.join(SIDES)}")
    return np.asarray(np.array([*(_SIDE[name] for name in names), 0], np.uint8)[column.indices.to_numpy()])


def _drawn(columns: Columns, first: int) -> Array:
    """Records of the pictures that there are."""
    rows = np.empty(len(columns.row), _PICTURE)
    rows["row"] = columns.row + first
    for name in ("pack", "offset", "length", "seed", "scale"):
        rows[name] = getattr(columns, name)
    return rows


def _evidences(column: pa.StructArray, first: int) -> tuple[Array, Array]:
    """Rows of the table that have evidence for some kind, and their records."""
    kinds = dict(zip(column.type.names, column.flatten(), strict=True))
    tested = [kinds[name].is_valid().to_numpy(zero_copy_only=False) for name in PROJECTIONS]
    there = np.flatnonzero(np.any(tested, axis=0))
    rows = np.empty(len(there), _EVIDENCE)
    rows["row"] = there + first
    for at, name in enumerate(PROJECTIONS):
        rows[name] = tested[at][there]
        taken = kinds[name].take(pa.array(there))
        values = dict(zip(taken.type.names, taken.flatten(), strict=True))
        for each in _MEASURES:
            rows[f"{name}_{each}"] = values[each].fill_null(np.nan).to_numpy(zero_copy_only=False)
    return there, rows
