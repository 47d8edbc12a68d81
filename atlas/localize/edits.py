"""Is it the shape, or is it the texture? An object's silhouette, and its texture without its shape.

After Geirhos et al. 2019: a silhouette keeps the shape alone, tiles of what lies inside the mask the texture alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from atlas.localize.boxes import Mask

GREY, WHITE = 96, 255
EDITS = ("silhouette", "texture")
LEAST = 28
"""The smallest square that is tiled has this part of the input's side: 8 of 224 pixels; never less than 3."""


def silhouette(mask: Mask) -> NDArray[np.uint8]:
    """The mask's shape in grey on white, (h, w, 3)."""
    out = np.full((*mask.shape, 3), WHITE, np.uint8)
    out[mask] = GREY
    return out


def inner_square(mask: Mask) -> tuple[int, int, int]:
    """The largest square inside a mask: top, left, side; of equally large ones the first, row by row."""
    padded = np.pad(mask, 1)
    distance = ndimage.distance_transform_cdt(padded, "chessboard")[1:-1, 1:-1]
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    reach = int(distance[y, x]) - 1
    return int(y) - reach, int(x) - reach, 2 * reach + 1


def texture(pixels: NDArray[np.uint8], mask: Mask) -> NDArray[np.uint8] | None:
    """The largest square of a picture (h, w, 3) inside the mask, tiled in mirrors over the whole picture.

    None where that square is too small to show a texture.
    """
    top, left, side = inner_square(mask)
    height, width = mask.shape
    if side < max(3, min(height, width) // LEAST):
        return None
    square = pixels[top : top + side, left : left + side]
    return np.pad(square, ((0, max(height - side, 0)), (0, max(width - side, 0)), (0, 0)), "symmetric")[:height, :width]
