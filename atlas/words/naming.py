"""Names for neurons: which of the formulas that the search found are stated, and what is measured of them.

The most excessive formula is not always the one to state: among thousands of extensions some raise the excess of a true
word by chance. A longer formula is stated only where each term that it adds separates the images it decides on (those
of the formula before, for AND and AND NOT; all others, for OR) by more than chance in as many tries would: Mann and
Whitney's test on the searched half, at 5 % divided by the number of extensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from atlas.arrays import Doubles, Flags, Floats, Ints
from atlas.words import chance, measures, orders
from atlas.words.formula import OPERATIONS, Formula, Terms
from atlas.words.orders import Keys
from atlas.words.search import Table, search

LEVEL = 0.05
ALIKE = 0.5
"""Formulas stated of one neuron share at most this part of the images that either holds for (Jaccard)."""


@dataclass(frozen=True)
class Halves:
    """What one search needs: flags (images, concepts) of the searched half and of the other."""

    searched: Flags
    held: Flags
    table: Table

    @classmethod
    def of(cls, searched: Flags, held: Flags, least: int) -> Halves:
        return cls(searched, held, Table.of(searched, held, least))


@dataclass(frozen=True)
class Stated:
    """A formula of a neuron with its measures: `precision`, `share`, `excess` on the searched half, the others on the
    half that was held out; `n` images of both for which it holds."""

    formula: Formula
    precision: float
    share: float
    excess: float
    held_precision: float
    held_excess: float
    correlation: float
    area: float
    n: int


@dataclass(frozen=True)
class Named:
    """Of a block of neurons: the best excess of each length (neurons, lengths), the pattern of ties (neurons, 2), and
    the formulas stated, none where all responses of a half are equal."""

    best: Doubles
    keys: Keys
    stated: list[list[Stated]]


def name(searched: Floats, held: Floats, halves: Halves, length: int, beam: int, most: int) -> Named:
    """Searches words for neurons by their scores (neurons, images) on the two halves: a larger score is stronger.

    `most` formulas a neuron are stated, best first.
    """
    order, keys = orders.of(searched)
    best = np.full((len(searched), length), -np.inf)
    stated: list[list[Stated]] = [[] for _ in searched]
    varies = (searched.min(1) < searched.max(1)) & (held.min(1) < held.max(1))
    for key in np.unique(keys[varies], axis=0):
        rows = np.flatnonzero(varies & (keys == key).all(1))
        pattern = orders.pattern(searched.shape[1], int(key[0]), int(key[1]))
        beams = search(order[rows], pattern, halves.table, length, beam)
        best[rows] = beams.excess[:, :, 0]
        for at, row in enumerate(rows.tolist()):
            ranked = _Ranked.of(searched[row], order[row], halves.searched)
            formulas = choose(beams.excess[at], beams.terms[at], ranked, most)
            stated[row] = measure(formulas, ranked, held[row], halves)
    return Named(best, keys, stated)


@dataclass(frozen=True)
class _Ranked:
    """The searched half in the order of one neuron's responses."""

    flags: Flags
    order: Ints
    scores: Floats
    ends: Ints

    @classmethod
    def of(cls, scores: Floats, order: Ints, flags: Flags) -> _Ranked:
        ranked = scores[order]
        return cls(flags, order, ranked, chance.ends(ranked).astype(np.int64))

    def holds(self, formula: Formula) -> Flags:
        return formula.holds(self.flags)[self.order]

    def adds(self, formula: Formula) -> float:
        """By how many deviations the last term of a formula separates the images that it decides on."""
        prefix, last, operation = formula.prefix, formula.concepts[-1], formula.operations[-1]
        decided = self.holds(prefix) ^ (operation == 2)
        flags = (self.flags[:, last][self.order] ^ (operation == 1))[decided]
        return measures.separation(flags, chance.ends(self.scores[decided]).astype(np.int64))


def choose(excess: Doubles, terms: Terms, ranked: _Ranked, most: int) -> list[Formula]:
    """The formulas to state, by excess: `excess` (lengths, beam), `terms` (lengths, beam, length) of one neuron."""
    tries = OPERATIONS * ranked.flags.shape[1]
    least = -NormalDist().inv_cdf(LEVEL / tries)
    by_excess = np.argsort(-excess, axis=None, kind="stable")  # of equals the shorter goes first
    taken: list[Formula] = []
    extents: list[Flags] = []
    sound: dict[Formula, bool] = {}

    def passes(formula: Formula) -> bool:
        if len(formula) > 1 and formula not in sound:
            sound[formula] = passes(formula.prefix) and ranked.adds(formula) > least
        return len(formula) == 1 or sound[formula]

    for place in by_excess.tolist():
        if len(taken) == most or excess.flat[place] == -np.inf:
            break
        formula = Formula.of(terms.reshape(-1, terms.shape[-1])[place])
        extent = ranked.holds(formula)
        if all((extent & other).sum() <= ALIKE * (extent | other).sum() for other in extents) and passes(formula):
            taken.append(formula)
            extents.append(extent)
    return taken


def measure(formulas: list[Formula], ranked: _Ranked, held: Floats, halves: Halves) -> list[Stated]:
    """The measures of formulas, with all ties."""
    if not formulas:
        return []
    inside = np.stack([ranked.holds(formula) for formula in formulas])  # (formulas, images)
    precision = measures.average_precision(inside, ranked.ends)
    n = inside.sum(1)
    excess = chance.moments(ranked.ends.astype(np.int32)).excess(precision, n.astype(np.float64))
    flags = np.stack([formula.holds(halves.held) for formula in formulas])
    order = np.argsort(-held, kind="stable")
    ends = chance.ends(held[order])
    wide = ends.astype(np.int64)
    other = measures.average_precision(flags[:, order], wide)
    m = flags.sum(1)
    other_excess = chance.moments(ends).excess(other, m.astype(np.float64))
    correlation = measures.correlation(flags, held.astype(np.float64))
    area = measures.area(flags[:, order], wide)
    return [
        Stated(
            formula, float(precision[i]), float(n[i] / inside.shape[1]), float(excess[i]), float(other[i]),
            float(other_excess[i]), float(correlation[i]), float(area[i]), int(n[i] + m[i]),
        )
        for i, formula in enumerate(formulas)
    ]  # fmt: skip
