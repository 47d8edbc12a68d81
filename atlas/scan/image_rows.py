"""The rows of images.parquet and quarantine.parquet: the manifest beside what the scan found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atlas.arrays import Ints
from atlas.scan.partial import Images
from atlas.store import layout
from atlas.store.pictures import missing
from atlas.tables.columns import PICTURE
from atlas.tables.images import IMAGES, QUARANTINE


def image_rows(rows: pa.Table, images: Images, chunk_size: int, frames: pa.Table, names: Sequence[str]) -> pa.Table:
    """The rows by the table `images` of those of the manifest's `rows` that were scanned.

    `frames`: image_id and picture of the winners' whole frames.
    """
    ids = rows.column("image_id").to_numpy()
    low, high = np.searchsorted(images.image_id, [ids[0], ids[-1] + 1]) if len(ids) else (0, 0)
    part = slice(low, high)
    image_id = images.image_id[part]
    rows = rows.take(pa.array(np.searchsorted(ids, image_id)))
    class_id = rows.column("class_id").cast(pa.int32())
    loss = images.loss[part]
    columns = {
        "image_id": pa.array(image_id),
        "source": rows.column("source"),
        "key": rows.column("key"),
        "content": pa.array([row.tobytes() for row in images.content[part]], pa.binary()),
        "class_id": class_id,
        "class_ids": rows.column("class_ids"),
        "class_name": pa.array(list(names), pa.string()).take(class_id.combine_chunks()) if names else _nulls(image_id),
        "width": pa.array(images.width[part]),
        "height": pa.array(images.height[part]),
        "predicted": pa.array(images.predicted[part], mask=images.predicted[part] < 0),
        "probability": pa.array(images.probability[part], mask=images.predicted[part] < 0),
        "loss": pa.array(loss, mask=np.isnan(loss)),
        "thumbnail": _thumbnails(images, part, chunk_size),
        "picture": _frames(image_id, frames),
    }
    return pa.table([_whole(columns[f.name]).cast(f.type) for f in IMAGES.columns], schema=IMAGES.columns)


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _nulls(like: Ints) -> pa.Array:
    return pa.nulls(len(like), pa.string())


def _thumbnails(images: Images, part: slice, chunk_size: int) -> pa.Array:
    offset = images.thumbnail_offset[part]
    there = offset >= 0
    chunks = images.image_id[part] // chunk_size
    columns = {
        "pack": pa.array([layout.pack("scan", int(u)) for u in chunks], pa.string(), mask=~there),
        "offset": pa.array(offset, mask=~there),
        "length": pa.array(images.thumbnail_length[part], mask=~there),
        "crc32": pa.array(images.thumbnail_crc32[part], mask=~there),
        "why": pa.array(["thumbnails were not asked for"] * len(there), pa.string(), mask=there),
        "seed": pa.nulls(len(there), pa.float32()),
        "scale": pa.nulls(len(there), pa.float32()),
    }
    return pa.StructArray.from_arrays([columns[f.name] for f in PICTURE], fields=list(PICTURE))


def _frames(image_id: Ints, frames: pa.Table) -> pa.Array:
    place = pc.index_in(pa.array(image_id), value_set=frames.column("image_id").combine_chunks())
    absent = pa.array([missing("the image is no example")], PICTURE)
    pool = pa.concat_arrays([_whole(frames.column("picture")).cast(PICTURE), absent])
    return pool.take(pc.fill_null(place, len(frames)))


def quarantine_rows(quarantine: list[tuple[int, str, str]], rows: pa.Table) -> pa.Table:
    """The rows by the table `quarantine`; `rows` are the manifest's rows of these images."""
    ids = pa.array([image_id for image_id, _, _ in quarantine], pa.int64())
    rows = rows.take(pc.index_in(ids, value_set=rows.column("image_id").combine_chunks())) if len(ids) else rows[:0]
    columns = [
        ids,
        _whole(rows.column("source")),
        _whole(rows.column("key")),
        pa.array([reason for _, reason, _ in quarantine], pa.string()),
        pa.array([detail for _, _, detail in quarantine], pa.string()),
    ]
    return pa.table(
        [c.cast(f.type) for c, f in zip(columns, QUARANTINE.columns, strict=True)], schema=QUARANTINE.columns
    )
