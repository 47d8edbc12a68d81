"""Which neuron of another network is the same? The one whose responses to the shared images correlate most.

Products are taken in float32, a block of neurons at a time; what comes within their rounding of the largest is
computed again in float64, so that the answer does not depend on blocks. Neurons whose response never changes have no
match. What chance gives: the best match of neurons whose images are shuffled, drawn a layer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from atlas.arrays import Doubles, Flags, Floats, Ints

ROUNDING = 1e-5
"""More than float32 products of unit vectors are wrong by."""
DRAWS = 200
"""Shuffled neurons a layer, whose best matches are its null."""
LEVEL = 0.95
_AT_ONCE = 1 << 22  # values compared again in float64 at a time


@dataclass(frozen=True)
class Unit:
    """Neurons (neurons, images): responses less their mean, of unit length, in float64; `varies` (neurons,)."""

    rows: Doubles
    varies: Flags

    @classmethod
    def of(cls, responses: Floats) -> Unit:
        """From responses (images, neurons)."""
        rows = np.ascontiguousarray(responses.T, np.float64)
        varies = np.asarray(rows.max(1, initial=-np.inf) > rows.min(1, initial=np.inf))
        rows -= rows.mean(1, keepdims=True)
        length = np.sqrt((rows * rows).sum(1, keepdims=True))
        rows /= np.where(length > 0, length, 1)
        rows[~varies] = 0
        return cls(rows, varies)

    def shuffled(self, chosen: Ints, seeds: Iterable[tuple[int, ...]]) -> Unit:
        """Neurons by number, the images of each shuffled by its own seed."""
        images = self.rows.shape[1]
        rows = [
            self.rows[at][np.random.default_rng(seed).permutation(images)]
            for at, seed in zip(chosen, seeds, strict=True)
        ]
        return Unit(np.stack(rows) if rows else self.rows[:0], self.varies[chosen])


@dataclass
class Best:
    """The best match of each neuron so far: correlation (-inf: none) and the number of the other neuron (-1)."""

    correlation: Doubles
    other: Ints

    @classmethod
    def none(cls, neurons: int) -> Best:
        return cls(np.full(neurons, -np.inf), np.full(neurons, -1, np.int64))

    def take(self, rows: Ints, correlation: Doubles, other: Ints) -> None:
        """Enters candidates; the larger correlation wins, of equals the smaller number."""
        order = np.lexsort((other, -correlation, rows))
        first = np.unique(rows[order], return_index=True)[1]
        rows, correlation, other = rows[order][first], correlation[order][first], other[order][first]
        held = self.correlation[rows]
        better = (correlation > held) | ((correlation == held) & (other < self.other[rows]))
        self.correlation[rows[better]] = correlation[better]
        self.other[rows[better]] = other[better]


def match(a: Unit, b: Unit, best_a: Best, best_b: Best, first_a: int, first_b: int) -> None:
    """Enters the matches between two blocks, whose first neurons have the given numbers, in both directions.

    `best_a` and `best_b` are of all neurons of their side.
    """
    if not a.varies.any() or not b.varies.any():
        return
    products = a.rows.astype(np.float32) @ b.rows.astype(np.float32).T  # (neurons of a, of b)
    products[~a.varies], products[:, ~b.varies] = -np.inf, -np.inf
    near_row = products >= products.max(1, keepdims=True) - ROUNDING
    near_column = products >= products.max(0, keepdims=True) - ROUNDING
    both = (near_row | near_column) & (products > -np.inf)
    rows, columns = np.nonzero(both)
    exact = _products(a.rows, b.rows, rows, columns)
    is_row, is_column = near_row[rows, columns], near_column[rows, columns]
    best_a.take(rows[is_row] + first_a, exact[is_row], columns[is_row] + first_b)
    best_b.take(columns[is_column] + first_b, exact[is_column], rows[is_column] + first_a)


def _products(a: Doubles, b: Doubles, rows: Ints, columns: Ints) -> Doubles:
    """Correlations of pairs, each summed alone, so that they do not depend on what stands beside them."""
    found = np.empty(len(rows))
    step = max(1, _AT_ONCE // max(a.shape[1], 1))
    for at in range(0, len(rows), step):
        part = slice(at, at + step)
        found[part] = (a[rows[part]] * b[columns[part]]).sum(1)
    return np.clip(found, -1, 1)


def joined(parts: Iterable[Best]) -> Best:
    """One answer from the best matches that blocks found for the same neurons; in any order the same."""
    whole: Best | None = None
    for part in parts:
        if whole is None:
            whole = Best(part.correlation.copy(), part.other.copy())
        rows = np.flatnonzero(part.other >= 0)
        whole.take(rows, part.correlation[rows], part.other[rows])
    return whole or Best.none(0)


def mutual(a: Best, b: Best) -> Flags:
    """Whether a neuron's best match has it as its own best match."""
    known = a.other >= 0
    back = np.full(len(a.other), -1, np.int64)
    back[known] = b.other[a.other[known]]
    return np.asarray(known & (back == np.arange(len(back))))


def null95(best: Doubles) -> float:
    """The correlation that 95 % of a layer's shuffled neurons do not surpass; nan where none vary."""
    known = best[np.isfinite(best)]
    return float(np.quantile(known, LEVEL, method="higher")) if len(known) else float("nan")
