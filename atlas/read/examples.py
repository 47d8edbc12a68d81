"""The examples of each neuron, laid out for reading one neuron at a time, and found again by image."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.errors import FolderError
from atlas.read.images import Images
from atlas.read.layers import Layers
from atlas.read.pictures import Columns, Packs, Place, none, nowhere
from atlas.read.records import Array, Records
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
_EXTRA = np.dtype(
    [
        ("row", "<i8"),
        ("kind", "u1"),
        ("pack", "<u2"),
        ("offset", "<i8"),
        ("length", "<u4"),
        ("seed", "<f4"),
        ("scale", "<f4"),
    ]
)
_MEASURES = ("keeps", "loses", "keeps_random", "loses_random")
_EVIDENCE = np.dtype([("row", "<i8"), ("kind", "u1"), *((name, "<f4") for name in _MEASURES)])
_SIDE = {side: number for number, side in enumerate(SIDES)}


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
        self._records = Records(_EXAMPLE, layers.neurons, "examples.parquet")
        self._extras = Records(_EXTRA, layers.neurons, "examples.parquet")
        self._evidence = Records(_EVIDENCE, layers.neurons, "examples.parquet")
        self._best = np.zeros(layers.neurons, _PLACE)
        self._best["why"] = 1
        held: list[Array] = [np.empty(0, np.int64)]
        file = pq.ParquetFile(folder / layout.table("examples"), read_dictionary=["layer", "side"])
        for batch in file.iter_batches(32_768):
            held.append(self._lay_out(batch, layers, images))
        for records in (self._records, self._extras, self._evidence):
            records.seal()
        self._hold(np.concatenate(held), images.count)

    def _lay_out(self, batch: pa.RecordBatch, layers: Layers, images: Images) -> Array:
        """Takes in some rows; returns the rows of their images."""
        first = self._records.total
        neuron = layers.numbers("examples", batch.column("layer"), batch.column("channel"))
        rows = np.empty(len(batch), _EXAMPLE)
        rows["side"] = _sides(batch.column("side"))
        for name in (
            "rank",
            "image_id",
            "response",
            "y",
            "x",
            *(f"{of}_{e}" for of in ("field", "image") for e in _EDGES),
        ):
            rows[name] = batch.column(name).to_numpy(zero_copy_only=False)
        rows["duplicate_of"] = batch.column("duplicate_of").fill_null(-1).to_numpy()
        row = images.rows_of(rows["image_id"], "examples")
        for name in ("class_id", "width", "height", "thumbnail", "picture"):
            rows[name] = getattr(images.known, name)[row]
        crop = self._packs.columns(batch.column("crop"), seeded=False)
        for name in ("pack", "offset", "length", "why"):
            rows[name] = getattr(crop, name)
        best = np.flatnonzero((rows["side"] == 0) & (rows["rank"] == 0))
        for name in ("pack", "offset", "length", "why"):
            self._best[name][neuron[best]] = rows[name][best]
        extras = []
        for number, kind in enumerate(KINDS):
            columns = self._packs.columns(batch.column(kind))
            rows[f"why_{kind}"] = np.where(columns.pack > 0, 0, np.maximum(columns.why, 1))
            extras.append(_extras(columns, number, first))
        self._records.append(neuron, rows)
        _append(self._extras, neuron, np.concatenate(extras), first)
        _append(self._evidence, neuron, _evidences(batch.column("evidence"), first), first)
        return row

    def _hold(self, rows: Array, images: int) -> None:
        """Lays out the numbers of the examples of each image."""
        order = np.argsort(rows, kind="stable")
        self._holders = Records(np.dtype("<u4"), images, "examples.parquet")
        self._holders.append(rows[order], order.astype(np.uint32))
        self._holders.seal()

    def of(self, neuron: int) -> list[Example]:
        """The examples of a neuron by its number: sides in the order of `SIDES`, by rank."""
        first = self._records.first(neuron)
        raw = self._records.of(neuron).tolist()
        extras = self._extras.of(neuron).tolist()
        pictures: list[list[Place]] = [self._absent(values) for values in raw]
        packs = self._packs.packs.texts
        for row, kind, pack, offset, length, seed, scale in extras:
            pictures[row - first][kind] = Place(packs[pack], offset, length, None, none(seed), none(scale))
        evidence: list[list[tuple[float, float, float, float] | None]] = [[None] * len(PROJECTIONS) for _ in raw]
        for row, kind, *measures in self._evidence.of(neuron).tolist():
            evidence[row - first][kind] = tuple(measures)
        found = [self._example(*each) for each in zip(raw, pictures, evidence, strict=True)]
        found.sort(key=lambda example: (_SIDE[example.side], example.rank))
        return found

    def _absent(self, values: Any) -> list[Place]:
        return [_NOWHERE if code == 0 else self._nowhere(code) for code in values[-len(KINDS) :]]

    def _nowhere(self, code: int) -> Place:
        return nowhere(self._packs.whys.texts[code])

    def _example(self, v: Any, pictures: list[Place], evidence: list[Any]) -> Example:
        whys, packs = self._packs.whys.texts, self._packs.packs.texts
        crop = Place(packs[v[20]], v[21], v[22], None, None, None) if v[20] else nowhere(whys[v[23]])
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
        return self._nowhere(why) if name is None else Place(name, offset, length, None, None, None)

    def close(self) -> None:
        for records in (self._records, self._extras, self._evidence, self._holders):
            records.close()


_NOWHERE = nowhere("not there")


def _sides(column: pa.Array) -> Array:
    names = column.dictionary.to_pylist()
    if any(name not in _SIDE for name in names):
        raise FolderError(f"examples.parquet names sides {names}; expected {', '.join(SIDES)}")
    return np.array([*(_SIDE[name] for name in names), 0], np.uint8)[column.indices.to_numpy()]


def _extras(columns: Columns, kind: int, first: int) -> Array:
    there = np.flatnonzero(columns.pack)
    rows = np.empty(len(there), _EXTRA)
    rows["row"], rows["kind"] = there + first, kind
    for name in ("pack", "offset", "length", "seed", "scale"):
        rows[name] = getattr(columns, name)[there]
    return rows


def _evidences(column: pa.StructArray, first: int) -> Array:
    """Rows of the evidence that there is."""
    found = [np.empty(0, _EVIDENCE)]
    for name, kind in zip(column.type.names, column.flatten(), strict=True):
        if name not in PROJECTIONS:
            continue
        there = np.flatnonzero(kind.is_valid().to_numpy(zero_copy_only=False))
        if len(there) == 0:
            continue
        rows = np.empty(len(there), _EVIDENCE)
        rows["row"], rows["kind"] = there + first, PROJECTIONS.index(name)
        taken = kind.take(pa.array(there))
        for measure, values in zip(taken.type.names, taken.flatten(), strict=True):
            rows[measure] = values.fill_null(np.nan).to_numpy(zero_copy_only=False)
        found.append(rows)
    return np.concatenate(found)


def _append(records: Records, neuron: Array, rows: Array, first: int) -> None:
    rows = rows[np.argsort(rows["row"], kind="stable")]
    records.append(neuron[rows["row"] - first], rows)
