"""What each operation does to receptive fields. What an operation without a rule gives, sees the whole input.

A rule is given the node and what its tensors see; it is only asked where one of them has positions. Where a map is
multiplied by one number a channel that comes from the whole input (squeeze-and-excitation, efficient channel attention,
global response normalisation), or normalised by statistics over its positions (group and instance norms), the field
stays that of the map, and the map is gated: a gate scales what the local paths found, it finds nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from atlas.network import geometry
from atlas.network.geometry import Maps, RefusalError, Seen, Whole
from atlas.network.graph import Graph, Node, Ref

Rule = Callable[["Context"], "Seen | list[Seen]"]
RULES: dict[str, Rule] = {}
CONSTANT = frozenset(
    f"aten.{name}"
    for name in (
        *("zeros_like", "ones_like", "full_like", "empty_like", "zero_", "new_zeros", "new_ones", "new_full"),
        *("new_empty", "new_empty_strided"),
    )
)
"""Operations that take from a tensor its shape alone."""


class Context:
    """One node as a rule sees it: its arguments in place, and what its tensors see."""

    def __init__(self, graph: Graph, node: Node, seen: dict[int, Seen]) -> None:
        self.graph, self.node, self.args = graph, node, node.args
        self._seen = seen

    def arg(self, place: int, name: str, default: Any = None) -> Any:
        """An argument given by place or by name."""
        return self.args[place] if place < len(self.args) else self.node.kwargs.get(name, default)

    def seen(self, place: int = 0) -> Seen:
        return self._seen[self.args[place].value]

    def shape(self, place: int = 0) -> tuple[int, ...]:
        return self._shape(self.args[place].value)

    def out(self, which: int = 0) -> tuple[int, ...]:
        return self._shape(self.node.outputs[which])

    def _shape(self, value: int) -> tuple[int, ...]:
        return self.graph.values[value].shape

    @property
    def maps(self) -> Maps:
        """What the first argument sees. Raises where it has no positions, but another argument has."""
        maps = self.seen()
        if not isinstance(maps, Maps):
            raise RefusalError("is given a map where a constant is expected")
        return maps

    def operands(self) -> list[tuple[Seen, Sequence[int]]]:
        return [(self._seen[v], self._shape(v)) for v in self.node.inputs]

    def constant(self, place: int) -> bool:
        ref = self.args[place] if place < len(self.args) else None
        return not isinstance(ref, Ref) or self._seen[ref.value] is None


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register what operations, and their in-place twins, do to fields."""

    def register(function: Rule) -> Rule:
        for name in names:
            RULES[f"aten.{name}"] = RULES[f"aten.{name}_"] = function
        return function

    return register


@rule(
    # elementwise, though not every version of ATen says so
    *("clone", "detach", "alias", "lift_fresh", "_to_copy", "contiguous", "dropout", "native_dropout", "prelu"),
    *("_prelu_kernel", "where", "rsub", "hardswish", "hardsigmoid", "hardtanh", "log_sigmoid_forward", "mish", "elu"),
    *("celu", "selu", "gelu", "silu", "leaky_relu", "softplus", "softshrink", "hardshrink", "threshold", "relu6"),
    *("rrelu_with_noise", "bernoulli", "clamp", "clip", "relu", "sigmoid", "tanh"),
)
def pointwise(c: Context) -> Seen:
    """Any elementwise operation with broadcasting."""
    return _elementwise(c)


def _elementwise(c: Context) -> Seen:
    return geometry.join(c.operands(), c.out())


@rule("mul", "div")
def _product(c: Context) -> Seen:
    """As any elementwise operation; a factor that is one number a channel, from the whole input, is a gate."""
    place = next((i for i, ref in enumerate(c.args[:2]) if isinstance(ref, Ref) and isinstance(c.seen(i), Maps)), None)
    if place is None or len(c.args) < 2 or not isinstance(c.args[1 - place], Ref):
        return _elementwise(c)
    other = c.args[1 - place].value
    if (c.node.op.startswith("aten.div") and place == 1) or not isinstance(c.seen(1 - place), Whole):
        return _elementwise(c)
    maps = geometry.join([(c.seen(place), c.shape(place))], c.out())
    if isinstance(maps, Maps) and _uniform(c.graph, other, [d - len(c.out()) for d in maps.dims]):
        return maps.through_gate()
    return _elementwise(c)


_SPREADING = ("expand", "repeat", "upsample_nearest2d", "upsample_bilinear2d")
THROUGH = ("sigmoid", "hardsigmoid", "tanh", "relu", "clone", "mul", "add", "softmax", "_to_copy")


def _uniform(graph: Graph, value: int, dims: Sequence[int]) -> bool:
    """Whether a value is the same at all positions; `dims`: where these lie, counted from the last."""
    shape = graph.values[value].shape
    if all(d < -len(shape) or shape[d] == 1 for d in dims):
        return True
    node = graph.producer(value)
    op = "" if node is None else node.op.removeprefix("aten.").removesuffix("_")
    if node is None or op not in (*_SPREADING, *THROUGH) or not node.inputs:
        return False
    return all(_uniform(graph, each, dims) for each in node.inputs)


@rule("copy")
def _copy(c: Context) -> Seen:
    return geometry.join([(c.seen(1), c.shape(1))], c.out())


@rule("fill")
def _fill(c: Context) -> Seen:
    if not c.constant(1):
        raise RefusalError("spreads one number over a map")
    return None


