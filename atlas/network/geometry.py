"""What each channel of a value sees of the network's input, and how operations that move positions change that.

Integer arithmetic only. Two paths into one channel give the hull of what each sees, so a field is the smallest box that
holds every input pixel a position depends on, as in A. Araujo, W. Norris and J. Sim, "Computing Receptive Fields of
Convolutional Neural Networks" (Distill 2019); here for each channel apart, so that a channel split, a shuffle or a
grouped convolution stays exact, and where strides of paths differ the value is refused instead of approximated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from atlas.arrays import Ints

FAR = 1 << 40
"""Further than any pixel: `low = FAR`, `high = -FAR` is the empty field."""


class RefusalError(Exception):
    """The field of a value is not one box of one stride; says why. `named`: with the operation and its module."""

    def __init__(self, why: str, named: bool = False) -> None:
        super().__init__(why)
        self.named = named


@dataclass(frozen=True, eq=False)
class Maps:
    """A value with positions. Arrays have the value's shape with its two spatial dimensions as 1.

    Along axis a (0: y, 1: x) position p of a channel sees pixels `[low[a] + stride[a]*p, high[a] + stride[a]*p)`;
    `whole` channels see the whole input; `gated` ones do so only through a gate, beside the paths that `low` and `high`
    follow. `dims`: where y and x lie; equal where the two are flattened into one. `sizes`: positions along y and x.
    """

    low: tuple[Ints, Ints]
    high: tuple[Ints, Ints]
    whole: npt.NDArray[np.bool_]
    gated: npt.NDArray[np.bool_]
    stride: tuple[int, int]
    dims: tuple[int, int]
    sizes: tuple[int, int]

    def map(self, change: Callable[[Any], Any], dims: tuple[int, int] | None = None) -> Maps:
        """The same change to all six arrays (a reshape, a slice of channels, …)."""
        low, high = both(change, self.low), both(change, self.high)
        whole, gated = change(self.whole), change(self.gated)
        return replace(self, low=low, high=high, whole=whole, gated=gated, dims=dims or self.dims)

    def reduce(self, dims: Iterable[int], keep: bool = True) -> Maps:
        """The hull over channel dimensions."""
        axes = tuple(dims)
        low = both(lambda a: a.min(axes, keepdims=True), self.low)
        high = both(lambda a: a.max(axes, keepdims=True), self.high)
        whole, gated = (np.asarray(a.any(axes, keepdims=True)) for a in (self.whole, self.gated))
        hull = replace(self, low=low, high=high, whole=whole, gated=gated)
        return hull if keep else hull.drop(axes)

    def drop(self, axes: Sequence[int]) -> Maps:
        """Without dimensions of size 1 that are not spatial."""
        y, x = (d - sum(a < d for a in axes) for d in self.dims)
        return self.map(lambda a: a.reshape([n for i, n in enumerate(a.shape) if i not in axes]), (y, x))

    def shift(self, axis: int, low: int, high: int, step: int = 1) -> Maps:
        """Position p of the result sees positions `[step*p + low, step*p + high]` of this along one axis."""
        lows, highs, strides = list(self.low), list(self.high), list(self.stride)
        lows[axis] = _settle(lows[axis] + low * strides[axis], FAR)
        highs[axis] = _settle(highs[axis] + high * strides[axis], -FAR)
        strides[axis] *= step
        return replace(self, low=(lows[0], lows[1]), high=(highs[0], highs[1]), stride=(strides[0], strides[1]))

    def spread(self, shape: Sequence[int]) -> Maps:
        """Broadcast to the shape of a result, whose dimensions are counted from the last."""
        grown = len(shape) - self.whole.ndim
        dims = (self.dims[0] + grown, self.dims[1] + grown)
        return self.map(lambda a: np.broadcast_to(a, [1 if d in dims else n for d, n in enumerate(shape)]), dims)

    def is_spatial(self, dim: int) -> bool:
        return dim % self.whole.ndim in self.dims

    def through_gate(self) -> Maps:
        """The same, and the whole input through a gate."""
        return replace(self, gated=np.ones_like(self.gated))

    @property
    def merged(self) -> bool:
        """Whether y and x are flattened into one dimension."""
        return self.dims[0] == self.dims[1]


def both(change: Callable[[Any], Any], pair: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    """The same change along y and along x."""
    return change(pair[0]), change(pair[1])


@dataclass(frozen=True)
class Whole:
    """A value of which all may depend on the whole input; `why` says what made it so."""

    why: str = ""


Seen = Maps | Whole | None
"""What a value sees; None: nothing, a constant."""


def image(shape: Sequence[int]) -> Maps:
    """The input (1, C, H, W): each position sees itself."""
    zero, one = (np.full((1, shape[1], 1, 1), n, np.int64) for n in (0, 1))
    nothing = zero.astype(bool)
    return Maps((zero, zero), (one, one), nothing, nothing, (1, 1), (2, 3), (shape[2], shape[3]))


def filled(like: Maps, channels: Sequence[int], whole: bool) -> Maps:
    """Maps aligned with `like` of which each channel sees nothing, or the whole input."""
    low, high = np.full(channels, FAR, np.int64), np.full(channels, -FAR, np.int64)
    gated = np.zeros(channels, np.bool_)
    return replace(like, low=(low, low), high=(high, high), whole=np.full(channels, whole), gated=gated)


def _settle(values: Ints, far: int) -> Ints:
    return np.where(abs(values) > FAR // 2, far, values)


def join(parts: Sequence[tuple[Seen, Sequence[int]]], shape: Sequence[int]) -> Seen:
    """The hull of broadcast operands, each with its shape: an elementwise operation."""
    maps = [m.spread(shape) for m, own in parts if isinstance(m, Maps) and _steady(m, own, shape)]
    whole = next((m for m, _ in parts if isinstance(m, Whole)), None)
    if whole is not None:
        return whole
    if not maps:
        return None
    hull = align(maps)
    for each in maps[1:]:
        low = np.minimum(hull.low[0], each.low[0]), np.minimum(hull.low[1], each.low[1])
        high = np.maximum(hull.high[0], each.high[0]), np.maximum(hull.high[1], each.high[1])
        hull = replace(hull, low=low, high=high, whole=hull.whole | each.whole, gated=hull.gated | each.gated)
    return hull


def concatenate(parts: Sequence[Maps], dim: int) -> Maps:
    """Channels of several maps behind one another along a dimension that is not spatial."""
    low = np.concatenate([p.low[0] for p in parts], dim), np.concatenate([p.low[1] for p in parts], dim)
    high = np.concatenate([p.high[0] for p in parts], dim), np.concatenate([p.high[1] for p in parts], dim)
    whole, gated = (np.concatenate(a, dim) for a in ([p.whole for p in parts], [p.gated for p in parts]))
    return replace(align(parts), low=low, high=high, whole=whole, gated=gated)


def _steady(maps: Maps, own: Sequence[int], shape: Sequence[int]) -> bool:
    """True; raises where an operand's positions are broadcast, unless each of its channels sees the whole input."""
    grown = len(shape) - len(own)
    if any(own[d] != shape[d + grown] for d in maps.dims) and not maps.whole.all():
        raise RefusalError("spreads one position over a map")
    return True


