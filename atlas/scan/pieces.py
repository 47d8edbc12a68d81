"""How the neurons are cut for the merge: pieces of whole layers, of which a worker folds one, in blocks.

All that is folded is folded neuron by neuron, so whoever folds which neurons, the result is the same; and a worker
reads only its own neurons of each partial result. The cut follows from the layers alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from atlas.types import Layer

MOST = 512
"""Neurons of a block: of 1,000 classes 10 MB of class sums, of which a fold holds one set a level of its tree."""


@dataclass(frozen=True)
class Block:
    """The neurons `[first, last)`, counted over all layers, that are folded together."""

    number: int
    first: int
    last: int

    @property
    def neurons(self) -> int:
        return self.last - self.first


@dataclass(frozen=True)
class Piece:
    """The layers `[first, last)` of a network: together one block, or a layer alone, of several."""

    first: int
    last: int
    blocks: tuple[Block, ...]

    @property
    def neurons(self) -> int:
        return self.blocks[-1].last - self.blocks[0].first


def pieces(layers: Sequence[Layer]) -> list[Piece]:
    """The layers in order, as many together as a block holds; a layer of more neurons is a piece of some blocks."""
    found: list[Piece] = []
    numbers = 0
    start = first = 0  # of the piece at hand: its first neuron, its first layer
    for number, layer in enumerate(layers):
        end = start + sum(each.channels for each in layers[first : number + 1])
        after = layers[number + 1].channels if number + 1 < len(layers) else MOST + 1
        if end - start + after <= MOST:
            continue
        cuts = [*range(start, end, MOST), end]
        blocks = tuple(Block(numbers + i, a, b) for i, (a, b) in enumerate(pairwise(cuts)))
        found.append(Piece(first, number + 1, blocks))
        numbers += len(blocks)
        start, first = end, number + 1
        assert layer.channels <= MOST or found[-1].last - found[-1].first == 1
    return found


def blocks(layers: Sequence[Layer]) -> list[Block]:
    """The blocks of all pieces."""
    return [block for piece in pieces(layers) for block in piece.blocks]
