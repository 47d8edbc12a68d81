"""Pictures as they are stored: 8 bits, without loss, at canvas size; read back as they are, never resized."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ENDING = "webp"


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """(h, w, 3), or (h, w, 1) as grey, to a lossless WebP file."""
    flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    out = io.BytesIO()
    Image.fromarray(flat).convert("RGB").save(out, "WEBP", lossless=True, quality=0, method=0, exact=True)
    return out.getvalue()


def decode(body: bytes, channels: int) -> NDArray[np.uint8]:
    """The pixels (h, w, channels) of such a file."""
    pixels = np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))
    return np.ascontiguousarray(pixels[:, :, :channels])
