"""What average precision is by chance: its mean and deviation over all orders of the images, exactly.

Average precision of a formula that holds for n of N images is a quadratic form of the n places that it takes in the
order of the responses, so that its first two moments over all orders follow from sums over places; nothing is drawn.
Tied responses share a place: `ends` says where each group of equal responses ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.arrays import Doubles

Places = NDArray[np.int32]


@dataclass(frozen=True)
class Moments:
    """Sums over places from which mean and variance for any n follow; `images` is N."""

    images: int
    d1: float
    d2: float
    v1: float
    ds: float
    q: float
    s2: float

    def mean(self, n: Doubles) -> Doubles:
        """Mean of average precision over all orders, for formulas that hold for `n` images; nan for n = 0."""
        p = self._chances(n, 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((self.d1 * p[0] + self.v1 * p[1]) / n)

    def deviation(self, n: Doubles) -> Doubles:
        """Standard deviation of average precision over all orders; 0 where every order gives the same."""
        p = self._chances(n, 4)
        second = (
            self.d2 * p[0]
            + (self.d1**2 - self.d2 + 2 * self.ds + self.q) * p[1]
            + (2 * (self.d1 * self.v1 - self.ds) + self.s2 - 2 * self.q) * p[2]
            + (self.v1**2 + self.q - self.s2) * p[3]
        )
        first = self.d1 * p[0] + self.v1 * p[1]
        variance = second - first**2
        variance = np.where(variance > 1e-12 * first**2, variance, 0.0)  # less is rounding
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.sqrt(variance) / n)

    def excess(self, precision: Doubles, n: Doubles) -> Doubles:
        """How far average precision lies above chance, in deviations; -inf where chance does not vary, or n is 0."""
        deviation = self.deviation(n)
        with np.errstate(invalid="ignore", divide="ignore"):
            excess = (precision - self.mean(n)) / deviation
        return np.asarray(np.where(deviation > 0, excess, -np.inf))

    def _chances(self, n: Doubles, most: int) -> list[Doubles]:
        """Chance that k given places are all among the n, for k = 1 … `most`."""
        chances, chance = [], np.ones_like(np.asarray(n, np.float64))
        for k in range(most):
            chance = chance * (n - k) / max(self.images - k, 1)
            chances.append(chance)
        return chances


def ends(scores: NDArray[Any]) -> Places:
    """Where the group of equal values that a place belongs to ends, counted from 1; `scores` descends."""
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) + 1
    return np.repeat(last, np.diff(last, prepend=0)).astype(np.int32)


def starts(places: NDArray[Any]) -> NDArray[Any]:
    """How many places come before the group that a place belongs to, from `ends`."""
    first = np.flatnonzero(np.diff(places, prepend=0))
    return np.repeat(np.append(0, places[first[:-1]]), np.diff(first, append=len(places)))


def moments(places: Places) -> Moments:
    """Sums over the places of an order, with `places` (N,) as from `ends`.

    n times average precision is the sum over pairs of places that hold, i no later than j, of 1 / end of j: `d` are
    the terms of one place with itself, `v` of two, `s` a place's sum over `v`.
    """
    images = len(places)
    end = places.astype(np.float64)
    start = starts(places).astype(np.float64)
    size = end - start
    d = 1 / end
    later = d.sum() - np.cumsum(d)[places - 1]  # of the groups behind one's own
    s = (start + 2 * (size - 1)) * d + later
    q = ((start + 2 * (size - 1)) * d * d).sum()
    return Moments(
        images, float(d.sum()), float((d * d).sum()), float(s.sum() / 2), float((d * s).sum()), float(q),
        float((s * s).sum()),
    )  # fmt: skip
