"""What a sealed atlas says of its full chunks, so that a larger one need not scan them again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import safetensors.numpy
from numpy.typing import NDArray

from atlas.arrays import Floats, Ints
from atlas.errors import FolderError
from atlas.images import properties
from atlas.images.content import SIZE
from atlas.scan.fold import Fold
from atlas.scan.partial import Images
from atlas.scan.pieces import Block
from atlas.store import layout, parquet
from atlas.store.files import Folder
from atlas.tables.codes import codes
from atlas.types import Layer


@dataclass(frozen=True)
class Earlier:
    """The full chunks of a sealed atlas: chunks 0 to `chunks` - 1 of a data set that begins with the same images."""

    folder: Folder
    chunks: int
    chunk_size: int

    @property
    def images_before(self) -> int:
        """Images of the full chunks, with those in quarantine."""
        return self.chunks * self.chunk_size

    def fold(self, block: Block, k: int) -> Fold:
        """The fold of the full chunks, of a block of neurons."""
        return Fold.load(self.folder.get(layout.state(block.number))) if self.chunks else Fold(block.neurons, k)

    def images(self) -> Images:
        """The rows of images that were scanned."""
        rows = parquet.read(self.folder, "images").filter(pc.field("image_id") < self.images_before)
        thumbnail = rows.column("thumbnail").combine_chunks()
        given = {name: rows.column(name).combine_chunks() for name in _ABSENT if name in rows.column_names}
        given["content"] = rows.column("content").combine_chunks()
        given |= {f"thumbnail_{n}": pc.struct_field(thumbnail, n) for n in ("offset", "length", "crc32")}
        digests = np.frombuffer(b"".join(given.pop("content").to_pylist()), np.uint8).reshape(len(rows), SIZE)
        return Images(content=digests, **{name: _numpy(given[name], *_ABSENT[name]) for name in given})

    def quarantine(self) -> list[tuple[int, str, str]]:
        """(image_id, reason, detail) of those that were not."""
        rows = parquet.read(self.folder, "quarantine").filter(pc.field("image_id") < self.images_before)
        return [(r["image_id"], r["reason"], r["detail"]) for r in rows.to_pylist()]

    def sample(self) -> tuple[NDArray[np.uint64], Ints, Floats]:
        """What it has of the response sample: hashes, image_ids, and the properties that were measured."""
        body = safetensors.numpy.load(self.folder.get(layout.SAMPLE))
        kept = body["image_id"] < self.images_before
        return body["hash"][kept], body["image_id"][kept], body["properties"][kept]

    def responses(self, layers: Sequence[Layer], image_ids: Ints) -> tuple[Ints, Floats, Floats]:
        """image_id (images,) and responses (images, channels) of both sides of some layers, of those of the images
        that it has in its response sample."""
        sides: dict[str, list[Floats]] = {"max": [], "min": []}
        known = self.sample()[1]
        kept = known[np.isin(known, image_ids)]
        for layer in layers:
            with self.folder.open(layout.file_of("responses", layer.index)) as stream:
                table = pq.read_table(stream, columns=["image_id", *sides])
            table = table.filter(pc.is_in(table.column("image_id"), value_set=pa.array(kept)))
            if not np.array_equal(table.column("image_id").to_numpy(), kept):
                raise FolderError(f"{self.folder.location}: {layout.SAMPLE} does not fit the responses; build it again")
            for side, parts in sides.items():
                flat = table.column(side).combine_chunks().flatten().to_numpy()
                parts.append(flat.reshape(len(table), layer.channels))
        high, low = (np.concatenate(parts, axis=1) for parts in sides.values())
        return kept, high, low

    def scores(self) -> list[Floats]:
        """The logits of images with lists of classes, where it has them: one array (images, classes), or none."""
        if not self.folder.exists(layout.SCORES):
            return []
        body = safetensors.numpy.load(self.folder.get(layout.SCORES))
        return [body["scores"][body["image_id"] < self.images_before]]

    def copy_pictures(self, folder: Folder) -> None:
        """Copies the packs of thumbnails of the full chunks, those that are not there yet."""
        for chunk in range(self.chunks):
            path = layout.pack_path(layout.pack("scan", chunk))
            if self.folder.exists(path) and not folder.exists(path):
                with self.folder.open(path) as source, folder.writing(path) as target:
                    shutil.copyfileobj(source, target, 1 << 20)

    def codes(self, number: int, half: bool) -> list[pa.Table]:
        """The codes of the full chunks that lie in file `number`, a table a chunk."""
        path = layout.file_of("codes", number)
        if not self.folder.exists(path):
            return []
        with self.folder.open(path) as stream:
            table = pq.read_table(stream).filter(pc.field("image_id") < self.images_before)
        chunks = table.column("image_id").to_numpy() // self.chunk_size
        starts = np.flatnonzero(np.diff(chunks, prepend=-1))
        sizes = np.diff(starts, append=len(chunks))
        whole = _as_codes(table, half)
        return [whole.slice(*each) for each in zip(starts.tolist(), sizes.tolist(), strict=True)]


_ABSENT: dict[str, tuple[type, float]] = {
    "image_id": (np.int64, -1),
    "width": (np.int32, -1),
    "height": (np.int32, -1),
    "class_id": (np.int32, -1),
    "predicted": (np.int32, -1),
    "probability": (np.float32, np.nan),
    "loss": (np.float32, np.nan),
    "thumbnail_offset": (np.int64, -1),
    "thumbnail_length": (np.int64, 0),
    "thumbnail_crc32": (np.uint32, 0),
}
"""By field of `Images` its type, and what stands for null."""


def _numpy(column: pa.Array, kind: type, null: float) -> NDArray[Any]:
    filled = pc.fill_null(column, pa.scalar(null, column.type)) if column.null_count else column
    return np.array(filled.to_numpy(zero_copy_only=False), kind)


def _as_codes(table: pa.Table, half: bool) -> pa.Table:
    column = table.column("code").combine_chunks()
    dimensions = column.type.list_size
    flat = column.flatten().to_numpy().astype(np.float16 if half else np.float32)
    values = pa.FixedSizeListArray.from_arrays(pa.array(flat), dimensions)
    return pa.table([table.column("image_id"), values], schema=codes(dimensions, half=half))


def dump_scores(image_ids: Ints, scores: Floats) -> bytes:
    """Logits (images, classes) of all images."""
    return bytes(safetensors.numpy.save({"image_id": image_ids, "scores": scores}))


def dump_sample(hashes: NDArray[np.uint64], image_ids: Ints, values: Floats) -> bytes:
    """What the tables do not hold of the response sample: hashes, and the properties that were measured."""
    assert values.shape[1:] == (len(properties.NAMES),)
    return bytes(safetensors.numpy.save({"hash": hashes, "image_id": image_ids, "properties": values}))
