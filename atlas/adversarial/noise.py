"""Noise of the same norms as an attack: what a change that knows nothing of the network does."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray


def uniform(image: NDArray[np.uint8], epsilon: int, random: Generator) -> NDArray[np.uint8]:
    """Each value moved by a whole number from −`epsilon` to `epsilon`."""
    moved = image.astype(np.int64) + random.integers(-epsilon, epsilon + 1, image.shape)
    return np.asarray(np.clip(moved, 0, 255), np.uint8)


def gaussian(image: NDArray[np.uint8], norm: float, random: Generator) -> NDArray[np.uint8]:
    """Gaussian noise of the Euclidean norm `norm`, of values 0 to 1, before it is rounded and clipped."""
    drawn = random.standard_normal(image.shape)
    moved = image + np.round(drawn * (255 * norm / np.linalg.norm(drawn)))
    return np.asarray(np.clip(moved, 0, 255), np.uint8)
