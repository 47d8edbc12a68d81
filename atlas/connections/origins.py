"""Which recorded neuron each number of a traced value comes from: the names of the maps that a layer reads.

Every value of the graph gets an array of its own shape that holds, for each element, the number of its origin: a
recorded neuron, a channel of the image, or a channel of something that was computed without being recorded. What moves
numbers (views, slices, concatenations, shuffles, padding) is run on those arrays as it is; what changes each number by
itself or within its map (rectifiers, norms, pools) keeps the origin; whatever mixes maps makes a new one that says what
it is. So names stay exact through whatever a network does between two layers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from atlas.network.graph import Graph, Node, Ref
from atlas.network.norms import BATCH_NORMS

IMAGE = "image"
"""What the channels of the network's input are called."""

_MOVES = frozenset(
    (
        *("view", "_unsafe_view", "reshape", "_reshape_alias", "permute", "transpose", "t", "numpy_T", "squeeze"),
        *("unsqueeze", "expand", "slice", "select", "split", "split_with_sizes", "unsafe_split", "chunk", "unbind"),
        *("unsafe_split_with_sizes", "cat", "stack", "flip", "roll", "repeat", "index_select", "index", "flatten"),
        *("unflatten", "movedim", "narrow", "pixel_shuffle", "pixel_unshuffle", "constant_pad_nd", "reflection_pad2d"),
        *("replication_pad2d", "channel_shuffle", "native_channel_shuffle", "upsample_nearest2d", "as_strided"),
    )
)
_VIEWS = frozenset(
    ("view", "_unsafe_view", "reshape", "_reshape_alias", "flatten", "unflatten", "squeeze", "unsqueeze")
)
_SAME = frozenset(
    (
        *("clone", "detach", "alias", "contiguous", "lift_fresh", "_to_copy", "dropout", "native_dropout", "copy"),
        *("native_layer_norm", "native_group_norm", "relu6", "hardswish", "hardsigmoid", "hardtanh", "rrelu", "prelu"),
        *("_prelu_kernel", "gelu", "silu", "mish", "elu", "celu", "selu", "leaky_relu", "softplus", "_softmax"),
        *("_log_softmax", "log_sigmoid_forward", "threshold", "softshrink", "hardshrink", "rrelu_with_noise"),
        *(name.removeprefix("aten.") for name in BATCH_NORMS),
    )
)
"""Keep the origins of their first argument, though not every version of ATen calls them elementwise."""
_POOLS = frozenset(
    (
        *("max_pool2d", "max_pool2d_with_indices", "mkldnn_max_pool2d", "quantized_max_pool2d", "avg_pool2d"),
        *("adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d", "upsample_bilinear2d"),
        *("upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"),
    )
)
"""Within each map over its positions, the last two dimensions."""
_REDUCTIONS = frozenset(("mean", "sum", "amax", "amin", "max", "min"))
_SCALING = frozenset(("mul", "div"))
"""Of two maps, the second may be a gate: then the first is what is read."""


class Origin(NamedTuple):
    """A map: a recorded neuron, or else `layer` says what it is in words (`image`: the network's input)."""

    layer: str
    channel: int
    recorded: bool


class Table:
    """Numbers of origins from 1, in blocks of one source each; 0 is a constant."""

    def __init__(self) -> None:
        self._first = [1]
        self._what: list[tuple[str, bool]] = []

    def block(self, what: str, count: int, recorded: bool = False) -> int:
        """The first of `count` new numbers."""
        self._what.append((what, recorded))
        self._first.append(self._first[-1] + count)
        return self._first[-2]

    def __getitem__(self, number: int) -> Origin:
        if not 0 < number < self._first[-1]:
            return Origin("constant", 0, recorded=False)
        place = bisect_right(self._first, number) - 1
        what, recorded = self._what[place]
        return Origin(what, number - self._first[place], recorded)


