"""How a layer's output is handed over: where its images, channels and positions lie, and which grid they are of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlas.arrays import Ints
from atlas.network.geometry import Maps, RefusalError, Seen
from atlas.network.places import IMAGE, NONE, Places
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
    cells, inner = _cells(two, axis, one[axis], channels, places)
    count = len(cells)
    height, width = (0, 0) if places is None else places.grid
    cells, height, width = _lattice(cells, height, width)
    if not height:
        height, width = (1, 1) if count == 1 else (0, 0)
        cells = np.full(count, 0 if count == 1 else NONE)
    beside = np.flatnonzero(cells == NONE)
    patches = np.flatnonzero(cells >= 0)
    order = np.concatenate([beside, patches[np.argsort(cells[patches], kind="stable")]])
    as_it_lies = np.array_equal(order, np.arange(count))
    layout = Layout(axis, one[axis], inner, None if as_it_lies else tuple(order.tolist()))
    lies = {2: (1, 1), 4: one[2:] if channels == 1 else one[1:3]}.get(len(one))
    as_map = layout == Layout() and lies == (height, width)
    return Laid(channels, height, width, not as_map, len(beside), None if as_map else layout)


def _lattice(cells: Ints, height: int, width: int) -> tuple[Ints, int, int]:
    """Cells numbered by the rows and columns of the grid that are there, and how many these are; (…, 0, 0) where they
    are no grid, each cell once: a network may keep every other token."""
    placed = cells[cells >= 0]
    rows, columns = (np.unique(each) for each in np.divmod(placed, max(width, 1)))
    if not height or len(rows) * len(columns) != len(placed) or len(np.unique(placed)) != len(placed):
        return cells, 0, 0
    y, x = np.divmod(np.maximum(cells, 0), width)
    again = np.searchsorted(rows, y) * len(columns) + np.searchsorted(columns, x)
    return np.where(cells >= 0, again, cells), len(rows), len(columns)


def _channel_axis(one: tuple[int, ...], kind: str, places: Places | None, images: int) -> int:
    if kind != "block":
        return len(one) - 1 if kind == "linear" else 1
    if places is not None:
        free = [d for d, n in enumerate(places.numbers.shape) if n == 1 and d != images and one[d] > 1]
        if len(free) == 1:
            return free[0]
    return 1 if len(one) in (2, 4) else len(one) - 1


def _cells(two: tuple[int, ...], axis: int, windows: int, channels: int, places: Places | None) -> tuple[Ints, bool]:
    """The cell of each position of the first image, through all axes but the channels'; whether images lie inside."""
    shape = [1 if d == channels else n for d, n in enumerate(two)]
    numbers = np.full(shape, NONE)
    if places is not None and places.numbers.shape[channels] == 1:
        numbers = np.broadcast_to(places.numbers, shape)
    for inner, parts in ((False, (2, windows)), (True, (windows, 2))):
        apart = np.moveaxis(numbers.reshape([*shape[:axis], *parts, *shape[axis + 1 :]]), axis + inner, 0)
        first, second = apart.reshape(2, -1)
        if np.array_equal(np.where(first >= 0, first + IMAGE, first), second) and not (first >= IMAGE).any():
            return first, inner
    raise RefusalError("its output mixes the images of a batch")
