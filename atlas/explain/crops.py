"""Cutting a field out of the image as stored: exactly its box, resampled, padded where the image ends."""

from __future__ import annotations

import io
import math

from PIL import Image

from atlas.types import Box, Field

QUALITY = 85


def picture_shape(field: Field, longest: int) -> tuple[int, int]:
    """Width and height of the pictures of a layer: the shape of its field, `longest` pixels on the longer side."""
    scale = longest / max(field.x.size, field.y.size)
    return max(round(field.x.size * scale), 1), max(round(field.y.size * scale), 1)


def cut(image: Image.Image, box: Box, shape: tuple[int, int], fill: tuple[int, int, int]) -> Image.Image:
    """The `box` of an RGB image (pixels, fractions allowed), resampled to `shape` (width, height).

    The box is not rounded: its edges lie where they lie, between pixels, and the bicubic filter takes what it needs on
    both sides of them. What lies outside the image is `fill`.
    """
    support = 2 * max(box.width / shape[0], box.height / shape[1], 1.0)
    left, top = math.floor(box.left - support), math.floor(box.top - support)
    right, bottom = math.ceil(box.right + support), math.ceil(box.bottom + support)
    if box.left >= 0 and box.top >= 0 and box.right <= image.width and box.bottom <= image.height:
        return image.resize(shape, Image.Resampling.BICUBIC, (box.left, box.top, box.right, box.bottom))
    canvas = Image.new("RGB", (right - left, bottom - top), fill)
    inside = (max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height))
    if inside[0] < inside[2] and inside[1] < inside[3]:
        canvas.paste(image.crop(inside), (inside[0] - left, inside[1] - top))
    return canvas.resize(
        shape, Image.Resampling.BICUBIC, (box.left - left, box.top - top, box.right - left, box.bottom - top)
    )


def encode(image: Image.Image) -> bytes:
    """The crop as JPEG."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()
