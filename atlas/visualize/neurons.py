"""Pictures of neurons: many of one layer in a batch, each on the layer's canvas, the network stopped at the layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from atlas.arrays import Doubles
from atlas.explain.backward import as_in_a_run
from atlas.types import Layer
from atlas.visualize.ascend import Made, Recipe, ascend, generator
from atlas.visualize.canvas import Canvas
from atlas.visualize.forward import Taps
from atlas.visualize.objectives import Goal, Goals, response
from atlas.visualize.parametrisations import Space
from atlas.visualize.spectrum import Spectrum

Normalised = Callable[[NDArray[np.uint8]], Tensor]
"""Pixels (N, h, w, C), uint8, to the network's input on its device: `atlas.network.normalise.Normalise`."""


@dataclass(frozen=True)
class Wanted:
    """One picture of one neuron. `sign` −1: what drives it lowest."""

    channel: int
    sign: int
    repeat: int


@dataclass(frozen=True)
class Subject:
    """A network as a run holds it: its module in eval mode on its device, and how pixels become its input."""

    module: nn.Module
    normalise: Normalised
    mean: tuple[float, ...]
    std: tuple[float, ...]
    spectrum: Spectrum

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    def space(self, canvas: Canvas) -> Space:
        """What pictures on that canvas have in common."""
        dtype = next(self.module.parameters()).dtype
        return Space(canvas.height, canvas.width, self.spectrum, self.mean, self.std, self.device, dtype)

    def inputs(self, pixels: NDArray[np.uint8], rows: int) -> Tensor:
        """The input (rows, C, h, w) of up to `rows` pictures; missing rows repeat the first."""
        filled = np.concatenate([pixels, np.repeat(pixels[:1], rows - len(pixels), 0)])
        return self.normalise(filled).contiguous(memory_format=torch.channels_last)


def draw(subject: Subject, layer: Layer, canvas: Canvas, wanted: Sequence[Wanted], recipe: Recipe, seed: int) -> Made:
    """Pictures of neurons of `layer`, `recipe.rows` at a time. Raises `ValueError` without gradients."""
    nothing = np.zeros((0, canvas.height, canvas.width, subject.spectrum.channels), np.uint8)
    found = [Made(nothing, np.zeros(0, bool))]
    space = subject.space(canvas)
    with as_in_a_run(subject.module), Taps(subject.module, [layer]) as taps:
        for start in range(0, len(wanted), recipe.rows):
            group = wanted[start : start + recipe.rows]
            rows = [*group, *(group[0] for _ in range(recipe.rows - len(group)))]
            goals = Goals.of([Goal(w.channel, w.sign, canvas.y, canvas.x) for w in rows], space.device)
            generators = [
                generator(seed, recipe.parametrisation, layer.name, w.channel, w.sign, w.repeat) for w in group
            ]

            def objective(inputs: Tensor, goals: Goals = goals) -> Tensor:
                return response(taps(inputs)[0], goals) * goals.signs

            found.append(ascend(space, objective, generators, recipe))
    return Made(np.concatenate([each.pixels for each in found]), np.concatenate([each.reached for each in found]))


@torch.no_grad()
def respond(subject: Subject, layer: Layer, canvas: Canvas, pixels: NDArray[np.uint8], rows: int) -> Doubles:
    """Values (N, channels) of the layer at the canvas's position for stored pictures (N, h, w, C)."""
    found = [np.zeros((0, layer.channels))]
    with as_in_a_run(subject.module), Taps(subject.module, [layer]) as taps:
        for start in range(0, len(pixels), rows):
            part = pixels[start : start + rows]
            output = taps(subject.inputs(part, rows))[0][: len(part), :, canvas.y, canvas.x]
            found.append(output.double().cpu().numpy())
    return np.concatenate(found)


def attained(response: float, sign: int, largest: float, smallest: float) -> float | None:
    """The share of what the data's own images drive: response ÷ their largest (sign −1: ÷ their smallest).

    None where the data's extreme lies on the other side of 0, so that a share says nothing.
    """
    extreme = largest if sign > 0 else smallest
    return response / extreme if extreme * sign > 0 else None
