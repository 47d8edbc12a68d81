"""Options of the part `connections`, and the names of what it measures."""

from __future__ import annotations

from dataclasses import dataclass

from atlas import options
from atlas.options import option

REMOVED = (1, 3, 10)
"""How many of a neuron's maps are removed."""
RANKINGS = ("contribution", "random", "equal", "active", "weight", "shuffled", "chance")
"""By what the removed maps are chosen: the strongest contributions; as many others at random; as many others of equal
activation; the most active; the largest weight sums; the strongest contributions in a network of shuffled weights; and
as many at random of all maps, which is what that control has to be held against."""
STRONGEST = 10
"""Edges a neuron, a direction and a sign."""
TOLERANCE = 1e-3
"""A layer whose contributions miss its response by more, as a share of its scale, is not the sum it seems to be."""


@dataclass(frozen=True)
class ConnectionSettings:
    """What `add connections` takes."""

    shuffled: bool = option(
        True, "also rank by a network of shuffled weights, as a control: a second forward pass an image"
    )
    seed: int = option(0, "of what is drawn at random", low=0, high=2**31 - 1)

    def __post_init__(self) -> None:
        options.check(self)


def held_out(side: str, rank: int) -> bool:
    """Whether an example is kept from the ranking to test it: every third of side `max`."""
    return side == "max" and rank % 3 == 2
