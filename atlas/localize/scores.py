"""The scores of the literature over boxes found without a box: each level chosen on one half, reported on the other.

top-1 and top-5 localisation (ILSVRC): the class is right (among the five), and its box overlaps a true one by an IoU of
a half. GT-known: the class is given. MaxBoxAccV2 (Choe et al. 2020): the mean over IoU 0.3, 0.5, 0.7 of the share of
images whose box is right at the level that is best for it; here of the largest component alone. All are shares of right
ones, 1 the best. Which half an image is in its content decides; a level is never chosen for an image, nor on its half.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Overlaps = NDArray[np.float64]
OVERLAP = 0.5
OVERLAPS = (0.3, 0.5, 0.7)
MEASURES = ("top1_loc", "top5_loc", "gt_known_loc", "max_box_acc_v2")
SPLITS = ("a", "b", "both")
DRAWS = 2000
"""Bootstrap draws of images."""


class Way(NamedTuple):
    """A method, asked of a class: `predicted` or `true`."""

    method: str
    of: str


class Score(NamedTuple):
    """A row of `localization_scores`. `threshold`: the level, null where there is none or several."""

    method: str
    of: str
    measure: str
    value: float
    n: int
    threshold: float | None
    split: str


class Difference(NamedTuple):
    """How many more a method gets right than another, paired over images, with its 95 % bootstrap interval."""

    method: str
    other: str
    of: str
    measure: str
    difference: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, eq=False)
class Judged:
    """N images with true boxes. `overlaps`: by way (N, levels), the largest IoU with a true box at each level, one
    level where the method has none; NaN where it was not run. `first` (N,): in half a. `top1`, `top5` (N,): the class
    is right, or among the five."""

    overlaps: Mapping[Way, Overlaps]
    levels: Mapping[str, Sequence[float]]
    first: Bools
    top1: Bools
    top5: Bools


def in_first(content: bytes, seed: int = 0) -> bool:
    """Whether an image is in half a: its content decides."""
    return hashlib.blake2b(content, digest_size=1, salt=seed.to_bytes(8, "little")).digest()[0] % 2 == 0


def best_level(overlaps: Overlaps, least: float) -> int:
    """The level (a column) at which most images (rows) overlap by `least`; of equally good ones the middle one."""
    right = (overlaps >= least).sum(0)
    good = np.flatnonzero(right == right.max())
    return int(good[(len(good) - 1) // 2])


def levels_of(judged: Judged, way: Way, least: float = OVERLAP) -> tuple[int, int]:
    """The levels for images of half a, chosen on b, and for those of b, chosen on a. One level where a half is empty
    of images that were judged: that of the other."""
    overlaps = judged.overlaps[way]
    there = ~np.isnan(overlaps).any(1)
    halves = [overlaps[there & side] for side in (~judged.first, judged.first)]
    found = [best_level(each, least) if len(each) else -1 for each in halves]
    chosen = [level if level >= 0 else max(found) for level in found]
    return max(chosen[0], 0), max(chosen[1], 0)


def right(judged: Judged, way: Way, least: float = OVERLAP) -> tuple[Bools, Bools]:
    """Which images' boxes are right at the level of the other half (N,), and which images were judged (N,)."""
    overlaps = judged.overlaps[way]
    there = ~np.isnan(overlaps).any(1)
    for_a, for_b = levels_of(judged, way, least)
    level = np.where(judged.first, for_a, for_b)
    found = overlaps[np.arange(len(overlaps)), level]
    return np.asarray(np.nan_to_num(found, nan=0.0) >= least), np.asarray(there)


def correct(judged: Judged, way: Way, measure: str) -> tuple[NDArray[np.float64], Bools]:
    """What each image adds to a measure (N,), from 0 to 1, and which images were judged (N,)."""
    if measure == "max_box_acc_v2":
        each = [right(judged, way, least) for least in OVERLAPS]
        return np.mean([hit for hit, _ in each], axis=0), each[0][1]
    hit, there = right(judged, way)
    if measure == "top1_loc":
        hit = hit & judged.top1
    elif measure == "top5_loc":
        hit = hit & judged.top5
    return hit.astype(np.float64), there


def measured(way: Way) -> tuple[str, ...]:
    """The measures of a way: a box of the predicted class counts where that class is right, one of the true class
    where it is given, or among the five."""
    return ("top1_loc",) if way.of == "predicted" else ("top5_loc", "gt_known_loc", "max_box_acc_v2")


def scores(judged: Judged) -> list[Score]:
    """Every measure of every way, for half a, half b, and both."""
    rows = []
    for way in judged.overlaps:
        for measure in measured(way):
            values, there = correct(judged, way, measure)
            pair = levels_of(judged, way)
            names = judged.levels.get(way.method, ())
            for split, side in zip(SPLITS, (judged.first, ~judged.first, np.ones_like(judged.first)), strict=True):
                among = there & side
                one = len(names) > 1 and measure != "max_box_acc_v2" and split != "both"
                level = float(names[pair[SPLITS.index(split)]]) if one else None
                if among.any():
                    rows.append(Score(*way, measure, float(values[among].mean()), int(among.sum()), level, split))
    return rows


def differences(judged: Judged, pairs: Sequence[tuple[str, str]], seed: int = 0) -> list[Difference]:
    """For each pair of methods, over the images that both were judged on: the difference and its interval.

    Images are drawn with replacement; levels stay as they were chosen.
    """
    rows = []
    for method, other in pairs:
        for of in ("predicted", "true"):
            if Way(method, of) not in judged.overlaps or Way(other, of) not in judged.overlaps:
                continue
            for measure in measured(Way(method, of)):
                (a, has_a), (b, has_b) = (correct(judged, Way(each, of), measure) for each in (method, other))
                gaps = (a - b)[has_a & has_b]
                if len(gaps):
                    rows.append(Difference(method, other, of, measure, *interval(gaps, seed), len(gaps)))
    return rows


def interval(gaps: NDArray[np.float64], seed: int = 0) -> tuple[float, float, float]:
    """The mean of paired differences (n,), and the 2.5 % and 97.5 % quantiles of its bootstrap."""
    rng = np.random.default_rng(seed)
    drawn = gaps[rng.integers(0, len(gaps), (DRAWS, len(gaps)))].mean(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(gaps.mean()), float(low), float(high)


def words(rows: Sequence[Difference], measure: str = "gt_known_loc") -> list[str]:
    """A sentence a difference of true-class boxes, for people."""
    said = []
    for row in rows:
        if row.measure != measure:
            continue
        points, low, high = (100 * value for value in (row.difference, row.low, row.high))
        verdict = "better than" if row.low > 0 else "worse than" if row.high < 0 else "no different from"
        said.append(
            f"{row.method} is {verdict} {row.other} on {row.n} images: {points:+.0f} points ({low:+.0f} to {high:+.0f})"
        )
    return said
