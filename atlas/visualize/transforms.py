"""Small movements of a picture while it is optimised, each row its own: shift, scale, rotation.

Without them high frequencies that one alignment happens to like take over (Olah et al. 2017). What comes in over an
edge is the picture mirrored, never a border of zeros; and the movements of a picture come from its own generator.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from atlas.arrays import Floats

SCALE, DEGREES = 0.1, 10.0


def draw(generators: Sequence[Generator], steps: int, jitter: float, height: int, width: int) -> Floats:
    """Affine matrices (steps, N, 2, 3) in `grid_sample`'s coordinates, where −1 to 1 spans the picture.

    Shift up to `jitter` pixels along each axis, scale 1 ± `SCALE`, rotation ± `DEGREES`, all uniform.
    """
    out = np.zeros((steps, len(generators), 2, 3), np.float32)
    for row, generator in enumerate(generators):
        down, right, scale, angle = generator.uniform(-1, 1, (4, steps))
        grow, turn = 1 + SCALE * scale, np.radians(DEGREES) * angle
        ratio = height / width
        out[:, row, 0, 0], out[:, row, 0, 1] = grow * np.cos(turn), -grow * np.sin(turn) * ratio
        out[:, row, 1, 0], out[:, row, 1, 1] = grow * np.sin(turn) / ratio, grow * np.cos(turn)
        out[:, row, 0, 2], out[:, row, 1, 2] = 2 * jitter * right / width, 2 * jitter * down / height
    return out


def move(pixels: Tensor, matrices: Tensor) -> Tensor:
    """`pixels` (N, C, h, w), each moved by its matrix (N, 2, 3), bilinear, mirrored at the edges."""
    grid = affine_grid(matrices, list(pixels.shape), align_corners=False)
    return grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def as_tensor(matrices: Floats, like: Tensor) -> Tensor:
    """The matrices where `like` lives."""
    return torch.from_numpy(matrices).to(like)
