"""What else is said of a neuron: neurons like it, images that are near misses, properties."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from atlas.read import source
from atlas.read.images import Images
from atlas.read.layers import Layers
from atlas.read.pictures import none
from atlas.read.records import Array, Records, Words
from atlas.store.files import Folder

_SIMILAR = np.dtype([("by", "u1"), ("rank", "<i4"), ("other", "<i8"), ("similarity", "<f4")])
_NEAR_MISS = np.dtype(
    [
        ("rank", "<i4"), ("image_id", "<i8"), ("similarity", "<f4"), ("response", "<f4"), ("class_id", "<i4"),
        ("thumbnail", "<u2"),
    ]
)  # fmt: skip
_PROPERTY = np.dtype([("property", "<u2"), ("association", "<f4"), ("n", "<i4"), ("significant", "?")])


class Similar(NamedTuple):
    """A neuron (by number) that resembles another."""

    by: str
    rank: int
    other: int
    similarity: float


class NearMiss(NamedTuple):
    """An image that resembles a neuron's examples and to which it does not respond."""

    rank: int
    image_id: int
    similarity: float
    response: float
    class_id: int | None
    no_thumbnail: str | None


class Property(NamedTuple):
    """Association of a neuron's response with a simple property of images."""

    property: str
    association: float | None
    n: int
    significant: bool


class Relations:
    """similar.parquet, near_misses.parquet and properties.parquet by neuron."""

    def __init__(self, folder: Folder, layers: Layers, images: Images, whys: Words) -> None:
        self._words = Words()
        self._whys = whys
        self._similar = Records(_SIMILAR, layers.neurons, "similar.parquet")
        self._near_misses = Records(_NEAR_MISS, layers.neurons, "near_misses.parquet")
        self._properties = Records(_PROPERTY, layers.neurons, "properties.parquet")
        for batch in source.batches(folder, "similar"):
            self._similar.append(_neurons(layers, "similar", batch), self._similar_rows(batch, layers))
        for batch in source.batches(folder, "near_misses"):
            self._near_misses.append(_neurons(layers, "near_misses", batch), _near_miss_rows(batch, images))
        for batch in source.batches(folder, "properties"):
            self._properties.append(_neurons(layers, "properties", batch), self._property_rows(batch))

    def _similar_rows(self, batch: pa.RecordBatch, layers: Layers) -> Array:
        rows = np.empty(len(batch), _SIMILAR)
        rows["by"] = self._words.encode(batch.column("by"), np.uint8)
        rows["rank"] = batch.column("rank").to_numpy()
        rows["other"] = layers.numbers("similar", batch.column("other_layer"), batch.column("other_channel"))
        rows["similarity"] = batch.column("similarity").to_numpy(zero_copy_only=False)
        return rows

    def _property_rows(self, batch: pa.RecordBatch) -> Array:
        rows = np.empty(len(batch), _PROPERTY)
        rows["property"] = self._words.encode(batch.column("property"), np.uint16)
        rows["association"] = batch.column("association").fill_null(np.nan).to_numpy(zero_copy_only=False)
        rows["n"] = batch.column("n").to_numpy()
        rows["significant"] = batch.column("significant").to_numpy(zero_copy_only=False)
        return rows

    def similar(self, number: int) -> list[Similar]:
        """Neurons that resemble one, by each measure, by rank."""
        texts = self._words.texts
        return [Similar(texts[by] or "", *rest) for by, *rest in self._similar.of(number).tolist()]

    def near_misses(self, number: int) -> list[NearMiss]:
        """Near misses of a neuron, by rank."""
        return [
            NearMiss(rank, image_id, similarity, response, class_id if class_id >= 0 else None, self._whys.texts[why])
            for rank, image_id, similarity, response, class_id, why in self._near_misses.of(number).tolist()
        ]

    def properties(self, number: int) -> list[Property]:
        """Properties of a neuron."""
        texts = self._words.texts
        return [
            Property(texts[name] or "", none(association), n, significant)
            for name, association, n, significant in self._properties.of(number).tolist()
        ]

    def close(self) -> None:
        for records in (self._similar, self._near_misses, self._properties):
            records.close()


def _neurons(layers: Layers, table: str, batch: pa.RecordBatch) -> Array:
    return layers.numbers(table, batch.column("layer"), batch.column("channel"))


def _near_miss_rows(batch: pa.RecordBatch, images: Images) -> Array:
    rows = np.empty(len(batch), _NEAR_MISS)
    for name in ("rank", "image_id", "similarity", "response"):
        rows[name] = batch.column(name).to_numpy(zero_copy_only=False)
    row = images.rows_of(rows["image_id"], "near_misses")
    rows["class_id"], rows["thumbnail"] = images.known.class_id[row], images.known.thumbnail[row]
    return rows
