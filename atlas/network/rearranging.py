"""What operations that rearrange do to receptive fields: views, permutations, cuts, joins, paddings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atlas.network import geometry
from atlas.network.geometry import Maps, RefusalError, Seen, Whole
from atlas.network.operations import Context, resized, rule, take


@rule("constant_pad_nd", "reflection_pad2d", "replication_pad2d")
def _pad(c: Context) -> Seen:
    maps, rank, pads = c.maps, len(c.shape()), c.args[1]
    for i in range(len(pads) // 2):
        dim, before, after = rank - 1 - i, pads[2 * i], pads[2 * i + 1]
        if maps.is_spatial(dim) and not maps.merged:
            maps = maps.shift(maps.dims.index(dim), -before, -before)
        elif before or after:
            if maps.is_spatial(dim):
                raise RefusalError("pads flattened positions")
            maps = _pad_channels(maps, dim, before, after)
    return resized(maps, c.out())


def _pad_channels(maps: Maps, dim: int, before: int, after: int) -> Maps:
    size = maps.whole.shape[dim]
    maps = take(maps, range(max(0, -before), size - max(0, -after)), dim)
    parts = []
    for extra in (max(0, before), max(0, after)):
        shape = tuple(extra if d == dim else n for d, n in enumerate(maps.whole.shape))
        parts.append(geometry.filled(maps, shape, whole=False))
    return geometry.concatenate([parts[0], maps, parts[1]], dim)


@rule("cat")
def _cat(c: Context) -> Seen:
    some = next(m for m, _ in c.operands() if isinstance(m, Maps))
    dim = c.arg(1, "dim", 0) % len(c.out())
    if dim == 0 or some.is_spatial(dim):
        raise RefusalError("joins maps along a dimension that is not of channels")
    parts = []
    for seen, shape in c.operands():
        bare = [1 if d in some.dims else n for d, n in enumerate(shape)]
        parts.append(seen if isinstance(seen, Maps) else geometry.filled(some, bare, isinstance(seen, Whole)))
    return geometry.concatenate(parts, dim)


@rule("stack")
def _stack(c: Context) -> Seen:
    some = next(m for m, _ in c.operands() if isinstance(m, Maps))
    dim = c.arg(1, "dim", 0) % len(c.out())
    if dim == 0:
        raise RefusalError("joins maps along a dimension that is not of channels")
    y, x = (d + (d >= dim) for d in some.dims)
    parts = []
    for seen, shape in c.operands():
        bare = [1 if d in some.dims else n for d, n in enumerate(shape)]
        maps = seen if isinstance(seen, Maps) else geometry.filled(some, bare, isinstance(seen, Whole))
        parts.append(maps.map(lambda a: np.expand_dims(a, dim), (y, x)))
    return geometry.concatenate(parts, dim)


@rule("repeat")
def _repeat(c: Context) -> Seen:
    repeats, grown = c.args[1], len(c.args[1]) - len(c.shape())
    y, x = (d + grown for d in c.maps.dims)
    if repeats[0] != 1 or repeats[y] != 1 or repeats[x] != 1:
        raise RefusalError("repeats positions of a map")
    return c.maps.map(lambda a: np.tile(a, repeats), (y, x))


@rule("slice")
def _slice(c: Context) -> Seen:
    dim, step = c.arg(1, "dim", 0) % len(c.shape()), c.arg(4, "step", 1)
    start, stop, _ = slice(c.arg(2, "start"), c.arg(3, "end"), step).indices(c.shape()[dim])
    return _cut(c, dim, range(start, stop, step), c.out())


def _cut(c: Context, dim: int, which: range, shape: Sequence[int]) -> Maps:
    """Channels or positions `which` along a dimension; the result has `shape`."""
    if not c.maps.is_spatial(dim):
        return take(c.maps, which, dim)
    if c.maps.merged:
        if which == range(c.shape()[dim]):
            return c.maps
        raise RefusalError("cuts flattened positions")
    return resized(c.maps.shift(c.maps.dims.index(dim), which.start, which.start, which.step), shape)


@rule("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "chunk")
def _split(c: Context) -> Seen | list[Seen]:
    parts: list[Seen] = []
    dim, start = c.arg(2, "dim", 0) % len(c.shape()), 0
    for which in range(len(c.node.outputs)):
        size = c.out(which)[dim]
        parts.append(_cut(c, dim, range(start, start + size), c.out(which)))
        start += size
    return parts


@rule("select", "unbind")
def _select(c: Context) -> Seen | list[Seen]:
    single = c.node.op == "aten.select"
    dim = c.arg(1, "dim", 0) % len(c.shape())
    if dim == 0 or c.maps.is_spatial(dim):
        raise RefusalError("picks single positions")
    picks = [c.args[2] % c.shape()[dim]] if single else range(c.shape()[dim])
    return [take(c.maps, [i], dim).drop([dim]) for i in picks]


@rule("index_select", "index")
def _index(c: Context) -> Seen:
    """Chosen channels, where the choice is a constant."""
    if c.node.op == "aten.index":
        places = [d for d, each in enumerate(c.args[1]) if each is not None]
        dim, ref = places[0], c.args[1][places[0]]
    else:
        places, dim, ref = [0], c.args[1] % len(c.shape()), c.args[2]
    numbers = c.graph.values[ref.value].numbers
    if len(places) > 1 or numbers is None or dim == 0 or c.maps.is_spatial(dim):
        raise RefusalError("picks by an index that is not a constant list of channels")
    return take(c.maps, numbers, dim)


@rule("flip", "roll")
def _flip(c: Context) -> Seen:
    dims = [d % len(c.shape()) for d in (c.arg(2, "dims") if c.node.op == "aten.roll" else c.args[1])]
    if 0 in dims or any(c.maps.is_spatial(d) for d in dims):
        raise RefusalError("moves positions in a way that is not one stride")
    if c.node.op == "aten.flip":
        return c.maps.map(lambda a: np.flip(a, tuple(dims)))
    return c.maps.map(lambda a: np.roll(a, c.args[1], dims))


@rule("permute", "transpose", "t", "numpy_T")
def _permute(c: Context) -> Seen:
    order = list(range(len(c.shape())))
    if c.node.op.startswith("aten.permute"):
        order = [d % len(order) for d in c.args[1]]
    else:
        a, b = (c.args[1], c.args[2]) if len(c.args) > 2 else (0, 1)
        order[a], order[b] = order[b], order[a]
    y, x = (order.index(d) for d in c.maps.dims)
    return c.maps.map(lambda a: a.transpose(order), (y, x))


@rule("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "expand", "_reshape_alias", "flatten", "unflatten")
def _view(c: Context) -> Seen:
    old, new = c.shape(), c.out()
    if c.node.op.startswith("aten.unsqueeze"):
        place = c.args[1] % len(new)
        y, x = (d + (d >= place) for d in c.maps.dims)
        return c.maps.map(lambda a: np.expand_dims(a, place), (y, x))
    if c.node.op == "aten.expand":
        return geometry.join(c.operands(), new)
    return geometry.reshape(c.maps, old, new)


@rule("pixel_unshuffle")
def _space_to_depth(c: Context) -> Seen:
    """Channel c*r² + i*r + j takes pixel (i, j) of each r × r block."""
    r, blocks = c.args[1], []
    for i in range(r):
        for j in range(r):
            blocks.append(c.maps.shift(0, i, i, r).shift(1, j, j, r))
    stacked = geometry.concatenate([b.map(lambda a: a[:, :, None]) for b in blocks], 2)
    return resized(stacked.map(lambda a: a.reshape(1, -1, 1, 1)), c.out())