def along(first: int, shape: Sequence[int], axis: int) -> Tensor:
    """Numbers `first`, `first + 1`, … along `axis` of a tensor of that shape."""
    counted = torch.arange(first, first + shape[axis], dtype=torch.float64)
    return counted.reshape([-1 if d == axis else 1 for d in range(len(shape))]).expand(list(shape))


def by_channel(numbers: Tensor, axis: int, table: Table, what: str) -> Tensor:
    """Origins (C,) of the channels along `axis`: of each the one that all of its positions have, constants aside.

    A channel whose positions come from several maps is an origin of its own, called `what`.
    """
    flat = numbers.movedim(axis, 0).reshape(numbers.shape[axis], -1)  # (C, positions)
    found, mixed = _fold(flat, [1])
    if bool(mixed.any()):
        ends = {table[int(flat[mixed].max())], table[int(flat[mixed][flat[mixed] > 0].min())]}
        told = {origin.layer for origin in ends if not origin.recorded}
        first = table.block(told.pop() if len(told) == 1 else what, len(found))
        found = torch.where(mixed, first + torch.arange(len(found), dtype=found.dtype), found)
    return found.long()


def find(
    graph: Graph, recorded: Mapping[int, tuple[str, int]], wanted: Mapping[int, int]
) -> tuple[dict[int, Tensor], Table]:
    """Origins (channels,) of each `wanted` value along its channel axis, and the table that says what they are.

    `recorded`: by value the layer whose output it is, and its channel axis. `wanted`: by value the channel axis.
    """
    table = Table()
    known: dict[int, Tensor] = {}
    last = {value: node.index for node in graph.nodes for value in node.inputs}
    found: dict[int, Tensor] = {}

    def settle(value: int, numbers: Tensor) -> None:
        if value in recorded:
            layer, axis = recorded[value]
            shape = graph.values[value].shape
            numbers = along(table.block(layer, shape[axis], recorded=True), shape, axis)
        if value in wanted:
            found[value] = by_channel(numbers, wanted[value], table, "several maps, by position")
        known[value] = numbers

    shape = graph.values[graph.input].shape
    settle(graph.input, along(table.block(IMAGE, shape[1]), shape, 1))
    for node in graph.nodes:
        inputs = [known.get(value, torch.zeros(())) for value in node.inputs]
        for value, numbers in zip(node.outputs, _apply(graph, node, inputs, table), strict=True):
            settle(value, numbers)
        for value in node.inputs:
            if last[value] == node.index:
                known.pop(value, None)
    return found, table


def name(node: Node) -> str:
    """`op`, without `aten.` and the underscore of an in-place twin."""
    return node.op.removeprefix("aten.").removesuffix("_")


def _apply(graph: Graph, node: Node, inputs: list[Tensor], table: Table) -> list[Tensor]:
    """Origins of a node's outputs, each of its shape, or one 0 of a constant."""
    shapes = [graph.values[value].shape for value in node.outputs]
    if not any(bool(each.any()) for each in inputs):
        return [torch.zeros(())] * len(shapes)
    op = name(node)
    full = [each.expand(graph.values[v].shape) for each, v in zip(inputs, node.inputs, strict=True)]
    if op in _MOVES:
        moved = _moved(graph, node, op, full)
        if moved is not None and [tuple(each.shape) for each in moved] == shapes:
            return moved
    elif op in _POOLS:
        kept, mixed = _fold(full[0], [-2, -1], keep=True)
        if not bool(mixed.any()):
            return [kept.expand(shape) for shape in shapes]
    elif op in _REDUCTIONS and len(node.inputs) == 1:
        reduced = _reduced(node, full[0])
        if reduced is not None and all(prod(shape) == reduced.numel() for shape in shapes):
            return [reduced.reshape(shape) for shape in shapes]
    elif op in _SAME or node.pointwise:
        return [*_joined(node, op, full, shapes[:1], table), *(torch.zeros(()) for _ in shapes[1:])]
    return [_fresh(node, shape, table) for shape in shapes]


