"""How a picture travels through the layers, beside how natural ones do (Geirhos et al. 2024, their sanity check).

A picture that drives its neuron by another road than the neuron's own images do says little about those. At each layer
up to the neuron's, the channels' mean responses of two pictures are compared by rank correlation, and the correlations
are averaged over layers. The scale: 1, as alike as the neuron's natural nine are to each other; 0, as random images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from atlas.arrays import Doubles, Floats

LEAST = 0.02
"""Where natural pictures are not this much more alike than random ones, there is no scale."""


def correlations(a: Floats, b: Floats) -> Doubles:
    """Spearman's rank correlations (N, M) of rows of `a` (N, C) and `b` (M, C); 0 where a row is constant."""
    first, second = (rankdata(each, axis=1).astype(np.float64) for each in (a, b))
    first, second = (each - each.mean(1, keepdims=True) for each in (first, second))
    norms = np.outer(np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1))
    return np.asarray(np.where(norms > 0, first @ second.T / np.where(norms > 0, norms, 1), 0))


def path(pictures: Sequence[Floats], natural: Sequence[Floats], random: Sequence[Floats]) -> list[float | None]:
    """One number a picture; each argument holds, for each layer, means over positions (pictures, C).

    None where there are fewer than two natural ones, no random one, or no scale.
    """
    count = len(pictures[0])
    if len(natural[0]) < 2 or not len(random[0]):
        return [None] * count
    own, among, apart = np.zeros(count), 0.0, 0.0
    for mine, theirs, others in zip(pictures, natural, random, strict=True):
        own += correlations(mine, theirs).mean(1)
        pairs = correlations(theirs, theirs)
        among += float(pairs[np.triu_indices(len(pairs), 1)].mean())
        apart += float(correlations(others, theirs).mean())
    if among - apart < LEAST * len(pictures):
        return [None] * count
    return [float(each) for each in (own - apart) / (among - apart)]
