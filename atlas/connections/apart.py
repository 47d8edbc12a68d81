"""How each recorded layer is taken apart: where its response is a sum, of which maps, with which weights.

A convolution or a linear layer is the sum over the maps it reads of weight × activation over its kernel, and a bias;
a batch norm behind it is folded into both. A residual block is the sum of its branches, before whatever follows the
addition; sums of sums are taken apart to their leaves. Only what a trace shows is believed, and every use checks that
the parts add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from atlas.connections import origins
from atlas.connections.origins import Table
from atlas.network.candidates import Candidate, find_candidates
from atlas.network.graph import Graph, Node, Ref
from atlas.network.norms import BATCH_NORMS
from atlas.types import Layer

ADDITIONS = frozenset(("aten.add", "aten.add_"))


@dataclass(frozen=True)
class Addend:
    """One branch of a residual sum: operand `place` (0, 1) of the `ordinal`-th addition of a forward pass."""

    ordinal: int
    place: int
    factor: float


@dataclass(frozen=True, eq=False)
class Apart:
    """A layer as a sum. `why`: why it cannot be taken apart, or None.

    `origins` (rows, J) number the maps of `Table`: one row where all channels read the same, else one a channel.
    Convolution, linear: `weight` (channels, inputs a group, kh, kw) and `bias` (channels,) float64 with the batch norm
    folded; `merge` (inputs,) the place among J of each input, where several come from one map; `call` is the module
    call that reads. Block: `addends` (J), `root` the addition that gives the sum.
    """

    layer: Layer
    why: str | None = None
    origins: Tensor = field(default_factory=lambda: torch.zeros(1, 0, dtype=torch.int64))
    call: tuple[str, int] = ("", 1)
    weight: Tensor | None = None
    bias: Tensor | None = None
    merge: Tensor | None = None
    groups: int = 1
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, ...] = (0, 0, 0, 0)
    padding_mode: str = "constant"
    addends: tuple[Addend, ...] = ()
    root: int = -1

    @property
    def inputs(self) -> int:
        """Maps that one neuron reads."""
        return int(self.origins.shape[1])

    def origin(self, channel: int) -> Tensor:
        """Numbers of the maps (J,) that a channel reads."""
        return self.origins[min(channel, len(self.origins) - 1)]

    @property
    def norms(self) -> Tensor:
        """Norms (channels, J) of the kernel slice of each map, the batch norm folded; of a branch its factor."""
        if self.weight is None:
            factors = torch.tensor([abs(each.factor) for each in self.addends], dtype=torch.float64)
            return factors.expand(self.layer.channels, -1)
        squares = self.weight.square().sum((2, 3))
        return merged(squares, self).sqrt()

    @property
    def sums(self) -> Tensor:
        """Sums (channels, J) of the kernel slice of each map, the batch norm folded; of a branch its factor."""
        if self.weight is None:
            factors = torch.tensor([each.factor for each in self.addends], dtype=torch.float64)
            return factors.expand(self.layer.channels, -1)
        return merged(self.weight.sum((2, 3)), self)


def merged(values: Tensor, apart: Apart) -> Tensor:
    """Values (E, inputs a group) summed by map: (E, J)."""
    if apart.merge is None:
        return values
    return values.new_zeros(len(values), apart.inputs).index_add_(1, apart.merge, values)


class _RefusalError(Exception):
    """Why a layer cannot be taken apart."""


def take_apart(graph: Graph, layers: Sequence[Layer]) -> tuple[list[Apart], Table]:
    """Each of `layers` as a sum, in their order, and what the numbers of their maps mean.

    `graph`: `trace` of the network that will be run. Layers that are no such sum say why.
    """
    candidates = {each.name: each for each in find_candidates(graph)}
    chosen = [(layer, candidates[layer.name]) for layer in layers]
    recorded = {candidate.value: (layer.name, layer.channel_axis) for layer, candidate in reversed(chosen)}
    plans = [_plan(graph, layer, candidate, recorded) for layer, candidate in chosen]
    wanted = {value: axis for plan in plans if not isinstance(plan, str) for value, axis in plan.reads.items()}
    found, table = origins.find(graph, recorded, wanted)
    result = []
    for (layer, candidate), plan in zip(chosen, plans, strict=True):
        if isinstance(plan, str):
            result.append(Apart(layer, plan))
            continue
        try:
            result.append(
                (plan.addends and _block(layer, plan, found)) or _weighted(graph, layer, candidate, plan, found)
            )
        except _RefusalError as error:
            result.append(Apart(layer, str(error)))
    return result, table


@dataclass(frozen=True)
class _Plan:
    """What a layer reads: values with their channel axes; of a block the addends, in the order of the values."""

    reads: dict[int, int]
    values: tuple[int, ...]
    addends: tuple[Addend, ...] = ()
    root: int = -1


def _plan(graph: Graph, layer: Layer, candidate: Candidate, recorded: dict[int, tuple[str, int]]) -> _Plan | str:
    try:
        if candidate.kind == "block":
            return _plan_block(graph, layer, candidate, recorded)
        if not candidate.called:
            raise _RefusalError("it is a function call, whose weights are not followed")
        call = graph.calls[candidate.call]
        if not call.inputs:
            raise _RefusalError(f"{call.call} is given no tensor")
        value = call.inputs[0]
        shape = graph.values[value].shape
        return _Plan({value: 1 if candidate.kind == "conv" else len(shape) - 1}, (value,))
    except _RefusalError as error:
        return str(error)


def _plan_block(graph: Graph, layer: Layer, candidate: Candidate, recorded: dict[int, tuple[str, int]]) -> _Plan:
    """The addition behind a block's output, and the leaves of the sum that it is."""
    value, shape = candidate.value, graph.values[candidate.value].shape
    node = graph.producer(value)
    while node is not None and node.op not in ADDITIONS:
        # One tensor in, one out, each number by itself: what follows the addition, as a rectifier does.
        if not (node.pointwise or origins.name(node) in ("relu6", "hardtanh", "dropout", "clone")):
            break
        if len(node.inputs) != 1:
            break
        node = graph.producer(node.inputs[0])
    if node is None or node.op not in ADDITIONS:
        raise _RefusalError(f"no addition is behind its output, but {'the input' if node is None else node.op}")
    leaves: list[tuple[int, Addend]] = []
    _expand(graph, node, 1.0, shape, graph.calls[candidate.call].first, recorded, leaves)
    reads = {leaf: layer.channel_axis for leaf, _ in leaves}
    return _Plan(reads, tuple(leaf for leaf, _ in leaves), tuple(a for _, a in leaves), _ordinal(graph, node))


