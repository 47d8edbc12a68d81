"""A network made ready to have its examples taken apart, a batch of images at a time."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from atlas.connections.apart import Apart, take_apart
from atlas.connections.contributions import Doubles, Parts, Places, at_rest, contributions, rest
from atlas.connections.origins import Table
from atlas.connections.settings import ConnectionSettings
from atlas.explain.sanity import randomised
from atlas.network.graph import trace
from atlas.network.layers import example
from atlas.types import Layer


@dataclass(frozen=True, eq=False)
class Taken:
    """Examples `which` (E,) of one layer, taken apart: as `edges.Seen` has them, vectors (E, J)."""

    which: NDArray[np.int64]
    share: Doubles
    active: Doubles
    lost: Doubles
    shuffled: Doubles | None
    total: Doubles
    grey: Doubles
    error: Doubles


def aparts_of(module: nn.Module, layers: Sequence[Layer], shape: tuple[int, int, int]) -> tuple[list[Apart], Table]:
    """Each of `layers` as a sum, and what the numbers of their maps mean; for images of `shape` (C, H, W)."""
    channels, height, width = shape
    return take_apart(trace(module, example(module, height, width, channels)), layers)


class Examiner:
    """Takes the examples of `layers` apart, of images of `shape` (C, H, W).

    `means`: by layer the mean of each of its maps over the data (C,). The network is left as it was. With
    `settings.shuffled` a copy of it, all its parameter tensors permuted, ranks the maps as well.
    """

    def __init__(
        self, module: nn.Module, layers: Sequence[Layer], means: Mapping[str, Tensor], shape: tuple[int, int, int],
        settings: ConnectionSettings,
    ) -> None:  # fmt: skip
        self.module = module
        self.aparts, self.table = aparts_of(module, layers, shape)
        device = next((p.device for p in module.parameters()), torch.device("cpu"))
        self.calm = rest(module, layers, self.aparts, means, shape, device)
        self._stack = ExitStack()
        self._other: tuple[nn.Module, list[Apart]] | None = None
        if settings.shuffled:
            other = copy.deepcopy(module)
            names = [name for name, _ in other.named_parameters()]
            self._stack.enter_context(randomised(other, names, settings.seed, "all"))
            self._other = other, aparts_of(other, layers, shape)[0]

    def take(self, inputs: Tensor, places: Places, finds: NDArray[np.bool_]) -> dict[int, Taken]:
        """The examples at `places` in a batch of `inputs` (N, C, H, W), by the number of their layer.

        `finds` (E,): those that rank, of which the shuffled network is asked too. Layers that cannot be taken apart
        have none.
        """
        found = contributions(self.module, self.aparts, inputs.clone(), places)
        shuffled = self._shuffled(inputs, places, finds)
        return {number: self._taken(number, parts, places, shuffled) for number, parts in found.items()}

    def _shuffled(self, inputs: Tensor, places: Places, finds: NDArray[np.bool_]) -> dict[int, Doubles]:
        """By example its shares in the shuffled network."""
        if self._other is None or not finds.any():
            return {}
        which = np.flatnonzero(finds)
        module, aparts = self._other
        shares: dict[int, Doubles] = {}
        for parts in contributions(module, aparts, inputs.clone(), places.of(which)).values():
            shares |= dict(zip(which[parts.which].tolist(), share_of(parts.contributions), strict=True))
        return shares

    def _taken(self, number: int, parts: Parts, places: Places, shuffled: Mapping[int, Doubles]) -> Taken:
        apart = self.aparts[number]
        calm, grey = at_rest(apart, self.calm, places.of(parts.which))
        other = None
        if self._other is not None:
            other = np.zeros_like(parts.contributions)
            for row, example_ in enumerate(parts.which.tolist()):
                if example_ in shuffled:
                    other[row] = shuffled[example_]
        lost = parts.contributions - calm
        share = share_of(parts.contributions)
        return Taken(parts.which, share, parts.active, lost, other, parts.total, grey, parts.error)


def share_of(parts: Doubles) -> Doubles:
    """Contributions (E, J) ÷ the sum of their absolute values; 0 where all are 0."""
    scale = np.abs(parts).sum(1, keepdims=True)
    return np.asarray(np.divide(parts, scale, out=np.zeros_like(parts), where=scale > 0))
