"""The engine: a batch of pictures, each made to raise its own objective.

Rows never mix: the objective is a sum over rows, parameters and movements are a row's own, and every call of the
network has exactly `rows` rows, missing ones being filled and dropped. So a picture depends on what it is of, its
repeat and the settings, not on what else was asked for, as far as the processor's kernels treat rows alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from atlas.visualize import transforms
from atlas.visualize.parametrisations import PARAMETRISATIONS, Space


@dataclass(frozen=True)
class Recipe:
    """How pictures are made: a name of `PARAMETRISATIONS`, steps, `jitter` in pixels (0: they are not moved)."""

    parametrisation: str
    steps: int
    jitter: float
    rows: int


@dataclass(frozen=True)
class Made:
    """Pictures (N, h, w, C), 8 bits; `reached` (N,): whether any step of each had a gradient that is not 0."""

    pixels: NDArray[np.uint8]
    reached: NDArray[np.bool_]


def generator(*about: object) -> Generator:
    """Random numbers that follow from what they are about."""
    digest = hashlib.blake2b("/".join(map(str, about)).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def ascend(
    space: Space,
    objective: Callable[[Tensor], Tensor],
    generators: Sequence[Generator],
    recipe: Recipe,
) -> Made:
    """Pictures of values 0 to 255, N ≤ `recipe.rows`, one a generator.

    `objective` takes the network's normalised input (rows, C, h, w) and gives what is raised, (rows,); its rows beyond
    N repeat the first. Raises `ValueError` where it has no gradient.
    """
    count = len(generators)
    filled = [*generators, *(generator("filled") for _ in range(recipe.rows - count))]
    made = PARAMETRISATIONS[recipe.parametrisation](space, filled)
    mean, std = space.colours(space.mean), space.colours(space.std)
    moves, reached = None, np.zeros(recipe.rows, bool)
    if recipe.jitter:
        moves = transforms.draw(filled, recipe.steps, recipe.jitter, space.height, space.width)
    with torch.inference_mode(False), torch.enable_grad():
        for index in range(recipe.steps):
            pixels = made.pixels()
            # What is stored lies in 0 to 1; beyond it a value is drawn back, and its gradient goes on.
            pixels = pixels + (pixels.detach().clamp(0, 1) - pixels.detach())
            if moves is not None:
                pixels = transforms.move(pixels, transforms.as_tensor(moves[index], pixels))
            inputs = ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)
            raised = objective(inputs) - made.penalty()
            if not raised.requires_grad:
                raise ValueError("the network gives no gradient with respect to its input")
            made.values.grad = torch.autograd.grad(-raised.sum(), made.values)[0]
            reached |= made.values.grad.flatten(1).any(1).cpu().numpy()
            made.step(index, recipe.steps)
        with torch.no_grad():
            done = made.pixels()[:count].clamp(0, 1).float().permute(0, 2, 3, 1)
    return Made((done.cpu().double().numpy() * 255).round().astype(np.uint8), reached[:count])