def _expand(
    graph: Graph, node: Node, factor: float, shape: tuple[int, ...], first: int,
    recorded: dict[int, tuple[str, int]], leaves: list[tuple[int, Addend]],
) -> None:  # fmt: skip
    alpha = node.kwargs.get("alpha", node.args[2] if len(node.args) > 2 else 1)
    for place in (0, 1):
        operand = node.args[place]
        inner = graph.producer(operand.value) if isinstance(operand, Ref) else None
        if not isinstance(operand, Ref) or operand.value not in graph.reached(graph.input, 0, node.index):
            raise _RefusalError(f"its sum holds a constant, in {node.where}")
        sign = factor * (float(alpha) if place else 1.0)
        value = graph.values[operand.value]
        if value.shape != shape:
            raise _RefusalError(f"its sum spreads a branch {value.shape} over {shape}, in {node.where}")
        nested = inner is not None and inner.op in ADDITIONS and inner.index >= first and operand.value not in recorded
        if inner is not None and nested:
            _expand(graph, inner, sign, shape, first, recorded, leaves)
        else:
            leaves.append((operand.value, Addend(_ordinal(graph, node), place, sign)))


def _ordinal(graph: Graph, node: Node) -> int:
    """How many additions of a forward pass come before this one."""
    return sum(each.op in ADDITIONS for each in graph.nodes[: node.index])


def _block(layer: Layer, plan: _Plan, found: dict[int, Tensor]) -> Apart:
    stacked = torch.stack([found[value] for value in plan.values], 1)  # (channels, J)
    return Apart(layer, origins=stacked, addends=plan.addends, root=plan.root)


def _weighted(graph: Graph, layer: Layer, candidate: Candidate, plan: _Plan, found: dict[int, Tensor]) -> Apart:
    module = graph.modules[candidate.call.module]
    numbers = found[plan.values[0]]  # (inputs,)
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor):
        raise _RefusalError(f"{candidate.call} has no weight")
    weight = weight.detach().double().cpu()
    bias = getattr(module, "bias", None)
    bias = torch.zeros(len(weight), dtype=torch.float64) if bias is None else bias.detach().double().cpu()
    scale, shift = _folded(graph, candidate, len(weight))
    weight = weight.reshape(*weight.shape, *(1,) * (4 - weight.dim()))
    weight, bias = weight * scale[:, None, None, None], bias * scale + shift
    call = (candidate.call.module, candidate.call.number)
    groups, window = 1, {}
    if isinstance(module, nn.Conv2d) and not module.transposed:
        groups, window = module.groups, _window(module)
    elif not isinstance(module, nn.Linear):
        raise _RefusalError(f"{candidate.call} is a {type(module).__name__}, whose sum is not known")
    merge = None
    rows = numbers.reshape(groups, -1)  # (groups, inputs a group)
    if groups == 1:
        unique, places = torch.unique(numbers, return_inverse=True)
        rows, merge = (unique[None], places) if len(unique) < len(numbers) else (rows, None)
    else:
        rows = rows.repeat_interleave(len(weight) // groups, 0)  # (channels, inputs a group)
    call = (candidate.call.module, candidate.call.number)
    return Apart(layer, None, rows, call, weight=weight, bias=bias, merge=merge, groups=groups, **window)


def _window(module: nn.Conv2d) -> dict[str, Any]:
    """Stride, dilation and padding of a convolution; padding (left, right, top, bottom), as `F.pad` wants it."""
    return {
        "stride": (module.stride[0], module.stride[1]),
        "dilation": (module.dilation[0], module.dilation[1]),
        "padding": tuple(module._reversed_padding_repeated_twice),
        "padding_mode": "constant" if module.padding_mode == "zeros" else module.padding_mode,
    }


def _folded(graph: Graph, candidate: Candidate, channels: int) -> tuple[Tensor, Tensor]:
    """Scale and shift (channels,) of the batch norm that is recorded with a convolution; 1 and 0 without one."""
    if candidate.normalised is None:
        return torch.ones(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)
    node = graph.producer(candidate.value)
    norm = graph.modules[node.stack[-1].module] if node is not None and node.op in BATCH_NORMS else None
    if not isinstance(norm, nn.modules.batchnorm._BatchNorm) or norm.running_mean is None or norm.running_var is None:
        raise _RefusalError(f"what follows {candidate.call} is no batch norm with its own statistics")
    scale = (norm.running_var.double() + norm.eps).rsqrt().cpu()
    if norm.affine:
        scale = scale * norm.weight.detach().double().cpu()
    shift = -norm.running_mean.double().cpu() * scale
    return scale, shift + norm.bias.detach().double().cpu() if norm.affine else shift
