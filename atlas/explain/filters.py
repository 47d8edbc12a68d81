"""What a convolution is made of, as pictures: its weights, how it combines the filters before it, its raw kernels.

`weights`: the kernel of a convolution that reads the network's input.

`combination` (Lee et al. 2008, Sparse deep belief net model for visual area V2; as in Erhan et al. 2009, Visualizing
higher-layer features of a deep network, section 3.3): the weighted sum of the previous layer's filters, each at the
place where the kernel meets it,

    F[o] = Σ over c, i, j of  w[o, c, i, j] · s[c] · F'[c] moved by (i, j) · dilation · stride

with F' the filters of the one convolution that the layer is reached from and `stride` its step in input pixels. It is
defined along a single path: between the two lie only rectifiers (taken for the identity), batch norms (their factor
s = γ / √(var + ε); a shift is no part of a filter), pooling (each map is replaced by its window's mean) and padding. A
batch norm fused into the layer gives the filter its factor, so that its sign is that of the response. Deviation from
the papers: theirs are networks without pooling, and Lee et al. keep only the strongest weights; here all count. Layers
behind a sum, a concatenation or another non-linearity, and those with fields beyond `LONGEST` pixels, where averages of
averages show nothing, have no rows.

`kernel`: the raw weights of every deeper convolution (`atlas.explain.kernels`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import torch
from torch import Tensor, nn

from atlas.arrays import Flags
from atlas.explain import draw, kernels
from atlas.explain.crops import picture_shape
from atlas.network.candidates import find_candidates
from atlas.network.graph import Graph, Node
from atlas.network.norms import BATCH_NORMS
from atlas.store.pictures import PackWriter, Picture, missing
from atlas.tables.network import FILTERS
from atlas.types import Layer

LONGEST = 64
"""Largest field, in pixels, of a combination."""
WEIGHTS, COMBINATION, KERNEL = "weights", "combination", "kernel"
_UNCHANGED = frozenset(f"aten.{name}" for name in ("clone", "detach", "alias", "contiguous", "_to_copy"))
_PADS = frozenset(
    f"aten.{name}" for name in ("constant_pad_nd", "reflection_pad2d", "replication_pad2d", "_pad_circular")
)
_POOLS = frozenset(f"aten.{name}" for name in ("max_pool2d_with_indices", "max_pool2d", "avg_pool2d"))


@dataclass(frozen=True)
class Filters:
    """Filters of a map: `values` (C, 3, h, w) float64 in units of the map per unit of normalised input, `step` (y, x)
    in input pixels from one position to the next. `depth`: convolutions from the input to here."""

    values: Tensor
    step: tuple[int, int]
    depth: int


def filter_rows(
    graph: Graph, layers: Sequence[Layer], pack: PackWriter, longest: int, asked: Flags | None = None
) -> pa.Table:
    """The rows of the table `filters`; their pictures go into `pack`, `longest` pixels on the longer side.

    `graph`: of the network, on its input. `asked`: which neurons, of one layer; None for all.
    """
    rows: list[dict[str, object]] = []
    first: set[str] = set()
    for layer, filters in find_filters(graph, layers):
        shape = picture_shape(layer.field, longest)
        if filters.depth == 1:
            first.add(layer.name)
        kind = WEIGHTS if filters.depth == 1 else COMBINATION
        for channel, values in enumerate(filters.values.numpy()):
            if asked is None or asked[channel]:
                rows.append(_row(layer, channel, kind, draw.signed(values, shape), pack))
    for layer, kernel in kernels.find_kernels(graph, [layer for layer in layers if layer.name not in first]):
        for channel, weights in enumerate(kernel):
            if asked is None or asked[channel]:
                rows.append(_row(layer, channel, KERNEL, kernels.drawn(weights, longest), pack))
    return pa.Table.from_pylist(rows, schema=FILTERS.columns)


def _row(layer: Layer, channel: int, kind: str, drawn: draw.Drawn | None, pack: PackWriter) -> dict[str, object]:
    picture: Picture = missing("the filter is 0 everywhere")
    if drawn is not None:
        name = "kernel" if kind == KERNEL else "filter"
        member = f"{name}-{layer.index:03d}-{channel:05d}.{drawn.ending}"
        picture = pack.add(member, drawn.body, scale=drawn.scale)
    return {"layer": layer.name, "channel": channel, "kind": kind, "picture": picture}


def find_filters(graph: Graph, layers: Sequence[Layer]) -> Iterator[tuple[Layer, Filters]]:
    """Those of `layers` that have filters, in forward order."""
    wanted = {candidate.name: candidate.value for candidate in find_candidates(graph) if candidate.kind == "conv"}
    by_value = {wanted[layer.name]: layer for layer in layers if layer.name in wanted}
    channels = graph.values[graph.input].shape[1]
    image = torch.eye(channels, dtype=torch.float64)[:, :, None, None]  # (3, 3, 1, 1): each channel is its own filter
    known: dict[int, Filters] = {graph.input: Filters(image, (1, 1), 0)}
    for node in graph.nodes:
        below = known.get(node.inputs[0]) if node.index in graph.live and node.inputs else None
        filters = _through(graph, node, below) if below is not None else None
        for value in node.inputs:
            if value in known and graph.consumers(value)[-1:] == [node]:
                del known[value]  # read for the last time: combinations of wide layers are large
        if filters is not None:
            known[node.outputs[0]] = filters
            if node.outputs[0] in by_value:
                yield by_value[node.outputs[0]], filters


def _through(graph: Graph, node: Node, below: Filters) -> Filters | None:
    """The filters of a node's output, or None where they are not defined. `below`: those of its first input."""
    if sum(graph.values[value].producer is not None or value == graph.input for value in node.inputs) > 1:
        return None  # two paths
    if node.op in _UNCHANGED or node.op in _PADS:
        return below if graph.values[node.outputs[0]].shape[1] == len(below.values) else None
    module = graph.modules[node.stack[-1].module] if node.stack else None
    if node.op == "aten.convolution":
        return _convolved(node, module, below) if kernels.is_plain(module) else None
    if below.depth == 0:
        return None  # what is done to the image itself makes it another input
    if node.op in BATCH_NORMS:
        return _scaled(module, below) if isinstance(module, nn.BatchNorm2d) else None
    if node.op in _POOLS:
        return _pooled(node, below)
    return below if _rectifies(node) else None