def _fresh(node: Node, shape: tuple[int, ...], table: Table) -> Tensor:
    """New origins along the channels of something that is computed without being recorded."""
    if not shape:
        return torch.full((), float(table.block(_says(node), 1)), dtype=torch.float64)
    axis = 1 if len(shape) == 4 else len(shape) - 1
    return along(table.block(_says(node), shape[axis]), shape, axis)


def _says(node: Node) -> str:
    return f"{name(node).strip('_')} in {node.where}"


def _moved(graph: Graph, node: Node, op: str, full: list[Tensor]) -> list[Tensor] | None:
    """The operation itself, run on origins instead of values; None where it needs what a trace does not keep."""
    places = dict(zip(node.inputs, full, strict=True))
    args, kwargs = list(node.args), dict(node.kwargs)
    if op in _VIEWS:
        args, op = [args[0], graph.values[node.outputs[0]].shape], "reshape"
    if op == "as_strided":  # how a pool over everything gives its result: only dimensions of 1 may differ
        shape = graph.values[node.outputs[0]].shape
        alike = [n for n in full[0].shape if n > 1] == [n for n in shape if n > 1]
        return [full[0].reshape(shape)] if alike else None
    if op in ("index", "index_select"):
        at = 1 if op == "index" else 2
        chosen = args[at] if op == "index" else (args[at],)
        numbers = [None if each is None else graph.values[each.value].numbers for each in chosen]
        if any(each is not None and number is None for each, number in zip(chosen, numbers, strict=True)):
            return None
        picks = [None if number is None else torch.tensor(number, dtype=torch.int64) for number in numbers]
        args[at] = picks if op == "index" else picks[0]
    if op == "constant_pad_nd":
        args[2:], kwargs = [0.0], {}
    try:
        result = getattr(torch.ops.aten, op)(*_filled(args, places), **_filled(kwargs, places))
    except (RuntimeError, AttributeError, NotImplementedError, IndexError):
        return None
    return [result] if isinstance(result, Tensor) else list(result)


def _filled(tree: Any, places: Mapping[int, Tensor]) -> Any:
    if isinstance(tree, Ref):
        return places[tree.value]
    if isinstance(tree, list | tuple):
        return [_filled(each, places) for each in tree]
    if isinstance(tree, dict):
        return {key: _filled(each, places) for key, each in tree.items()}
    return tree


def _fold(numbers: Tensor, dims: list[int], keep: bool = False) -> tuple[Tensor, Tensor]:
    """The one origin along `dims`, constants aside, and where there are several."""
    highest = numbers.amax(dims, keepdim=keep)
    lowest = torch.where(numbers == 0, torch.inf, numbers).amin(dims, keepdim=keep)
    return highest, (highest != 0) & (lowest != highest)


def _reduced(node: Node, numbers: Tensor) -> Tensor | None:
    dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    axes = [dims] if isinstance(dims, int) else list(dims or range(numbers.dim()))
    kept, mixed = _fold(numbers, axes, keep=True)
    return None if bool(mixed.any()) else kept


def _joined(node: Node, op: str, full: list[Tensor], shapes: list[tuple[int, ...]], table: Table) -> list[Tensor]:
    """Origins of an elementwise result of the shape `shapes[0]`."""
    shape = shapes[0]
    if op in _SAME and full[0].numel() == prod(shape):
        return [full[0].reshape(shape)] if op != "copy" or len(full) < 2 else [full[1].expand(shape)]
    maps = [each for each in full if bool(each.any())]
    if op in _SCALING and len(maps) == 2 and _gates(maps, shape):
        maps = sorted(maps, key=lambda each: -each.numel())[:1]
    result = maps[0].expand(shape)
    for other in maps[1:]:
        conflict = (result != 0) & (other != 0) & (result != other)
        result = torch.maximum(result, other.expand(shape))
        if bool(conflict.any()):
            result = torch.where(conflict, _fresh(node, shape, table), result)
    return [result]


def _gates(maps: list[Tensor], shape: tuple[int, ...]) -> bool:
    """Whether one of two factors has fewer numbers than the other, which has those of the result."""
    sizes = sorted(each.numel() for each in maps)
    return sizes[0] < sizes[1] == prod(shape)
