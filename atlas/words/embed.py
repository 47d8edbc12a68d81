"""What the strongest crops of neurons look like to a text-image encoder: one vector a neuron."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from atlas.arrays import Doubles
from atlas.errors import FolderError
from atlas.store import layout
from atlas.store.files import Folder
from atlas.store.sealed import Sealed
from atlas.words.encoders import Loaded

CROPS = 9
"""Crops of a neuron at most; each call of the encoder has as many, as its last bits depend on that."""
ROWS = pa.schema([("layer", pa.string()), ("channel", pa.int32()), ("embedding", pa.list_(pa.float32()))])


def examples(sealed: Sealed) -> pa.Table:
    """The rows of `examples` that embeddings are made of: side max, the first of near duplicates, with a crop."""
    table = sealed.table("examples", ["layer", "channel", "side", "rank", "duplicate_of", "crop"])
    there = pc.is_valid(pc.struct_field(table.column("crop"), "pack"))
    once = pc.is_null(table.column("duplicate_of"))
    table = table.filter(pc.and_(pc.and_(there, once), pc.equal(table.column("side"), "max")))
    return table.sort_by([("layer", "ascending"), ("channel", "ascending"), ("rank", "ascending")])


def block(
    encoder: Loaded, folder: Folder, rows: pa.Table, layer: str, first: int, last: int,
    step: Callable[[int], None] = lambda done: None,
) -> pa.Table:  # fmt: skip
    """Embeddings (`ROWS`) of channels first to last - 1 of a layer; a neuron without crops has no row,
    nor has one whose crops' vectors sum to nothing.

    `rows`: those of `examples`; `folder`: the atlas's, where crops lie; `step` hears how many channels are done.
    Raises `FolderError` for a crop that is damaged.
    """
    channel = rows.column("channel")
    mine = pc.and_(pc.greater_equal(channel, first), pc.less(channel, last))
    rows = rows.filter(pc.and_(mine, pc.equal(rows.column("layer"), layer)))
    places: dict[int, list[dict[str, Any]]] = {}
    for row in rows.select(["channel", "crop"]).to_pylist():
        places.setdefault(row["channel"], []).append(row["crop"])
    found = []
    for number, (at, crops) in enumerate(places.items()):
        vector = of_neuron(encoder, [_image(folder, crop) for crop in crops[:CROPS]])
        if vector.any():
            found.append({"layer": layer, "channel": at, "embedding": vector.astype(np.float32)})
        step(number + 1)
    return pa.Table.from_pylist(found, schema=ROWS)


def of_neuron(encoder: Loaded, crops: Sequence[Image.Image]) -> Doubles:
    """The mean direction (dimensions,) of 1 to `CROPS` crops, itself of length 1; 0 where their vectors sum to 0."""
    filled = [*crops, *[crops[0]] * (CROPS - len(crops))]
    mean = encoder.images(filled)[: len(crops)].mean(0)
    length = np.linalg.norm(mean)
    return np.asarray(mean / length if length > 0 else mean)


def alike(embeddings: Doubles) -> float | None:
    """The mean cosine of two neurons' embeddings (neurons, dimensions): near 1, they say little apart."""
    count = len(embeddings)
    return None if count < 2 else float((embeddings.sum(0) ** 2).sum() - (embeddings**2).sum()) / (count * (count - 1))


def _image(folder: Folder, crop: dict[str, Any]) -> Image.Image:
    body = folder.range(layout.pack_path(crop["pack"]), crop["offset"], crop["length"])
    if zlib.crc32(body) != crop["crc32"]:
        raise FolderError(f"{folder.location}: crop {crop['pack']}/{crop['offset']} is damaged; copy the atlas again")
    return Image.open(io.BytesIO(body)).convert("RGB")
