"""Slow twins of comparing: correlations by SciPy pair by pair, HSIC summed over images one by one."""

from __future__ import annotations

import itertools

import numpy as np
from scipy import stats


def best_match(a: np.ndarray, b: np.ndarray) -> tuple[list[int], list[float]]:
    """For each column of a the column of b that correlates most, and how much."""
    matches, values = [], []
    for x in a.T.astype(np.float64):
        found = [stats.pearsonr(x, y).statistic for y in b.T.astype(np.float64)]
        matches.append(int(np.argmax(found)))
        values.append(max(found))
    return matches, values


def hsic(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimator as its definition: means over all pairs, quadruples and triples of different images."""
    k, m, n = x @ x.T, y @ y.T, len(x)
    pairs = [k[i, j] * m[i, j] for i, j in itertools.permutations(range(n), 2)]
    quadruples = [k[i, j] * m[p, q] for i, j, p, q in itertools.permutations(range(n), 4)]
    triples = [k[i, j] * m[i, p] for i, j, p in itertools.permutations(range(n), 3)]
    return float(np.mean(pairs) + np.mean(quadruples) - 2 * np.mean(triples))


def cka(x: np.ndarray, y: np.ndarray) -> float:
    """Debiased linear CKA of two layers (images, neurons)."""
    return hsic(x, y) / (hsic(x, x) * hsic(y, y)) ** 0.5