def align(maps: Sequence[Maps]) -> Maps:
    """The first of several maps, with the stride that all of them have. Raises where their axes or strides differ.

    Maps that see nothing, or the whole input, have no stride of their own; nor has a map of one position.
    """
    if len({m.dims for m in maps}) > 1:
        raise RefusalError("joins maps whose axes do not lie alike")
    strides = [maps[0].stride[0], maps[0].stride[1]]
    for axis, name in enumerate("yx"):
        found = {m.stride[axis] for m in maps if ((m.low[axis] < m.high[axis]) & ~m.whole).any()}
        if len(found) > 1 and maps[0].sizes[axis] > 1:
            raise RefusalError(f"joins paths of different strides along {name} ({', '.join(map(str, sorted(found)))})")
        strides[axis] = max(found, default=strides[axis])
    return replace(maps[0], stride=(strides[0], strides[1]))


def window(
    maps: Maps, kernel: Sequence[int], stride: Sequence[int], pad: Sequence[int], dilation: Sequence[int]
) -> Maps:
    """A pooling or a convolution within each channel: windows along y and x, in positions."""
    if maps.merged or maps.dims != (maps.whole.ndim - 2, maps.whole.ndim - 1):
        raise RefusalError("slides a window over dimensions that are not (y, x)")
    for axis in (0, 1):
        reach = dilation[axis] * (kernel[axis] - 1)
        maps = maps.shift(axis, -pad[axis], reach - pad[axis], stride[axis])
    return maps


def mix(maps: Maps, outputs: int, groups: int) -> Maps:
    """Each of `outputs` channels (dimension 1) sees all input channels of its group."""

    def grouped(fold: Callable[..., Any]) -> Callable[[Any], Any]:
        return lambda a: np.repeat(fold(a.reshape(groups, -1), 1), outputs // groups).reshape(1, outputs, 1, 1)

    low, high = both(grouped(np.min), maps.low), both(grouped(np.max), maps.high)
    whole, gated = (grouped(np.any)(a) for a in (maps.whole, maps.gated))
    return replace(maps, low=low, high=high, whole=whole, gated=gated)


def reshape(maps: Maps, old: Sequence[int], new: Sequence[int]) -> Seen:
    """A view of other dimensions in the same order. Maps stay maps while y and x are not mixed with channels."""
    y, x = maps.dims
    height, width = maps.sizes
    right = prod(old[x + 1 :])

    def find(size: int, behind: int, below: int) -> int | None:
        return next((d for d in range(below - 1, -1, -1) if new[d] == size and prod(new[d + 1 :]) == behind), None)

    if y <= x:
        new_x = find(width, right, len(new))
        behind = right * width if y == x else prod(old[y + 1 :])
        new_y = None if new_x is None else find(height, behind, new_x)
        if new_x is not None and new_y is not None:
            return _recut(maps, new, (new_y, new_x))
        if y == x or prod(old[y + 1 : x]) == 1:
            both = find(height * width, right, len(new))
            if both is not None and (prod(new) > height * width or prod(old) == height * width):
                return _recut(maps, new, (both, both))
            if _flattens(new, height * width * right, right):
                return Whole("is flattened")
    raise RefusalError("reshapes positions in a way that is not followed")


def _recut(maps: Maps, new: Sequence[int], dims: tuple[int, int]) -> Maps:
    return maps.map(lambda a: a.reshape([1 if d in dims else n for d, n in enumerate(new)]), dims)


def _flattens(new: Sequence[int], total: int, right: int) -> bool:
    """Whether one new dimension holds all positions, and something beside them."""
    return any(prod(new[d + 1 :]) <= right and prod(new[d:]) >= total for d in range(len(new)))
