"""A grid arrangement: each image its own cell, near its place on the map, as a linear assignment problem."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from atlas.arrays import Floats

LARGEST = 2_500
"""Images arranged at most (50 x 50 cells): the costs are a full matrix, and time grows with the cube. Of a larger map
a sample drawn by the seed is arranged, and the rest has no cell."""

Cells = npt.NDArray[np.int64]


def arrange(coordinates: Floats) -> tuple[Cells, Cells]:
    """Row and column of each of up to `LARGEST` points (n, 2) in a square grid of `ceil(sqrt(n))` rows.

    Minimises the sum of squared distances to the cells' centres after both axes of the map are stretched to the grid;
    exactly, by `scipy.optimize.linear_sum_assignment` (Crouse 2016). x goes to the right, y down.
    """
    from scipy.optimize import linear_sum_assignment

    side = math.ceil(math.sqrt(len(coordinates)))
    cells = np.arange(side * side)
    rows, columns = cells // side, cells % side
    points = coordinates.astype(np.float64)
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    points = (points - low) / np.where(span > 0, span, 1) * (side - 1)
    cost = (points[:, :1] - columns) ** 2 + (points[:, 1:] - rows) ** 2  # (n, cells)
    _, chosen = linear_sum_assignment(cost)
    return rows[chosen], columns[chosen]


def choose(count: int, seed: int) -> Cells:
    """Which of `count` images are arranged."""
    if count <= LARGEST:
        return np.arange(count)
    return np.sort(np.random.default_rng([seed, 4]).choice(count, LARGEST, replace=False))
