"""The words of this package as small frozen types: axis, field, box, placement, layer, neuron."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Side = Literal["max", "min", "spread"]
SIDES: tuple[Side, ...] = ("max", "min", "spread")


class Neuron(NamedTuple):
    """One feature map, or one unit of a linear layer."""

    layer: str
    channel: int


@dataclass(frozen=True)
class Axis:
    """Receptive field along one axis: position `p` of the map sees input pixels `[start + stride*p, … + size)`.

    `size` in input pixels; `stride` is 0 where every position sees the whole input; `start` may be negative (padding).
    """

    size: int
    stride: int
    start: int

    def span(self, position: int) -> tuple[int, int]:
        """Half-open interval of input pixels that `position` can see, before clipping to the image."""
        left = self.start + self.stride * position
        return left, left + self.size


@dataclass(frozen=True)
class Box:
    """Half-open box `[left, right) × [top, bottom)`; x to the right, y down."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top


@dataclass(frozen=True)
class Field:
    """Receptive field of a layer, for y and x apart.

    `global_field`: every position can see the whole input, as behind a flatten, a global pool or attention. With
    `gated` it does so only through a gate (squeeze-and-excitation and its kin): `y` and `x` are then those of the
    local paths; else, where the field is global, they are the whole input.
    """

    y: Axis
    x: Axis
    global_field: bool = False
    gated: bool = False

    def box(self, y: int, x: int) -> Box:
        """The box of network-input pixels that position `(y, x)` sees, before clipping."""
        top, bottom = self.y.span(y)
        left, right = self.x.span(x)
        return Box(left, top, right, bottom)


@dataclass(frozen=True)
class Placement:
    """Where the network's input lies in the image as stored: `stored = offset + scale * input`, for x and y apart."""

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float

    def to_stored(self, box: Box) -> Box:
        """The same box in pixels of the image as stored (before any EXIF turn)."""
        return Box(
            self.offset_x + self.scale_x * box.left,
            self.offset_y + self.scale_y * box.top,
            self.offset_x + self.scale_x * box.right,
            self.offset_y + self.scale_y * box.bottom,
        )

    def to_input(self, box: Box) -> Box:
        """The inverse of `to_stored`."""
        return Box(
            (box.left - self.offset_x) / self.scale_x,
            (box.top - self.offset_y) / self.scale_y,
            (box.right - self.offset_x) / self.scale_x,
            (box.bottom - self.offset_y) / self.scale_y,
        )


@dataclass(frozen=True)
class Layout:
    """Where images and positions lie in an output that is no map (N, C, H, W) or (N, H, W, C).

    The images lie along `images`, beside `windows` positions each: around them, or (`inner`) inside of them. `order`:
    which of an image's positions, counted through all axes but the channels', are handed over, in order; None: all, as
    they lie.
    """

    images: int = 0
    windows: int = 1
    inner: bool = False
    order: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Layer:
    """One recorded output of a network.

    `module` is the module whose output is recorded (the batch norm where one is fused), `call` which of its calls in
    a forward pass, counted from 1. `channel_axis` is where the channels lie in the output tensor (1, or the last of
    channels-last maps and tokens). Shapes are those of one image at the settings' crop. `tokens`: the output is
    (N, T, C), of which `prefix_tokens` (class, registers) are no patches, and the others lie on the grid `height` ×
    `width`; `layout` says how to find them. `normalised`: the batch norm that is fused, by its module or its scale.
    `function`: 0, or the number in a forward pass of the watched function call (`atlas.network.functions`) whose
    result is recorded, where it is no module's output. `why`: why its field is the whole input, else None.
    """

    index: int
    name: str
    kind: Literal["conv", "linear", "block"]
    channels: int
    height: int
    width: int
    field: Field
    rectified: bool
    module: str
    call: int = 1
    channel_axis: int = 1
    tokens: bool = False
    prefix_tokens: int = 0
    normalised: str | None = None
    layout: Layout | None = None
    function: int = 0
    why: str | None = None
