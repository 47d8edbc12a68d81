"""Beam search for the formula that a neuron's responses order best (Bykov et al. 2023), ranked against chance.

A formula is a concept, joined term by term with others by AND, AND NOT or OR; a longer one extends the best of the
shorter ones. Deviations from Bykov et al.: formulas are ranked not by AUC but by how far their average precision lies
above its mean over all orders of the images, in deviations (`atlas.words.chance`); OR NOT is no name and is left out;
formulas that hold for the same images count once, the first of them; one that holds for the images of a shorter one it
is made of is none. A bound spares most of the work and changes no answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlas.arrays import Doubles, Flags
from atlas.words import loops
from atlas.words.formula import OPERATIONS, Terms
from atlas.words.loops import Bits
from atlas.words.orders import Orders, Pattern

AND, AND_NOT, OR = range(OPERATIONS)


@dataclass(frozen=True)
class Table:
    """Concepts as bits: `rows` (images, words) of the half that is searched, `held` (concepts, words) of the other.

    Concepts are filled to whole words with ones that hold for nothing.
    """

    concepts: int
    rows: Bits
    held: Bits
    held_images: int
    least: int

    @classmethod
    def of(cls, searched: Flags, held: Flags, least: int = 5) -> Table:
        """From flags (images, concepts) of the two halves; a formula must hold for `least` images in each, and not
        hold for as many."""
        concepts = searched.shape[1]
        wide = -(-concepts // 64) * 64
        rows = np.zeros((len(searched), wide), bool)
        rows[:, :concepts] = searched
        columns = np.zeros((wide, -(-len(held) // 64) * 64), bool)
        columns[:concepts, : len(held)] = held.T
        return cls(concepts, _packed(rows), _packed(columns), len(held), least)


def _packed(flags: Flags) -> Bits:
    return np.packbits(flags, axis=1, bitorder="little").view("<u8").astype(np.uint64)


@dataclass(frozen=True)
class Beams:
    """What a search found: `excess` (orders, lengths, beam), descending, -inf where there is none; `terms` beside it
    (…, length): 3 * concept + operation, -1 behind the last."""

    excess: Doubles
    terms: Terms


def search(orders: Orders, pattern: Pattern, table: Table, length: int, beam: int) -> Beams:
    """The `beam` best formulas of each length 1 … `length`, of each order (orders, images)."""
    excess = np.empty((len(orders), length, beam))
    terms = np.empty((len(orders), length, beam, length), np.int32)
    cut = (
        pattern.ends, pattern.word_block, pattern.word_start, pattern.word_size, pattern.block_ends,
        pattern.block_first,
    )  # fmt: skip
    deviation = np.where(pattern.deviation > 0, pattern.deviation, np.inf)
    mean = (pattern.mean - 1e-6).astype(np.float32)
    inverse = (1.00001 / deviation).astype(np.float32)
    loops.search_loop()(
        orders, table.rows, table.held, table.held_images, cut, (pattern.mean, deviation), (mean, inverse),
        table.least, excess, terms,
    )  # fmt: skip
    return Beams(excess, terms)
