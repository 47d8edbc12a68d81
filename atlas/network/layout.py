"""How a layer's output is handed over: where its images, channels and positions lie, and which grid they are of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlas.arrays import Ints
from atlas.network.geometry import Maps, RefusalError, Seen
from atlas.network.places import IMAGE, NONE, PADDED, Places
from atlas.types import Layout


@dataclass(frozen=True)
class Laid:
    """Channel axis, grid and prefix tokens of an output, and its `layout` where it is not that of a map."""

    channel_axis: int
    height: int
    width: int
    tokens: bool = False
    prefix_tokens: int = 0
    layout: Layout | None = None


def plain(shape: tuple[int, ...], kind: str, seen: Seen) -> Laid | None:
    """The layout of an output (1, …) that its shape and what it sees decide; None where two images must be traced."""
    if len(shape) == 2 and shape[0] == 1:
        return Laid(1, 1, 1)
    if len(shape) != 4 or shape[0] != 1:
        return None
    dims = seen.dims if isinstance(seen, Maps) else None
    if kind != "linear" and (kind == "conv" or dims == (2, 3) or shape[2:] == (1, 1)):
        return Laid(1, *shape[2:])
    return Laid(3, *shape[1:3]) if dims == (1, 2) or shape[1:3] == (1, 1) else None


def laid(one: tuple[int, ...], two: tuple[int, ...], kind: str, places: Places | None) -> Laid:
    """The layout of an output of shape `one` for one image, `two` for two, whose positions have these places.

    Raises `RefusalError` where no axis is that of the images, or where they are mixed.
    """
    images = [d for d in range(len(one)) if two[d] == 2 * one[d]] if len(one) == len(two) else []
    if len(images) != 1 or any(a != b for d, (a, b) in enumerate(zip(one, two, strict=True)) if d != images[0]):
        raise RefusalError("its output has no axis of images")
    axis = images[0]
    channels = _channel_axis(one, kind, places, axis)
    if channels == axis:
        raise RefusalError("its output has images and channels along one axis")
    cells = _cells(two, axis, one[axis], channels, places)
    count = len(cells)
    placed = np.sort(cells[cells >= 0])
    height, width = (0, 0) if places is None else places.grid
    if not np.array_equal(placed, np.arange(height * width)) or not height:
        if count == 1:
            return Laid(channels, 1, 1, layout=_layout(axis, one[axis], None, one, channels))
        return Laid(channels, 0, 0, True, count, _layout(axis, one[axis], None, one, channels))
    beside = np.flatnonzero(cells == NONE)
    order = np.concatenate([beside, np.flatnonzero(cells >= 0)[np.argsort(cells[cells >= 0], kind="stable")]])
    as_it_lies = None if np.array_equal(order, np.arange(count)) else tuple(order.tolist())
    layout = _layout(axis, one[axis], as_it_lies, one, channels)
    tokens = layout is not None or len(one) != 4
    return Laid(channels, height, width, tokens, len(beside), layout or (Layout() if tokens else None))


def _layout(
    axis: int, windows: int, order: tuple[int, ...] | None, one: tuple[int, ...], channels: int
) -> Layout | None:
    as_map = len(one) == 4 and channels in (1, 3)
    return None if axis == 0 and windows == 1 and order is None and as_map else Layout(axis, windows, order)


def _channel_axis(one: tuple[int, ...], kind: str, places: Places | None, images: int) -> int:
    if kind != "block":
        return len(one) - 1 if kind == "linear" else 1
    if places is not None:
        free = [d for d, n in enumerate(places.numbers.shape) if n == 1 and d != images and one[d] > 1]
        if len(free) == 1:
            return free[0]
    return 1 if len(one) in (2, 4) else len(one) - 1


def _cells(two: tuple[int, ...], axis: int, windows: int, channels: int, places: Places | None) -> Ints:
    """The cell of each position of the first image, through all axes but the channels'."""
    shape = [1 if d == channels else n for d, n in enumerate(two)]
    numbers = np.full(shape, NONE)
    if places is not None and places.numbers.shape[channels] == 1:
        numbers = np.broadcast_to(places.numbers, shape)
    apart = numbers.reshape([*shape[:axis], 2, windows, *shape[axis + 1 :]])
    first, second = np.moveaxis(apart, axis, 0).reshape(2, -1)
    if not np.array_equal(np.where(first >= 0, first + IMAGE, first), second) or (first >= IMAGE).any():
        raise RefusalError("its output mixes the images of a batch")
    return np.where(first == PADDED, PADDED, first)
