"""How a neuron usually responds, from one pass: moments, a mergeable histogram, class sums.

Histogram bins are fixed and log-linear: sixteen equal bins in each octave of the absolute value from 2^-20 to 2^20,
mirrored for negative values, and one bin around zero; the outermost bins take what lies beyond. A bin is the sign, the
exponent and the first four bits of the mantissa of a float32, so it is at most 1/16 of its value wide, and two
histograms add bin by bin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from atlas.arrays import Doubles, Floats, Ints
from atlas.compiled import compiled

_SHIFT = 19  # float32 has 23 bits of mantissa; four stay
_OCTAVES = 20
_LEAST = (127 - _OCTAVES) << (23 - _SHIFT)  # the code of 2^-20
_HALF = 2 * _OCTAVES << (23 - _SHIFT)
BINS = 2 * _HALF + 1
_NEURONS = 128
"""Whose counts are 0.7 MB."""


@dataclass(frozen=True)
class Moments:
    """Of the side-max response of each neuron: count, mean, sum of squared deviations, images above 0; extremes of both
    sides; and the sum over images of the mean of the map."""

    images: int
    mean: Doubles
    m2: Doubles
    map_total: Doubles
    active: Ints
    max_high: Floats
    max_low: Floats
    min_high: Floats
    min_low: Floats

    def fold(self, other: Moments) -> Moments:
        """Of both sets of images (Chan, Golub & LeVeque 1979). The order matters for the last bits."""
        if not self.images or not other.images:
            return self if other.images == 0 else other
        images = self.images + other.images
        delta = other.mean - self.mean
        return Moments(
            images,
            self.mean + delta * (other.images / images),
            self.m2 + other.m2 + delta * delta * (self.images * (other.images / images)),
            self.map_total + other.map_total,
            self.active + other.active,
            np.maximum(self.max_high, other.max_high),
            np.minimum(self.max_low, other.max_low),
            np.maximum(self.min_high, other.min_high),
            np.minimum(self.min_low, other.min_low),
        )

    @staticmethod
    def none(neurons: int) -> Moments:
        """Of no images."""
        up, down = np.full(neurons, -np.inf, np.float32), np.full(neurons, np.inf, np.float32)
        zero = np.zeros(neurons)
        return Moments(0, zero, zero, zero, np.zeros(neurons, np.int64), up, down, up, down)


def moments(high: Floats, low: Floats, mean_of_map: Floats) -> Moments:
    """Moments of responses (images, neurons): `high` of side max, `low` of side min; `mean_of_map` likewise."""
    images, neurons = high.shape
    if images == 0:
        return Moments.none(neurons)
    total, active, m2 = np.zeros(neurons), np.zeros(neurons, np.int64), np.zeros(neurons)
    highs, lows = np.stack([high[0], high[0]]), np.stack([low[0], low[0]])  # largest and smallest
    high, low = np.ascontiguousarray(high), np.ascontiguousarray(low)
    _totals_loop()(high, low, total, active, highs, lows)
    mean = total / images
    _squares_loop()(high, mean, m2)
    map_total = mean_of_map.sum(axis=0, dtype=np.float64)
    return Moments(images, mean, m2, map_total, active, highs[0], highs[1], lows[0], lows[1])


def _totals(high: Floats, low: Floats, total: Doubles, active: Ints, highs: Floats, lows: Floats) -> None:
    """Takes each row of `high` and `low` (images, neurons) into the sum, the count above 0, largest and smallest."""
    for i in range(len(high)):
        for neuron in range(high.shape[1]):
            value, least = high[i, neuron], low[i, neuron]
            total[neuron] += value
            active[neuron] += value > 0
            highs[0, neuron], highs[1, neuron] = max(highs[0, neuron], value), min(highs[1, neuron], value)
            lows[0, neuron], lows[1, neuron] = max(lows[0, neuron], least), min(lows[1, neuron], least)


@cache
def _totals_loop() -> Callable[[Floats, Floats, Doubles, Ints, Floats, Floats], None]:
    floats = types.Array(types.float32, 2, "C")
    doubles, counts = types.Array(types.float64, 1, "C"), types.Array(types.int64, 1, "C")
    return compiled(types.void(floats, floats, doubles, counts, floats, floats), _totals)


def _squares(high: Floats, mean: Doubles, m2: Doubles) -> None:
    """Adds the squared deviation of each row of `high` (images, neurons) from `mean` to `m2`."""
    for i in range(len(high)):
        for neuron in range(high.shape[1]):
            deviation = high[i, neuron] - mean[neuron]
            m2[neuron] += deviation * deviation


@cache
def _squares_loop() -> Callable[[Floats, Doubles, Doubles], None]:
    doubles = types.Array(types.float64, 1, "C")
    return compiled(types.void(types.Array(types.float32, 2, "C"), doubles, doubles), _squares)


@dataclass(frozen=True)
class Histogram:
    """Counts of non-empty bins over all neurons: ascending `key` = neuron * BINS + bin, and `count`."""

    key: Ints
    count: Ints


def bins_of(values: Floats) -> NDArray[np.int32]:
    """Bin of each value, 0 to BINS - 1; bins ascend with the value."""
    bits = np.ascontiguousarray(values, np.float32).view(np.int32)
    magnitude = bits & np.int32(0x7FFFFFFF)
    magnitude >>= _SHIFT
    magnitude -= _LEAST - 1
    np.clip(magnitude, 0, _HALF, out=magnitude)
    sign = bits >> np.int32(31)  # 0, or -1 for a negative value: x ^ sign - sign is x or -x
    magnitude ^= sign
    magnitude -= sign
    magnitude += _HALF
    return magnitude


def edges_of(bins: Ints) -> tuple[Floats, Floats]:
    """Left and right edge of each bin; the outermost reach to infinity."""
    magnitude = np.abs(bins - _HALF)
    codes = np.stack([magnitude + (_LEAST - 1), magnitude + _LEAST]).astype(np.uint32) << np.uint32(_SHIFT)
    near, far = codes.view(np.float32)
    near = np.where(magnitude == 0, -far, near)
    far = np.where(magnitude == _HALF, np.float32(np.inf), far)
    negative = bins < _HALF
    return np.where(negative, -far, near), np.where(negative, -near, far)


def histogram(values: Floats) -> Histogram:
    """Histogram of responses (images, neurons); some neurons at a time, whose counts stay in the cache."""
    keys, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for first in range(0, values.shape[1], _NEURONS):
        bins = bins_of(values[:, first : first + _NEURONS])
        count = np.zeros(bins.shape[1] * BINS, np.int32)
        _count_loop()(bins, count.reshape(-1, BINS))
        key = np.flatnonzero(count != 0)  # of truths: nine times as fast as of numbers
        keys.append(key + first * BINS)
        counts.append(count[key].astype(np.int64))
    return Histogram(np.concatenate(keys), np.concatenate(counts))


def _count(bins: NDArray[np.int32], counts: NDArray[np.int32]) -> None:
    """Counts the bins (images, neurons) of each neuron in `counts` (neurons, BINS)."""
    for i in range(len(bins)):
        for neuron in range(bins.shape[1]):
            counts[neuron, bins[i, neuron]] += 1


@cache
def _count_loop() -> Callable[[NDArray[np.int32], NDArray[np.int32]], None]:
    numbers = types.Array(types.int32, 2, "C")
    return compiled(types.void(numbers, numbers), _count)


def quantiles(bins: Ints, count: Ints, at: tuple[float, ...], low: float, high: float) -> Floats:
    """Quantiles (len(at),) of one neuron's histogram, linear within a bin, between the exact extremes."""
    left, right = (edge.astype(np.float64).clip(low, high) for edge in edges_of(bins))
    cumulative = np.cumsum(count)
    # A gap between two bins is a jump: both of its edges carry the same count.
    value = np.stack([left, right], 1).reshape(-1)
    below = np.stack([cumulative - count, cumulative], 1).reshape(-1)
    return np.asarray(np.interp(np.asarray(at) * cumulative[-1], below, value), np.float32)


