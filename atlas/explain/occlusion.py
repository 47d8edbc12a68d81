"""The response as a function of where a grey square hides the image (Zeiler & Fergus 2014, section 4.2).

The part of the field inside the image is laid out in cells of `stride` pixels, an eighth of the field's longer side; a
square of the data's mean colour, two cells wide or a quarter of the field, is centred on one cell after another, and
the network runs again on the aligned crop (`atlas.explain.aligned`). The unit of a linear layer is a neuron like
others; `class_scores` is the network's output as a layer. Deviation from the paper: the square is a part of the field,
as fields here are from 3 pixels to the whole image; the paper's is fixed.

The picture lies on the box of the crop, pixel by pixel, so its colour scale is not drawn beside it but stored: `scale`
is the largest change of the response, in its unit. `COLOURS` run from a rise by `scale` (dark blue) over no change
(grey) to a fall by `scale` (yellow): what is bright, the neuron needs. On side `min` a move towards 0 is a fall. What
lies outside the image can change nothing, and is grey.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from atlas.explain import draw
from atlas.explain.aligned import Crop, Geometry, Images
from atlas.explain.backward import Example, Responses, as_in_a_run, rows_for
from atlas.explain.draw import Drawn
from atlas.types import Axis, Field, Layer

CELLS = 8
"""Cells along the longer side of a field, about."""
NOISE = 1e-5
"""Changes up to this share of the response are rounding."""
COLOURS = np.array(
    [
        (0, 34, 78), (0, 46, 106), (26, 56, 111), (50, 67, 109), (67, 78, 108), (83, 90, 109), (97, 101, 111),
        (111, 112, 115), (125, 124, 120), (139, 135, 120), (154, 147, 118), (170, 160, 115), (187, 173, 109),
        (204, 186, 100), (221, 200, 88), (239, 215, 72), (254, 232, 56),
    ]
)  # fmt: skip
"""Cividis (Nuñez et al. 2018), even to the eye also of the colour-blind, and grey in its middle: 17 steps, linear
between them."""
WHY_NOTHING = "hiding any part of the field leaves the response as it is"


@dataclass(frozen=True)
class Layout:
    """Squares over `height` × `width` pixels: cells of `stride`, from the first pixel on, the last ones cut off."""

    height: int
    width: int
    stride: int

    @property
    def rows(self) -> int:
        return -(-self.height // self.stride)

    @property
    def columns(self) -> int:
        return -(-self.width // self.stride)

    @property
    def square(self) -> int:
        """Side of the square: two cells, a pixel less on odd ones, three on cells of one pixel: so it is centred."""
        return self.stride + 2 * max(1, self.stride // 2)

    def hidden(self, cell: int) -> tuple[slice, slice]:
        """Rows and columns that the square on a cell hides, cut at the edges; cells are counted row by row."""
        around = (self.square - self.stride) // 2
        top, left = (self.stride * place - around for place in divmod(cell, self.columns))
        return slice(max(top, 0), top + self.square), slice(max(left, 0), left + self.square)

    def spread(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values of the cells (rows, columns) over their pixels (height, width)."""
        every = np.ones((self.stride, self.stride), np.float32)
        return np.kron(values, every)[: self.height, : self.width]


@dataclass(frozen=True)
class Occluded:
    """Example number `index`: its `response`, and with the square on each cell (rows, columns): `hidden`."""

    index: int
    crop: Crop
    layout: Layout
    response: float
    hidden: NDArray[np.float32]


def layout_of(crop: Crop, height: int, width: int) -> Layout:
    """The cells of a crop's field, on images of that size; the field decides the stride, wherever it lies."""
    rows, columns, _, _ = crop.inside(height, width)
    longer = max(min(crop.field_height, height), min(crop.field_width, width))
    return Layout(rows.stop - rows.start, columns.stop - columns.start, max(1, round(longer / CELLS)))


def class_scores(classes: int, height: int, width: int) -> Layer:
    """The network's own output as a layer whose neurons are the class scores, also where no linear layer gives them."""
    field = Field(Axis(height, 0, 0), Axis(width, 0, 0), global_field=True)
    return Layer(0, "class scores", "linear", classes, 1, 1, field, rectified=False, module="")


def occlusion_maps(
    module: nn.Module, layer: Layer, geometry: Geometry, images: Images, examples: Sequence[Example], batch_size: int
) -> Iterator[Occluded]:
    """The maps of all `examples` of a layer, one after another.

    Every call of the network has `rows_for` rows of one example's crop, so that a map depends on its example alone.
    The network is left as it was.
    """
    with as_in_a_run(module), Responses(module, layer) as responses:
        for index, example in enumerate(examples):
            crop = geometry.crop(example.y, example.x)
            layout = layout_of(crop, images.height, images.width)
            values = _values(responses, images, example, crop, layout, batch_size)
            cells = np.array(values[1:], np.float32).reshape(layout.rows, layout.columns)
            yield Occluded(index, crop, layout, values[0], cells)


def _values(
    responses: Responses, images: Images, example: Example, crop: Crop, layout: Layout, batch_size: int
) -> list[float]:
    """The response to the crop as it is, then with the square on each cell."""
    inputs = images.cut([(example.image, crop)], 1)  # (1, 3, h, w)
    _, _, rows, columns = crop.inside(images.height, images.width)
    count = 1 + layout.rows * layout.columns
    values: list[float] = []
    for start in range(0, count, batch_size):
        part = range(start, min(start + batch_size, count))
        seen = torch.ones(rows_for(len(part), batch_size), 1, *inputs.shape[2:])
        for row, variant in enumerate(part):
            if variant:
                seen[row, 0, rows, columns][layout.hidden(variant - 1)] = 0  # the mean colour is 0, once normalised
        batch = inputs * seen.to(inputs)  # (B, 3, h, w)
        if inputs.is_contiguous(memory_format=torch.channels_last):
            batch = batch.contiguous(memory_format=torch.channels_last)
        answers = responses.at(batch, [(example.channel, crop.y, crop.x)] * len(batch))
        values.extend(answers[: len(part)])
    return values


def falls(occluded: Occluded, sign: int, height: int, width: int) -> NDArray[np.float32]:
    """How far the response falls where the square hides, (field height, field width); 0 outside the image.

    `sign` −1 for a smallest response, whose rise is a fall. `height`, `width` of the images.
    """
    crop = occluded.crop
    out = np.zeros((crop.field_height, crop.field_width), np.float32)
    rows, columns, _, _ = crop.inside(height, width)
    out[rows, columns] = occluded.layout.spread(sign * (np.float32(occluded.response) - occluded.hidden))
    return out


def draw_falls(values: NDArray[np.float32], response: float, size: tuple[int, int]) -> Drawn | None:
    """Falls (h, w) of a `response` as a heat map of `size` (width, height); None where nothing changes it."""
    scale = float(np.abs(values).max())
    if not np.isfinite(scale) or scale <= NOISE * abs(response):
        return None
    at = (values / scale + 1) * (len(COLOURS) - 1) / 2
    steps = np.arange(len(COLOURS))
    pixels = np.stack([np.interp(at, steps, channel) for channel in COLOURS.T], 2)  # (h, w, 3)
    return Drawn(draw.encoded(np.rint(pixels).astype(np.uint8), size), scale)
