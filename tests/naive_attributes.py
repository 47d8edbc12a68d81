"""Accuracy by attribute, slowly: one image at a time in Python, least squares with a column for each class."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np

Image = dict[str, Any]


def bins_of_numbers(values: list[float]) -> list[list[int]]:
    """Places of the values by bin: filled by rising value until a tenth is complete, equals together."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    bins: list[list[int]] = []
    tenth = 0
    for place, i in enumerate(order):
        if place and values[i] == values[order[place - 1]]:
            bins[-1].append(i)
        elif not place or place * 10 > tenth * len(values) - 1e-9:
            while tenth * len(values) <= place * 10:
                tenth += 1
            bins.append([i])
        else:
            bins[-1].append(i)
    return bins


def bins_of_angles(values: list[float], turns: int, sectors: int = 8) -> list[list[int]]:
    """Places by sector: the nearest of `sectors` directions, halfway to the later one."""
    width = 2 * math.pi / turns / sectors
    bins: list[list[int]] = [[] for _ in range(sectors)]
    for i, value in enumerate(values):
        bins[math.floor(value / width + 0.5) % sectors].append(i)
    return bins


def bins_of_words(values: list[str]) -> list[list[int]]:
    """Places by word, the commonest first."""
    counts = Counter(values)
    words = sorted(counts, key=lambda word: (-counts[word], word))
    return [[i for i, value in enumerate(values) if value == word] for word in words]


def wilson(right: int, n: int) -> tuple[float, float]:
    """The two shares p with |right / n - p| = z √(p (1 - p) / n), by bisection."""
    share, z = right / n, 1.959963984540054

    def end(inside: float, outside: float) -> float:
        for _ in range(200):
            middle = (inside + outside) / 2
            if abs(share - middle) <= z * math.sqrt(middle * (1 - middle) / n):
                inside = middle
            else:
                outside = middle
        return inside

    return (0.0 if not right else end(share, 0.0)), (1.0 if right == n else end(share, 1.0))


def within_class(images: list[Image], bins: list[list[int]]) -> list[float]:
    """Least squares of right on bins and classes, a row an image; the mean over images is the accuracy."""
    rows = [i for members in bins for i in members]
    classes = sorted({images[i]["class_id"] for i in rows})
    design = np.zeros((len(rows), len(bins) + len(classes)))
    where = {i: b for b, members in enumerate(bins) for i in members}
    for row, i in enumerate(rows):
        design[row, where[i]] = 1
        design[row, len(bins) + classes.index(images[i]["class_id"])] = 1
    right = np.array([images[i]["correct"] for i in rows], float)
    effects = np.linalg.lstsq(design, right, rcond=None)[0][: len(bins)]
    mean = sum(effects[where[i]] for i in rows) / len(rows)
    return [float(effect - mean + right.mean()) for effect in effects]


def association(strata: list[list[tuple[int, bool]]], bins: int) -> tuple[float, int]:
    """Cochran-Mantel-Haenszel's statistic and degrees of freedom of strata of (bin, right)."""
    d = np.zeros(bins)
    covariance = np.zeros((bins, bins))
    for stratum in strata:
        n, m = len(stratum), sum(right for _, right in stratum)
        for bin_, right in stratum:
            d[bin_] += right - m / n
        if n < 2:
            continue
        # The covariance of two of n answers drawn without replacement, summed over pairs of images.
        variance = m / n * (1 - m / n)
        for i, (a, _) in enumerate(stratum):
            for j, (b, _) in enumerate(stratum):
                covariance[a, b] += variance if i == j else -variance / (n - 1)
    freedom = int(np.linalg.matrix_rank(covariance, tol=1e-8))
    return float(d @ np.linalg.pinv(covariance, rcond=1e-8) @ d), freedom
