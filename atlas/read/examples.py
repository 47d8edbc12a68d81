"""The examples of each neuron, laid out for reading one neuron at a time, and found again by image."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from atlas.errors import FolderError
from atlas.read import source
from atlas.read.images import Images, put
from atlas.read.layers import Layers
from atlas.read.pictures import Packs, Place, none, nowhere
from atlas.read.records import Array, Records, Words, ahead
from atlas.read.trust import in_order
from atlas.store.files import Folder
from atlas.tables.columns import MEASURES
from atlas.types import SIDES

_EDGES = ("left", "top", "right", "bottom")
_PLACE = np.dtype([("pack", "<u2"), ("offset", "<i8"), ("length", "<u4"), ("why", "<u2")])
_EXAMPLE = np.dtype(
    [
        ("side", "u1"), ("rank", "<i4"), ("image_id", "<i8"), ("response", "<f4"), ("y", "<i4"), ("x", "<i4"),
        *((f"field_{edge}", "<i4") for edge in _EDGES), *((f"image_{edge}", "<f8") for edge in _EDGES),
        *((f"cell_{edge}", "<f8") for edge in _EDGES),
        ("duplicate_of", "<i8"), ("class_id", "<i4"), ("width", "<i4"), ("height", "<i4"),
        ("thumbnail", "<u2"), ("picture", "<u2"),
        *((name, _PLACE[name]) for name in ("pack", "offset", "length", "why")),
    ]
)  # fmt: skip
_EXPLANATION = np.dtype(
    [
        ("side", "u1"), ("rank", "<i4"), ("kind", "<u2"), *((name, _PLACE[name]) for name in _PLACE.names or ()),
        ("seed", "<f4"), ("scale", "<f4"), ("tested", "?"), *((name, "<f4") for name in MEASURES),
    ]
)  # fmt: skip
_PLAIN = (
    "rank", "image_id", "response", "y", "x", *(f"{of}_{e}" for of in ("field", "image", "cell") for e in _EDGES),
)  # fmt: skip
Evidence = tuple[float | None, float | None, float | None, float | None]
"""Sufficiency and comprehensiveness, then the same of a random mask."""
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
    cell: tuple[float, float, float, float]
    crop: Place
    pictures: dict[str, tuple[Place, Evidence | None]]
    """By kind: the picture, or why there is none, and its evidence where it was tested."""


class Examples:
    """examples.parquet by neuron; and by image, the neurons that hold it."""

    def __init__(self, folder: Folder, layers: Layers, images: Images, packs: Packs) -> None:
        self._packs = packs
        self._whys: list[Place] = []
        self._records = Records(_EXAMPLE, layers.neurons, "examples.parquet")
        self._pictures = Records(_EXPLANATION, layers.neurons, "explanations.parquet")
        self._kinds = Words()
        self._best = np.zeros(layers.neurons, _PLACE)
        self._best["why"] = 1
        held: list[Array] = [np.empty(0, np.uint32)]
        for batch in ahead(source.batches(folder, "examples", dictionary=["layer", "side"], rows=16_384)):
            held.append(self._lay_out(batch, layers, images))
        self._hold(held, images.count)
        for batch in ahead(source.batches(folder, "explanations", dictionary=["layer", "side", "kind"], rows=16_384)):
            self._explain(batch, layers)
        self.kinds = in_order(name for name in self._kinds.texts[1:] if name)

    def _lay_out(self, batch: pa.RecordBatch, layers: Layers, images: Images) -> Array:
        """Takes in some rows; returns the rows of their images."""
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
        self._records.append(neuron, rows)
        return row.astype(np.uint32)

    def _explain(self, batch: pa.RecordBatch, layers: Layers) -> None:
        """Takes in some rows of explanations.parquet."""
        neuron = layers.numbers("explanations", batch.column("layer"), batch.column("channel"))
        rows = np.zeros(len(batch), _EXPLANATION)
        rows["side"] = _sides(batch.column("side"))
        rows["rank"] = batch.column("rank").to_numpy()
        rows["kind"] = self._kinds.encode(batch.column("kind"), np.uint16)
        columns = self._packs.columns(batch.column("picture"))
        put(rows, columns)
        for name in ("seed", "scale"):
            rows[name] = np.nan
            rows[name][columns.row] = getattr(columns, name)
        for name in MEASURES:
            rows[name] = batch.column(name).fill_null(np.nan).to_numpy(zero_copy_only=False)
        rows["tested"] = ~np.isnan(rows[MEASURES[0]])
        self._pictures.append(neuron, rows)

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
        drawn = self._drawn(neuron)
        found = [self._example(v, drawn.get((v[0], v[1]), {})) for v in self._records.of(neuron).tolist()]
        found.sort(key=_order)
        return found

    def _drawn(self, neuron: int) -> dict[tuple[int, int], dict[str, tuple[Place, Evidence | None]]]:
        """The pictures of a neuron's examples by side and rank, then by kind."""
        found: dict[tuple[int, int], dict[str, tuple[Place, Evidence | None]]] = {}
        if not self._pictures.count(neuron):
            return found
        packs, kinds, absent = self._packs.packs.texts, self._kinds.texts, self._absent()
        for side, rank, kind, pack, offset, length, why, seed, scale, tested, a, b, c, d in self._pictures.of(
            neuron
        ).tolist():
            place = Place(packs[pack], offset, length, None, none(seed), none(scale)) if pack else absent[why]
            evidence = (none(a), none(b), none(c), none(d)) if tested else None
            found.setdefault((side, rank), {})[kinds[kind] or ""] = place, evidence
        return found

    def _absent(self) -> list[Place]:
        """Pictures that are not there, by the number of the reason."""
        if len(self._whys) != len(self._packs.whys.texts):
            self._whys = [nowhere(text) for text in self._packs.whys.texts]
        return self._whys

    def _example(self, v: Any, pictures: dict[str, tuple[Place, Evidence | None]]) -> Example:
        whys, packs = self._packs.whys.texts, self._packs.packs.texts
        crop = Place(packs[v[24]], v[25], v[26], None, None, None) if v[24] else self._absent()[v[27]]
        return Example(
            SIDES[v[0]], v[1], v[2], v[3], v[4], v[5], v[6:10], v[10:14],
            v[18] if v[18] >= 0 else None, v[19] if v[19] >= 0 else None, v[20], v[21],
            whys[v[22]], whys[v[23]], v[14:18], crop, pictures,
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
            found.append((neuron, self._example(values, {})))
        return found, total

    def strongest(self, neuron: int) -> Place:
        """Crop of a neuron's strongest example."""
        pack, offset, length, why = self._best[neuron].item()
        name = self._packs.packs.texts[pack]
        return self._absent()[why] if name is None else Place(name, offset, length, None, None, None)

    def close(self) -> None:
        for records in (self._records, self._pictures, self._holders):
            records.close()


def _order(example: Example) -> tuple[int, int]:
    return _SIDE[example.side], example.rank


def _sides(column: pa.Array) -> Array:
    names = column.dictionary.to_pylist()
    if any(name not in _SIDE for name in names):
        raise FolderError(f"examples.parquet names sides {names}; expected {', '.join(SIDES)}")
    return np.asarray(np.array([*(_SIDE[name] for name in names), 0], np.uint8)[column.indices.to_numpy()])
