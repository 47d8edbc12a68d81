"""Images of the atlas, as the probe gets at them: the original files where they were given, else the frames."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from atlas.errors import ImageError, InputError, NotFoundError
from atlas.images.manifest import read_images
from probe.subjects import Subject

ORIGINAL, FRAME = "original", "frame"


class Found(NamedTuple):
    """An image file. `source`: original, or frame: the stored, smaller copy, from which pictures are approximate."""

    body: bytes
    source: str


def image(subject: Subject, image_id: int) -> Found:
    """An image of the atlas. Raises `NotFoundError`; `InputError` for an original that is another one by now."""
    row = subject.atlas.store.images.get(image_id)
    if subject.manifest is not None:
        table = subject.manifest.table
        at = pc.index(table.column("image_id"), pa.scalar(image_id, table.schema.field("image_id").type)).as_py()
        body = next(iter(read_images(table.slice(at, 1))))[1] if at >= 0 else None
        if isinstance(body, bytes):
            if hashlib.sha256(body).digest() != row.content:
                raise InputError(f"image {image_id} is not the one that the atlas was built from; restore it")
            return Found(body, ORIGINAL)
        if isinstance(body, ImageError) and row.picture.pack is None:
            raise InputError(f"image {image_id} cannot be read any more ({body}); restore it")
    place = row.picture
    if place.pack is None or place.offset is None or place.length is None:
        raise NotFoundError(f"image {image_id}: give --images, as it has no frame ({place.why})")
    return Found(subject.atlas.store.packs.read(place.pack, place.offset, place.length)[0], FRAME)
