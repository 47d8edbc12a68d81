"""What the whole search finds by chance: p of the best over all formulas and lengths, and what survives many tests.

Long formulas reach more by chance than short ones, so that each length is measured against its own: the statistic of a
search is the largest, over lengths, of the best excess less its mean over shuffled orders, in deviations of these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlas.arrays import Doubles
from atlas.words.orders import pattern, shuffled
from atlas.words.search import Table, search

SHUFFLES = 10_000
CHUNK = 500
"""Shuffled orders searched at a time; the null does not depend on it."""


def draw(table: Table, key: tuple[int, int], first: int, count: int, length: int, beam: int, seed: int) -> Doubles:
    """Best excess of each length (count, lengths) in shuffled orders `first` … of a pattern of ties."""
    images = len(table.rows)
    orders = shuffled(images, *key, first, count, seed)
    return np.ascontiguousarray(search(orders, pattern(images, *key), table, length, beam).excess[:, :, 0])


@dataclass(frozen=True)
class Null:
    """The statistics of all shuffled orders, ascending; mean and deviation of the best excess of each length."""

    mean: Doubles
    deviation: Doubles
    ascending: Doubles

    @classmethod
    def of(cls, best: Doubles) -> Null:
        """From the best excess of each length (shuffles, lengths)."""
        known = np.isfinite(best).all(0)
        mean, deviation = np.zeros(best.shape[1]), np.ones(best.shape[1])
        mean[known], deviation[known] = best[:, known].mean(0), best[:, known].std(0)
        deviation[deviation == 0] = 1
        return cls(mean, deviation, np.sort(((best - mean) / deviation).max(1)))

    def statistic(self, best: Doubles) -> Doubles:
        """(neurons,) of the best excess of each length (neurons, lengths)."""
        return np.asarray(((best - self.mean) / self.deviation).max(1))

    def p(self, best: Doubles) -> Doubles:
        """Share of shuffled orders in which the search finds as much, the one at hand counted among them."""
        draws = len(self.ascending)
        reached = draws - np.searchsorted(self.ascending, self.statistic(best), side="left")
        return np.asarray((1 + reached) / (1 + draws))


def false_discovery(p: Doubles) -> Doubles:
    """Benjamini and Hochberg's q: the least false discovery rate at which each of the tests is taken."""
    n = len(p)
    order = np.argsort(p, kind="stable")[::-1]
    q = np.empty(n)
    q[order] = np.minimum.accumulate(p[order] * n / np.arange(n, 0, -1)) if n else q[order]
    return q
