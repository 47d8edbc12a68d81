"""Each neuron's response to every other's picture (Erhan et al. 2009, their sensitivity matrix)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atlas.arrays import Doubles
from atlas.visualize.chunk import Neuron


def sensitivity(neurons: Sequence[Neuron], method: str) -> tuple[list[int], Doubles]:
    """The channels that have pictures, and the matrix: row, the neuron that responds; column, whose picture it is.

    Of each neuron the repeat of sign + that drives it most is taken, the first of equals.
    """
    best = {}
    for neuron in neurons:
        mine = [d for d in neuron.pictures if d.wanted.sign > 0 and d.method == method]
        if mine:
            best[neuron.channel] = max(mine, key=lambda d: (d.response, -d.wanted.repeat)).values
    channels = sorted(best)
    if not channels:
        return [], np.zeros((0, 0))
    return channels, np.stack([best[channel][channels] for channel in channels], 1)
