"""Crops of the network's input that hold a neuron's field, cut so that the crop gives what the whole image gives.

A neuron sees only its field, so a crop that covers it is enough, if every intermediate map keeps its grid and its
borders: the crop starts at a multiple of the layer's total stride; where the field reaches over a border of the image
the crop starts, or ends, exactly at that border, so that padding (and the short last window of a ceil-mode pool) lie
where they lay. A crop that can end at the right border has a size equal to the image's modulo the stride, and such a
size serves everywhere else too: so one size an axis would do. Up to `SIZES` are used, the best for positions that are
equally likely, as fields at a border need less. One size an axis costs up to twice the area, many make small batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from atlas.types import Axis, Layer

SIZES = 3
"""Crop sizes an axis, at most: nine shapes a layer."""


@dataclass(frozen=True)
class Cut:
    """One position on one axis: the crop `[start, start + size)` of the image, and the position in the crop's map."""

    start: int
    size: int
    position: int


@dataclass(frozen=True)
class AlignedAxis:
    """The crops of one axis: `length` of the image, total `stride` (0: always the whole), `sizes` ascending."""

    axis: Axis
    length: int
    stride: int
    sizes: tuple[int, ...]

    def cut(self, position: int) -> Cut:
        """The crop for a position of the layer's map."""
        if not self.stride:
            return Cut(0, self.length, position)
        left, right = self.axis.span(position)
        wanted = _needed(left, right, self.length, self.stride)
        size = next(s for s in self.sizes if s >= wanted)
        if left < 0:
            start = 0
        elif right > self.length:
            start = self.length - size
        else:
            start = min(left // self.stride * self.stride, self.length - size)
        return Cut(start, size, position - start // self.stride)


def _needed(left: int, right: int, length: int, stride: int) -> int:
    """The smallest crop size for a field `[left, right)`, equal to `length` modulo `stride`."""
    start = 0 if left < 0 else left // stride * stride
    least = min(right, length) - start
    if left < 0 and right > length:
        return length
    return min(length, least + (length - least) % stride)


def align(axis: Axis, positions: int, length: int, sizes: int = SIZES) -> AlignedAxis:
    """The crops of an axis with `positions` of `axis` over `length` input pixels, of at most `sizes` sizes."""
    if not axis.stride:
        return AlignedAxis(axis, length, 0, (length,))
    needs = np.array([_needed(*axis.span(p), length, axis.stride) for p in range(positions)])
    values, counts = np.unique(needs, return_counts=True)
    return AlignedAxis(axis, length, axis.stride, _best(values.tolist(), counts.tolist(), sizes))


def _best(values: list[int], counts: list[int], sizes: int) -> tuple[int, ...]:
    """At most `sizes` of the ascending `values` (the largest always), so that rounding up to them costs least."""
    best: dict[int, tuple[int, tuple[int, ...]]] = {-1: (0, ())}  # last value covered → cost so far, chosen
    for _ in range(sizes):
        step = dict(best)
        for last, (cost, chosen) in best.items():
            for end in range(last + 1, len(values)):
                offer = (cost + values[end] * sum(counts[last + 1 : end + 1]), (*chosen, values[end]))
                if end not in step or offer < step[end]:
                    step[end] = offer
        best = step
    return best[len(values) - 1][1]


@dataclass(frozen=True)
class Crop:
    """A crop `[top, top + height) × [left, left + width)` of the input, the position `(y, x)` in its map, and the
    field's box in input pixels, unclipped: `[field_top, field_top + field_height) × …`."""

    top: int
    left: int
    height: int
    width: int
    y: int
    x: int
    field_top: int
    field_left: int
    field_height: int
    field_width: int

    def inside(self, height: int, width: int) -> tuple[slice, slice, slice, slice]:
        """The field's part inside the image of that size: rows and columns of the field's box, then of the crop."""
        top, bottom = max(self.field_top, 0), min(self.field_top + self.field_height, height)
        left, right = max(self.field_left, 0), min(self.field_left + self.field_width, width)
        return (
            slice(top - self.field_top, bottom - self.field_top),
            slice(left - self.field_left, right - self.field_left),
            slice(top - self.top, bottom - self.top),
            slice(left - self.left, right - self.left),
        )


@dataclass(frozen=True)
class Geometry:
    """The crops of a layer on images of `y.length` × `x.length` pixels."""

    y: AlignedAxis
    x: AlignedAxis

    def crop(self, y: int, x: int) -> Crop:
        """The crop for position `(y, x)` of the layer's map."""
        down, right = self.y.cut(y), self.x.cut(x)
        top, bottom = self.y.axis.span(y)
        left, end = self.x.axis.span(x)
        return Crop(
            down.start, right.start, down.size, right.size, down.position, right.position,
            top, left, bottom - top, end - left,
        )  # fmt: skip

    def whole(self) -> Geometry:
        """The same fields, always on the whole image."""
        return Geometry(
            replace(self.y, stride=0, sizes=(self.y.length,)), replace(self.x, stride=0, sizes=(self.x.length,))
        )


def geometry(layer: Layer, height: int, width: int, sizes: int = SIZES) -> Geometry:
    """The crops of `layer` on images of `height` × `width` pixels; the whole image where the layer sees the whole."""
    found = Geometry(align(layer.field.y, layer.height, height, sizes), align(layer.field.x, layer.width, width, sizes))
    return found.whole() if layer.field.global_field else found


@dataclass(frozen=True)
class Images:
    """Images as the network sees them before normalisation, and how they are normalised.

    `pixels` (M, H, W, 3), uint8 as `atlas.images.decode.to_input` gives them; `normalise` makes (N, H, W, 3) into the
    network's input (N, 3, H, W) on its device.
    """

    pixels: NDArray[Any]
    normalise: Callable[[NDArray[Any]], Tensor]

    @property
    def height(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[2])

    def cut(self, wanted: Sequence[tuple[int, Crop]], rows: int) -> Tensor:
        """Crops of one shape, normalised, (rows, 3, h, w); missing rows are filled with the first."""
        first = wanted[0][1]
        out = np.empty((rows, first.height, first.width, self.pixels.shape[3]), self.pixels.dtype)
        for row, (image, crop) in enumerate(wanted):
            out[row] = self.pixels[image, crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
        out[len(wanted) :] = out[0]
        return self.normalise(out)
