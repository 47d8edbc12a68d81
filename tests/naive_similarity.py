"""Rank correlation and structural similarity, slowly, from their definitions."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float64]


def spearman(a: Map, b: Map) -> float:
    """Pearson's correlation of ranks; the rank of a value is the mean place of all that equal it."""
    x, y = (
        np.array([(each < v).sum() + ((each == v).sum() + 1) / 2 for v in each.ravel()])
        for each in (a.ravel(), b.ravel())
    )
    return float(np.corrcoef(x, y)[0, 1])


def ssim(a: Map, b: Map, span: float, radius: int = 5, sigma: float = 1.5) -> float:
    """Wang et al. 2004, equations 13 to 17: weighted moments in each window that fits, one after another."""
    offsets = range(-radius, radius + 1)
    weights = np.array([[math.exp(-(i * i + j * j) / (2 * sigma * sigma)) for j in offsets] for i in offsets])
    weights /= weights.sum()
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    values = []
    for y in range(radius, a.shape[0] - radius):
        for x in range(radius, a.shape[1] - radius):
            p, q = (each[y - radius : y + radius + 1, x - radius : x + radius + 1] for each in (a, b))
            mp, mq = (weights * p).sum(), (weights * q).sum()
            vp, vq = (weights * (p - mp) ** 2).sum(), (weights * (q - mq) ** 2).sum()
            cov = (weights * (p - mp) * (q - mq)).sum()
            values.append((2 * mp * mq + c1) * (2 * cov + c2) / ((mp * mp + mq * mq + c1) * (vp + vq + c2)))
    return float(np.mean(values))
