"""Options of the part `connections`."""

from __future__ import annotations

from dataclasses import dataclass

REMOVED = (1, 3, 10)
"""How many of a neuron's maps are removed."""
RANKINGS = ("contribution", "random", "equal", "active", "weight", "shuffled", "chance")
"""By what the removed maps are chosen: the strongest contributions; as many others at random; as many others of equal
activation; the most active; the largest weight sums; the strongest contributions in a network of shuffled weights; and
as many at random of all maps, which is what that control has to be held against."""
TOLERANCE = 1e-3
"""A layer whose contributions miss its response by more, as a share of its scale, is not the sum it seems to be."""
STRONGEST = 10
"""Edges a neuron, a direction and a sign."""


@dataclass(frozen=True)
class ConnectionSettings:
    """`shuffled`: also rank by a network of shuffled weights, which costs a second forward pass an image."""

    shuffled: bool = True
    seed: int = 0


def held_out(side: str, rank: int) -> bool:
    """Whether an example is kept from the ranking to test it: every third of side `max`."""
    return side == "max" and rank % 3 == 2