def _convolved(node: Node, module: nn.Conv2d, below: Filters) -> Filters | None:
    weight = module.weight.detach().to("cpu", torch.float64)  # (C, c / groups, kh, kw)
    dilation, stride = _pair(node.args[5]), _pair(node.args[3])
    every = (dilation[0] * below.step[0], dilation[1] * below.step[1])
    sizes = [(k - 1) * e + s for k, e, s in zip(weight.shape[2:], every, below.values.shape[2:], strict=True)]
    if node.args[6] or (below.depth and max(sizes) > LONGEST):
        return None  # transposed, or too large
    parts = [
        _placed(partial(_weighted, w, filters), (w.shape[2], w.shape[3]), every)
        for w, filters in zip(weight.chunk(module.groups), below.values.chunk(module.groups), strict=True)
    ]
    step = (stride[0] * below.step[0], stride[1] * below.step[1])
    return Filters(torch.cat(parts), step, below.depth + 1)


def _weighted(weight: Tensor, filters: Tensor, i: int, j: int) -> Tensor:
    """What the kernel's weights at `(i, j)` make of the filters below: (C, 3, h, w)."""
    placed: Tensor = torch.tensordot(weight[:, :, i, j], filters, 1)
    return placed


def _placed(part: Callable[[int, int], Tensor], kernel: tuple[int, int], every: tuple[int, int]) -> Tensor:
    """The sum over a kernel's places of `part(i, j)` (C, 3, h, w), each moved by `(i, j) · every` pixels."""
    total: Tensor | None = None
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            filters = part(i, j)
            height, width = filters.shape[2:]
            if total is None:
                size = (height + (kernel[0] - 1) * every[0], width + (kernel[1] - 1) * every[1])
                total = filters.new_zeros(*filters.shape[:2], *size)
            total[:, :, i * every[0] : i * every[0] + height, j * every[1] : j * every[1] + width] += filters
    assert total is not None
    return total


def _scaled(norm: nn.BatchNorm2d, below: Filters) -> Filters | None:
    factor = kernels.norm_factor(norm)
    return None if factor is None else Filters(below.values * factor[:, None, None, None], below.step, below.depth)


def _pooled(node: Node, below: Filters) -> Filters | None:
    kernel = _pair(node.args[1])
    stride = _pair(node.args[2]) if len(node.args) > 2 and node.args[2] else kernel
    dilation = _pair(node.args[4]) if node.op != "aten.avg_pool2d" and len(node.args) > 4 else (1, 1)
    every = (dilation[0] * below.step[0], dilation[1] * below.step[1])
    share = below.values / (kernel[0] * kernel[1])
    values = _placed(lambda i, j: share, kernel, every)
    return Filters(values, (stride[0] * below.step[0], stride[1] * below.step[1]), below.depth)


def _rectifies(node: Node) -> bool:
    op = node.op.removesuffix("_")
    if op in ("aten.relu", "aten.relu6", "aten.leaky_relu", "aten.prelu", "aten._prelu_kernel"):
        return True
    low = node.args[1] if len(node.args) > 1 else node.kwargs.get("min", node.kwargs.get("min_val"))
    return op in ("aten.threshold", "aten.hardtanh", "aten.clamp", "aten.clamp_min", "aten.clip") and low == 0


def _pair(value: object) -> tuple[int, int]:
    numbers = [int(v) for v in value] if isinstance(value, Sequence) else [int(str(value))]
    return numbers[0], numbers[-1]