@dataclass(frozen=True)
class ClassSums:
    """Over the images of each class that occurs: how many, and a neuron's sums. `classes` ascends."""

    classes: Ints
    images: Ints
    total: Doubles  # (classes, neurons) of the side-max response
    rectified: Doubles  # (classes, neurons) of max(response, 0)
    active: NDArray[np.int32]  # (classes, neurons)

    @staticmethod
    def none(neurons: int) -> ClassSums:
        """Of no images."""
        sums = np.zeros((0, neurons))
        return ClassSums(np.zeros(0, np.int64), np.zeros(0, np.int64), sums, sums, np.zeros((0, neurons), np.int32))

    def fold(self, other: ClassSums) -> ClassSums:
        """Of both sets of images: a class's sums here, plus those there."""
        if np.array_equal(self.classes, other.classes):
            parts = ("images", "total", "rectified", "active")
            return ClassSums(self.classes, *(getattr(self, name) + getattr(other, name) for name in parts))
        classes = np.union1d(self.classes, other.classes)
        mine, others = np.searchsorted(classes, self.classes), np.searchsorted(classes, other.classes)

        def added(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
            out = np.zeros((len(classes), *a.shape[1:]), a.dtype)
            out[mine] = a
            out[others] += b
            return out

        return ClassSums(
            classes,
            added(self.images, other.images),
            added(self.total, other.total),
            added(self.rectified, other.rectified),
            added(self.active, other.active),
        )


def class_sums(high: Floats, class_ids: Ints, of: Ints | None = None) -> ClassSums:
    """Class sums of responses (images, neurons); class -1 is none and left out. Summed in the order of `class_ids`.

    `of`: the image of each class, where images have several; without it each image has one.
    """
    classes, group, images = np.unique(class_ids, return_inverse=True, return_counts=True)
    if len(classes) and classes[0] < 0:
        classes, group, images = classes[1:], group - 1, images[1:]
    shape = (len(classes), high.shape[1])
    sums = ClassSums(classes, images, np.zeros(shape), np.zeros(shape), np.zeros(shape, np.int32))
    of = np.arange(len(high)) if of is None else of
    _sums_loop()(np.ascontiguousarray(high), of, group, sums.total, sums.rectified, sums.active)
    return sums


def _add(high: Floats, of: Ints, group: Ints, total: Doubles, rectified: Doubles, active: NDArray[np.int32]) -> None:
    """Adds the rows `of` of `high` (images, neurons) to the rows `group` of the sums, unless that is -1."""
    for i in range(len(group)):
        if group[i] >= 0:
            all_of, above, count = total[group[i]], rectified[group[i]], active[group[i]]
            for neuron in range(high.shape[1]):
                value = high[of[i], neuron]
                all_of[neuron] += value
                above[neuron] += max(value, np.float32(0))
                count[neuron] += value > 0


@cache
def _sums_loop() -> Callable[[Floats, Ints, Ints, Doubles, Doubles, NDArray[np.int32]], None]:
    sums = types.Array(types.float64, 2, "C")
    high, active = types.Array(types.float32, 2, "C"), types.Array(types.int32, 2, "C")
    numbers = types.Array(types.int64, 1, "C")
    return compiled(types.void(high, numbers, numbers, sums, sums, active), _add)


def selectivity(rectified_mean: Doubles, images: Ints) -> Floats:
    """Class selectivity index (Morcos et al. 2018, section 2.3), of 0 (all classes alike) to 1 (one class alone).

    `rectified_mean` (classes, neurons) is the class mean of max(response, 0), so that the index is defined for layers
    without a rectifier too; the mean over the other classes weighs each class alike. NaN with fewer than two classes,
    and where no class has a response above 0.
    """
    present = rectified_mean[images > 0]
    if len(present) < 2:
        return np.full(rectified_mean.shape[1], np.nan, np.float32)
    best = present.max(axis=0)
    rest = (present.sum(axis=0) - best) / (len(present) - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((best - rest) / (best + rest), np.float32)
