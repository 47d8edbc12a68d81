"""What a picture is made to raise: rows of one registry, each (network, input, targets) → one number a row.

A target is a `Goal`: a channel at a position of a layer's map, a class, or an array to come near to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Goal:
    """What one row is made for. `sign` −1 lowers the value instead. `y`, `x`: position in the map."""

    channel: int
    sign: int = 1
    y: int = 0
    x: int = 0


_COLUMNS = ("channel", "sign", "y", "x")
Objective = Callable[[Tensor, "Goals"], Tensor]


@dataclass(frozen=True)
class Goals:
    """The goals of a batch, as tensors (N,); `wanted` (N, …) for those that come near to something."""

    channels: Tensor
    signs: Tensor
    ys: Tensor
    xs: Tensor
    wanted: Tensor | None = None

    @staticmethod
    def of(goals: Sequence[Goal], device: torch.device, wanted: Tensor | None = None) -> Goals:
        columns = [torch.tensor([getattr(g, name) for g in goals], device=device) for name in _COLUMNS]
        return Goals(columns[0], columns[1], columns[2], columns[3], wanted)


def response(output: Tensor, goals: Goals) -> Tensor:
    """The value of a channel at its position of the map (N, C, h, w)."""
    return output[torch.arange(len(output), device=output.device), goals.channels, goals.ys, goals.xs]


def logit(output: Tensor, goals: Goals) -> Tensor:
    """A class's score (N, classes) before the softmax (Simonyan et al. 2014)."""
    return output.flatten(1).gather(1, goals.channels[:, None])[:, 0]


def probability(output: Tensor, goals: Goals) -> Tensor:
    """A class's log probability (Nguyen et al. 2015): it also rises as the other classes fall."""
    return output.flatten(1).log_softmax(1).gather(1, goals.channels[:, None])[:, 0]


def code(output: Tensor, goals: Goals) -> Tensor:
    """Minus the squared distance to a code, as a share of its own squared norm (Mahendran & Vedaldi 2015)."""
    assert goals.wanted is not None
    size = goals.wanted.flatten(1).square().sum(1).clamp_min(1e-30)
    return -(output - goals.wanted).flatten(1).square().sum(1) / size


def gram_matrix(output: Tensor) -> Tensor:
    """(N, C, C): products of channels, averaged over positions (Gatys et al. 2016)."""
    flat = output.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def gram(output: Tensor, goals: Goals) -> Tensor:
    """Minus the squared distance to a Gram matrix, as a share of its squared norm."""
    return code(gram_matrix(output), goals)


OBJECTIVES: dict[str, Objective] = {
    "response": response,
    "logit": logit,
    "probability": probability,
    "code": code,
    "gram": gram,
}
