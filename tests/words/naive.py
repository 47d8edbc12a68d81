"""Slow twins of the search for words: every formula written out, every measure by scikit-learn."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
from sklearn.metrics import average_precision_score

from atlas.arrays import Flags
from atlas.words.chance import Moments
from atlas.words.formula import Formula


def formulas(concepts: int, length: int) -> Iterator[Formula]:
    """All formulas of a length over so many concepts, no concept twice in a row of equals left out."""
    for chosen in itertools.product(range(concepts), repeat=length):
        for operations in itertools.product(range(3), repeat=length - 1):
            yield Formula(chosen, operations)


def excess(held: Flags, scores: np.ndarray, sums: Moments) -> float:
    """How far average precision lies above its mean by chance, in deviations, ties as scikit-learn has them."""
    precision = np.array(average_precision_score(held, scores))
    return float(sums.excess(precision, np.array(float(held.sum()))))


def best(searched: Flags, other: Flags, scores: np.ndarray, sums: Moments, length: int, least: int) -> float:
    """The largest excess over all formulas of a length that hold for enough images and are new extents."""
    found = -math.inf
    shorter = {searched[:, c].tobytes() for c in range(searched.shape[1])} if length > 1 else set()
    for formula in formulas(searched.shape[1], length):
        held, also = formula.holds(searched), formula.holds(other)
        enough = all(least <= flags.sum() <= len(flags) - least for flags in (held, also))
        if enough and held.tobytes() not in shorter:
            found = max(found, excess(held, scores, sums))
    return found
