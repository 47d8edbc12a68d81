"""Constructed concepts and neurons whose words are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlas.arrays import Flags, Floats
from atlas.words.formula import Formula


@dataclass(frozen=True)
class Planted:
    """Flags (images, concepts) of two halves, neurons' scores (neurons, images) on each, and what drives them."""

    searched: Flags
    held: Flags
    scores: Floats
    held_scores: Floats
    truth: tuple[Formula, ...]


def planted(neurons: int, images: int, concepts: int, noise: float, seed: int = 0) -> Planted:
    """Neurons of four kinds in turn: one concept, AND, AND NOT, OR; responses are the truth and normal noise."""
    source = np.random.default_rng(seed)
    shares = source.uniform(0.05, 0.4, concepts)
    flags = source.random((2 * images, concepts)) < shares
    truth: list[Formula] = []
    while len(truth) < neurons:
        a, b = (int(c) for c in source.choice(concepts, 2, replace=False))
        formula = Formula((a,)) if len(truth) % 4 == 0 else Formula((a, b), (len(truth) % 4 - 1,))
        held = formula.holds(flags)
        if all(half.sum() >= 15 for half in (held[:images], held[images:])):
            truth.append(formula)
    wanted = np.stack([formula.holds(flags) for formula in truth])
    scores = (wanted + noise * source.normal(size=wanted.shape)).astype(np.float32)
    return Planted(flags[:images], flags[images:], scores[:, :images].copy(), scores[:, images:].copy(), tuple(truth))


def noise_only(neurons: int, images: int, concepts: int, seed: int = 0) -> Planted:
    """Neurons that respond to nothing."""
    source = np.random.default_rng(seed)
    flags = source.random((2 * images, concepts)) < source.uniform(0.03, 0.4, concepts)
    scores = source.normal(size=(neurons, 2 * images)).astype(np.float32)
    return Planted(flags[:images], flags[images:], scores[:, :images].copy(), scores[:, images:].copy(), ())
