"""What a picture is compared by: a layer's rectified maps, each as its mean and its deviation over positions.

The same is taken of natural pictures cut to the same canvas, so that places do not matter, only what is there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from atlas.arrays import Floats
from atlas.explain.backward import as_in_a_run
from atlas.types import Layer
from atlas.visualize.forward import Taps
from atlas.visualize.neurons import Subject

BACK = 3
"""Pictures are judged in the layer this many before the neuron's own (the first, where there are fewer)."""


def judge_of(layer: Layer, layers: Sequence[Layer]) -> Layer:
    """The layer in whose features pictures of `layer` are compared: nearer the input, and never itself.

    Of the first layer it is the next one, where there is one.
    """
    at = next(i for i, each in enumerate(layers) if each.name == layer.name)
    return layers[max(at - BACK, 0)] if at else layers[min(1, len(layers) - 1)]


def up_to(layer: Layer, layers: Sequence[Layer]) -> list[Layer]:
    """The layers from the input to `layer`."""
    at = next(i for i, each in enumerate(layers) if each.name == layer.name)
    return list(layers[: at + 1])


@torch.no_grad()
def features(subject: Subject, layers: Sequence[Layer], pixels: NDArray[np.uint8], rows: int) -> list[Floats]:
    """For each layer (N, 2 C) of pictures (N, h, w, channels): means over positions, then deviations."""
    found: list[list[NDArray[np.float32]]] = [[np.zeros((0, 2 * layer.channels), np.float32)] for layer in layers]
    with as_in_a_run(subject.module), Taps(subject.module, layers) as taps:
        for start in range(0, len(pixels), rows):
            part = pixels[start : start + rows]
            for column, output in zip(found, taps(subject.inputs(part, rows)), strict=True):
                flat = output[: len(part)].float().clamp_min(0).flatten(2)  # (n, C, positions)
                both = torch.cat([flat.mean(2), flat.std(2, correction=0)], 1)
                column.append(both.cpu().numpy())
    return [np.concatenate(column) for column in found]
