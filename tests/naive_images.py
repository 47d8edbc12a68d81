"""Slow twins for decoding and listing: written from torchvision's documentation and the contract, loop by loop."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_KERNELS: dict[str, tuple[Callable[[float], float], float]] = {
    "bilinear": (lambda x: max(1 - abs(x), 0.0), 1.0),
    "bicubic": (
        lambda x: (
            1.5 * abs(x) ** 3 - 2.5 * x * x + 1
            if abs(x) < 1
            else -0.5 * abs(x) ** 3 + 2.5 * x * x - 4 * abs(x) + 2
            if abs(x) < 2
            else 0.0
        ),
        2.0,
    ),
    "lanczos": (lambda x: float(np.sinc(x) * np.sinc(x / 3)) if abs(x) < 3 else 0.0, 3.0),
}


def resize_weights(size: int, resized: int, interpolation: str) -> NDArray[np.float64]:
    """(resized, size) weights of an antialiased resize along one axis: the kernel is widened when it shrinks."""
    kernel, support = _KERNELS[interpolation]
    scale = size / resized
    wide = max(scale, 1.0)
    weights = np.zeros((resized, size))
    for place in range(resized):
        centre = (place + 0.5) * scale
        for pixel in range(size):
            if abs(pixel + 0.5 - centre) < support * wide:
                weights[place, pixel] = kernel((pixel + 0.5 - centre) / wide)
        weights[place] /= weights[place].sum()
    return weights


def to_input(image: Image.Image, resize: int, crop: int, interpolation: str) -> NDArray[np.float64]:
    """Resize the shorter side, then cut the central square: float (crop, crop, 3), zero outside the image."""
    pixels = np.asarray(image, np.float64)  # (H, W, 3)
    height, width = pixels.shape[:2]
    shorter = min(height, width)
    new_height, new_width = (
        resize if side == shorter else math.floor(resize * side / shorter) for side in pixels.shape[:2]
    )
    rows = resize_weights(height, new_height, interpolation)
    columns = resize_weights(width, new_width, interpolation)
    resized = np.clip(np.einsum("rh,hwc,kw->rkc", rows, pixels, columns), 0, 255)
    out = np.zeros((crop, crop, 3))
    for y in range(crop):
        for x in range(crop):
            at_y, at_x = y + crop_start(new_height, crop), x + crop_start(new_width, crop)
            if 0 <= at_y < new_height and 0 <= at_x < new_width:
                out[y, x] = resized[at_y, at_x]
    return out


def crop_start(size: int, crop: int) -> int:
    """First pixel of the central crop; negative where padding comes first."""
    if crop > size:
        return -((crop - size) // 2)
    exact = (size - crop) / 2
    return int(exact) if exact == int(exact) or int(exact) % 2 == 0 else int(exact) + 1  # half to even


def list_folder(root: Path) -> list[tuple[str, str | None]]:
    """(key, class folder) of every image, by the bytes of the keys."""
    found = []
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name).relative_to(root)
            hidden = any(part.startswith(".") for part in path.parts)
            if not hidden and name.rpartition(".")[2].lower() in (
                "jpg",
                "jpeg",
                "png",
                "gif",
                "webp",
                "bmp",
                "tif",
                "tiff",
            ):
                found.append((path.as_posix(), path.parts[0] if len(path.parts) > 1 else None))
    return sorted(found, key=lambda row: row[0].encode())