@rule("convolution")
def _convolution(c: Context) -> Seen:
    if not c.constant(1):
        raise RefusalError("takes its kernel from the image")
    weight, stride, padding, dilation = c.shape(1), *c.args[3:6]
    if c.args[6]:
        raise RefusalError("(transposed) has no rule for receptive fields")
    if len(weight) != 4 or c.maps.dims != (2, 3) or len(c.shape()) != 4:
        raise RefusalError("is not over the (y, x) of a map")
    maps = geometry.window(c.maps, weight[2:], _pair(stride), _pair(padding), _pair(dilation))
    return resized(geometry.mix(maps, weight[0], c.args[8]), c.out())


@rule("max_pool2d_with_indices", "max_pool2d", "mkldnn_max_pool2d")
def _max_pool(c: Context) -> Seen:
    kernel = _pair(c.args[1])
    stride = _pair(c.arg(2, "stride") or kernel)
    maps = geometry.window(c.maps, kernel, stride, _pair(c.arg(3, "padding", 0)), _pair(c.arg(4, "dilation", 1)))
    return resized(maps, c.out())


@rule("avg_pool2d")
def _avg_pool(c: Context) -> Seen:
    kernel = _pair(c.args[1])
    maps = geometry.window(c.maps, kernel, _pair(c.arg(2, "stride") or kernel), _pair(c.arg(3, "padding", 0)), (1, 1))
    return resized(maps, c.out())


@rule("avg_pool3d")
def _channel_pool(c: Context) -> Seen:
    """Over neighbouring channels alone: the middle of a local response normalisation."""
    kernel, stride, padding = (tuple(c.args[1]), c.arg(2, "stride") or c.args[1], c.arg(3, "padding", 0))
    if kernel[1:] != (1, 1) or set(_triple(stride)) != {1} or set(_triple(padding)) != {0} or c.maps.is_spatial(-3):
        raise RefusalError("pools over three dimensions")
    depth, parts = c.maps.whole.shape[-3] - kernel[0] + 1, []
    for first in range(kernel[0]):
        parts.append((take(c.maps, range(first, first + depth), c.maps.whole.ndim - 3), c.out()))
    return geometry.join(parts, c.out())


@rule("_adaptive_avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d")
def _adaptive_pool(c: Context) -> Seen:
    return c.maps if c.out()[-2:] == c.shape()[-2:] else Whole("is pooled over all positions")


@rule(
    "mean",
    "sum",
    "amax",
    "amin",
    "var",
    "std",
    "var_mean",
    "std_mean",
    "norm",
    "linalg_vector_norm",
    "logsumexp",
    "prod",
    "max",
    "min",
)
def _reduction(c: Context) -> Seen:
    if len(c.args) > 1 and isinstance(c.args[1], Ref):
        return geometry.join(c.operands(), c.out())  # max and min of two tensors
    place = 2 if c.node.op in ("aten.norm", "aten.linalg_vector_norm") else 1
    dims = c.arg(place, "dim")
    rank = len(c.shape())
    axes = {d % rank for d in ((dims,) if isinstance(dims, int) else dims or range(rank))}
    kept = len(c.out()) == rank
    if any((c.maps.is_spatial(d) and c.shape()[d] > 1) or (c.maps.is_spatial(d) and not kept) for d in axes):
        # Also where only rows, or only columns, are reduced: then it is more than is seen.
        return Whole("is reduced over positions")
    return c.maps.reduce(axes, keep=kept)


@rule("_softmax", "_safe_softmax", "_log_softmax", "cumsum", "cumprod")
def _over_one(c: Context) -> Seen:
    if c.maps.is_spatial(c.args[1]):
        if c.node.op.startswith("aten.cum"):
            raise RefusalError("runs along the positions of a map")
        return Whole("is normalised over positions")
    return c.maps.reduce([c.args[1] % len(c.shape())]).spread(c.out())


@rule("native_layer_norm")
def _layer_norm(c: Context) -> Seen:
    rank = len(c.shape())
    axes = range(rank - len(c.args[1]), rank)
    whole = any(c.maps.is_spatial(d) for d in axes)
    maps = c.maps.reduce([d for d in axes if not c.maps.is_spatial(d)]).spread(c.shape())
    return maps.through_gate() if whole else maps


@rule("native_group_norm")
def _group_norm(c: Context) -> Seen:
    groups, channels = c.args[6], c.shape()[1]  # its mean and variance are over all positions, and a group's channels

    def grouped(fold: Callable[..., Any]) -> Callable[[Any], Any]:
        return lambda a: np.repeat(fold(a.reshape(groups, -1), 1), channels // groups).reshape(a.shape)

    low, high = geometry.both(grouped(np.min), c.maps.low), geometry.both(grouped(np.max), c.maps.high)
    return replace(c.maps, low=low, high=high, whole=grouped(np.any)(c.maps.whole)).through_gate()


@rule("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm",
      "_batch_norm_no_update", "miopen_batch_norm")  # fmt: skip
def _batch_norm(c: Context) -> Seen:
    training = c.node.op.endswith(("batch_norm", "legit")) and c.args[5] is True
    return c.maps.through_gate() if training else c.maps  # an instance norm is a batch norm in training mode


@rule("linear")
def _linear(c: Context) -> Seen:
    if not c.constant(1) or c.maps.is_spatial(-1):
        raise RefusalError("acts along the positions of a map")
    return c.maps.reduce([len(c.shape()) - 1]).spread(c.out())


def resized(maps: Maps, shape: Sequence[int]) -> Maps:
    """With the sizes of maps of that shape."""
    return maps if maps.merged else replace(maps, sizes=(shape[maps.dims[0]], shape[maps.dims[1]]))


def take(maps: Maps, which: Sequence[int], dim: int) -> Maps:
    """Channels `which` along a dimension that is not spatial."""
    return maps.map(lambda a: np.take(a, which, dim))


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _triple(value: Any) -> tuple[int, ...]:
    return (value,) * 3 if isinstance(value, int) else tuple(value) * (3 // len(value))
