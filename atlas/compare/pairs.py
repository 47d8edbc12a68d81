"""Two sealed atlases over the images that both response samples hold: their responses, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from atlas.analyse import responses
from atlas.arrays import Doubles, Floats, Ints
from atlas.compare import cka, matching
from atlas.compare.matching import Best, Unit
from atlas.compare.shared import enough, shared
from atlas.store.sealed import Sealed

Block = tuple[str, int, int]
"""Neurons `first` to `last` of a layer."""


@dataclass
class Side:
    """An atlas and the rows of its response sample that both have, in the order of the contents' hashes."""

    sealed: Sealed
    rows: Ints

    @cached_property
    def sizes(self) -> list[tuple[str, int]]:
        """Layers from input to output, with their neurons."""
        table = self.sealed.table("layers", ["layer", "channels", "index"]).sort_by("index")
        return list(zip(table.column("layer").to_pylist(), table.column("channels").to_pylist(), strict=True))

    @cached_property
    def starts(self) -> dict[str, int]:
        """Number of each layer's first neuron, all neurons counted in the order of the layers."""
        ends = np.cumsum([size for _, size in self.sizes])
        return {layer: int(end) - size for (layer, size), end in zip(self.sizes, ends, strict=True)}

    @property
    def neurons(self) -> int:
        return sum(size for _, size in self.sizes)

    def responses(self, layer: str, images: int | None = None) -> Floats:
        """Side-max responses (images, neurons) to the shared images, or to the first of them."""
        return responses.of_layer(self.sealed, layer).maxima[self.rows[:images]]

    def places(self, numbers: Ints) -> tuple[list[str | None], list[int | None]]:
        """Layer and channel of neurons by number; None for -1."""
        firsts = np.array(list(self.starts.values()))
        at = np.searchsorted(firsts, numbers, side="right") - 1
        layers = [self.sizes[i][0] if n >= 0 else None for i, n in zip(at.tolist(), numbers.tolist(), strict=True)]
        channels = [int(n - firsts[i]) if n >= 0 else None for i, n in zip(at.tolist(), numbers.tolist(), strict=True)]
        return layers, channels


@dataclass
class Pair:
    """This atlas, and the other one."""

    a: Side
    b: Side
    image_ids: Ints
    """Of this atlas, of the shared images of the sample."""


def pair(sealed: Sealed, other: Sealed) -> Pair:
    """Raises `InputError` where the two samples share too few images."""
    here, there = responses.images(sealed), responses.images(other)
    contents = here.column("content").to_pylist()
    rows, other_rows = shared(contents, there.column("content").to_pylist())
    enough(len(rows), "the two response samples")
    order = np.array(sorted(range(len(rows)), key=lambda at: contents[rows[at]]), np.int64)  # no folder stands together
    rows, other_rows = rows[order], other_rows[order]
    return Pair(Side(sealed, rows), Side(other, other_rows), here.column("image_id").to_numpy()[rows])


@dataclass
class Matched:
    """Of a group of this atlas's neurons: their matches, those of all of the other's neurons, and layers' null95."""

    best: Best
    back: Best
    null95: dict[str, float]


def match(pair: Pair, blocks: Sequence[Block], seed: int) -> Matched:
    """Matches of some blocks of neurons with all of the other atlas; the null of each layer that begins here."""
    units = [Unit.of(pair.a.responses(layer)[:, first:last]) for layer, first, last in blocks]
    drawn = {
        layer: _shuffled(pair.a, layer, size, seed)
        for layer, size in pair.a.sizes
        if (layer, 0) in {(block[0], block[1]) for block in blocks}
    }
    best, back = Best.none(pair.a.neurons), Best.none(pair.b.neurons)
    nulls = {layer: Best.none(len(unit.rows)) for layer, unit in drawn.items()}
    for other, _ in pair.b.sizes:
        unit = Unit.of(pair.b.responses(other))
        start = pair.b.starts[other]
        for (layer, first, _), own in zip(blocks, units, strict=True):
            matching.match(own, unit, best, back, pair.a.starts[layer] + first, start)
        for layer, shuffled in drawn.items():
            matching.match(shuffled, unit, nulls[layer], Best.none(pair.b.neurons), 0, start)
    return Matched(best, back, {layer: matching.null95(null.correlation) for layer, null in nulls.items()})


def _shuffled(side: Side, layer: str, size: int, seed: int) -> Unit:
    """Neurons of a layer, `matching.DRAWS` draws, each with its images shuffled."""
    unit = Unit.of(side.responses(layer))
    number = side.sealed.layers.index(layer)
    varies = np.flatnonzero(unit.varies)
    chosen = np.random.default_rng([seed, number]).choice(varies, matching.DRAWS) if len(varies) else varies
    return unit.shuffled(chosen, [(seed, number, draw) for draw in range(len(chosen))])


def kernels(pair: Pair) -> int:
    """Images that layers are aligned over."""
    return min(len(pair.image_ids), cka.MOST)


def stripe(pair: Pair, first: int, count: int) -> cka.Sums:
    """Sums over some rows of the kernels of all layers."""
    images = kernels(pair)
    a, b = ([cka.centred(side.responses(layer, images)) for layer, _ in side.sizes] for side in (pair.a, pair.b))
    return cka.stripe(a, b, first, count)


def halves(pair: Pair, repeats: Ints, seed: int) -> Doubles:
    """Alignments (repeats, layers, layers) in random halves of the images."""
    images = min(kernels(pair), cka.HALVED)
    a, b = ([side.responses(layer, images) for layer, _ in side.sizes] for side in (pair.a, pair.b))
    return cka.halves(a, b, seed, repeats)
