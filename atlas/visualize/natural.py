"""Natural pictures on a neuron's canvas: its strongest examples, images held out, places of images at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.types import Layer
from atlas.visualize.ascend import generator
from atlas.visualize.canvas import Canvas

Inputs = Mapping[int, NDArray[np.uint8]]
"""By image_id: an image as the network sees it, (H, W, C), uint8."""


@dataclass(frozen=True)
class Seen:
    """An example of a neuron: an image and the position of the response in the layer's map."""

    image_id: int
    y: int
    x: int


@dataclass(frozen=True)
class Natural:
    """A neuron's natural pictures, each (n, h, w, C) on its canvas, and what the data drives it to.

    `strongest`: of the side asked for, from rank 0. `held_out`: of side `spread`, by falling response, without those.
    """

    strongest: NDArray[np.uint8]
    held_out: NDArray[np.uint8]
    random: NDArray[np.uint8]
    largest: float
    smallest: float


def cut(canvas: Canvas, layer: Layer, inputs: Inputs, seen: Sequence[Seen]) -> NDArray[np.uint8]:
    """Each example's field in the middle of a box of the canvas's size, moved into the image where it juts out."""
    found = []
    for each in seen:
        image = inputs[each.image_id]
        top, bottom = layer.field.y.span(each.y)
        left, right = layer.field.x.span(each.x)
        y, x = canvas.around((left, top, right, bottom), image.shape[0], image.shape[1])
        found.append(image[y : y + canvas.height, x : x + canvas.width])
    return _stacked(found, canvas, inputs)


def anywhere(canvas: Canvas, inputs: Inputs, seen: Sequence[Seen], *about: object) -> NDArray[np.uint8]:
    """A box of the canvas's size at a random place of each example's image; the places follow from `about`."""
    random = generator("anywhere", *about)
    found = []
    for each in seen:
        image = inputs[each.image_id]
        y = int(random.integers(0, image.shape[0] - canvas.height + 1))
        x = int(random.integers(0, image.shape[1] - canvas.width + 1))
        found.append(image[y : y + canvas.height, x : x + canvas.width])
    return _stacked(found, canvas, inputs)


def _stacked(found: list[NDArray[np.uint8]], canvas: Canvas, inputs: Inputs) -> NDArray[np.uint8]:
    channels = next(iter(inputs.values())).shape[2] if inputs else 3
    return np.stack(found) if found else np.zeros((0, canvas.height, canvas.width, channels), np.uint8)
