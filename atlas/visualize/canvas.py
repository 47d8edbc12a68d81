"""The canvas of a neuron's picture: its field and a margin, at one position of the map that no padding reaches.

A crop of the input that starts at a multiple of the layer's total stride, and whose size equals the input's modulo the
stride, gives at every position whose field lies inside it what the whole input gives (`atlas.explain.aligned`). So the
picture is optimised, stored and scored on a canvas of that size: small where the field is small. Where every position
touches the padding, or sees the whole input, the canvas is the whole input.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn, no_grad

from atlas.errors import NetworkError
from atlas.explain.backward import as_in_a_run
from atlas.types import Axis, Layer
from atlas.visualize.forward import Taps

MARGIN = 16
"""The picture is jittered by the field's size divided by this; the margin is as much, at least `LEAST` pixels."""
LEAST = 2


@dataclass(frozen=True)
class Canvas:
    """The box `[top, top + height) × [left, left + width)` of the input, and the position `(y, x)` in its own map.

    `field` is the longer side of the neuron's field inside it, in pixels; `whole`: the box is the whole input.
    """

    top: int
    left: int
    height: int
    width: int
    y: int
    x: int
    field: int
    whole: bool

    @property
    def jitter(self) -> float:
        """Pixels by which the picture is jittered along each axis."""
        return self.field / MARGIN

    def around(self, field: tuple[int, int, int, int], height: int, width: int) -> tuple[int, int]:
        """Where a box of the canvas's size starts that is centred on a field (left, top, right, bottom), moved into an
        input of `height` × `width` pixels."""
        left, top, right, bottom = field
        y, x = (top + bottom - self.height) // 2, (left + right - self.width) // 2
        return min(max(y, 0), height - self.height), min(max(x, 0), width - self.width)


def margin_of(field: int) -> int:
    """The margin around a field of that many pixels."""
    return max(LEAST, round(field / MARGIN))


def _along(axis: Axis, positions: int, length: int) -> tuple[int, int, int] | None:
    """Start and size of the canvas along an axis, and the position in the canvas's map; None: no position is clear."""
    if not axis.stride:
        return None
    clear = [p for p in range(positions) if axis.span(p)[0] >= 0 and axis.span(p)[1] <= length]
    if not clear:
        return None
    middle = min(clear, key=lambda p: (abs(sum(axis.span(p)) - length), p))
    left, right = axis.span(middle)
    margin = margin_of(axis.size)
    start = max(left - margin, 0) // axis.stride * axis.stride
    least = min(right + margin, length) - start
    size = least + (length - least) % axis.stride
    if size >= length:
        return 0, length, middle
    start = min(start, length - size)
    return start, size, middle - start // axis.stride


def canvas_of(layer: Layer, height: int, width: int) -> Canvas:
    """The canvas of the neurons of `layer` on inputs of `height` × `width` pixels."""
    down = _along(layer.field.y, layer.height, height)
    right = _along(layer.field.x, layer.width, width)
    sees_all = layer.field.global_field
    if sees_all or down is None or right is None:
        return whole(layer, height, width)
    field = min(max(layer.field.y.size, layer.field.x.size), max(height, width))
    all_of_it = down[1] == height and right[1] == width
    return Canvas(down[0], right[0], down[1], right[1], down[2], right[2], field, all_of_it)


def whole(layer: Layer, height: int, width: int) -> Canvas:
    """The whole input as canvas, and the middle position of the layer's map."""
    y, x = (layer.height - 1) // 2, (layer.width - 1) // 2
    return Canvas(0, 0, height, width, y, x, max(height, width), True)


def proven(module: nn.Module, layer: Layer, canvas: Canvas, inputs: Tensor, tolerance: float = 1e-3) -> Canvas:
    """`canvas`, or the whole input where the canvas does not give what the whole of `inputs` (1, C, H, W) gives.

    Networks that count on one input size are met here. `tolerance` is a share of the scale of the layer's values.
    """
    if canvas.whole:
        return canvas
    part = inputs[:, :, canvas.top : canvas.top + canvas.height, canvas.left : canvas.left + canvas.width]
    step_y, step_x = canvas.top // layer.field.y.stride, canvas.left // layer.field.x.stride
    with as_in_a_run(module), no_grad(), Taps(module, [layer]) as taps:
        expected = taps(inputs.clone())[0][0]  # (C, h, w)
        try:
            got = taps(part.clone())[0][0, :, canvas.y, canvas.x]
        except (RuntimeError, IndexError, ValueError, AssertionError, NetworkError):
            return whole(layer, inputs.shape[2], inputs.shape[3])
    limit = tolerance * max(float(expected.float().std()), 1e-30)
    if float((got - expected[:, canvas.y + step_y, canvas.x + step_x]).abs().max()) > limit:
        return whole(layer, inputs.shape[2], inputs.shape[3])
    return canvas
