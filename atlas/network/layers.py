"""The layers of a network: which outputs are recorded, what they are called, and what they see of the input.

A layer is each call of an `nn.Conv2d` (where a batch norm is the sole consumer of its output, the batch norm's output,
under the convolution's name; a batch norm that is a function call inside a larger module is no module to hook, and then
the convolution's own output is recorded), each call of an `nn.Linear`, and each residual block: the innermost module,
never the network itself, whose call adds two paths from one of its inputs. A second call of a module is `name@2`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

import torch
from torch import nn

from atlas.errors import NetworkError
from atlas.network.graph import Call, Graph, ModuleCall, Node, trace
from atlas.network.receptive import Sight, field_of, see
from atlas.types import Layer

BATCH_NORMS = frozenset(
    f"aten.{name}"
    for name in (
        "native_batch_norm",
        "cudnn_batch_norm",
        "miopen_batch_norm",
        "_native_batch_norm_legit_no_training",
        "_batch_norm_no_update",
    )
)
LIVE_NORMS = frozenset({"aten._native_batch_norm_legit", "aten._batch_norm_with_update"})
SAME_VALUES = frozenset(
    f"aten.{name}"
    for name in (
        *("view", "_unsafe_view", "reshape", "permute", "transpose", "squeeze", "unsqueeze", "clone", "detach"),
        *("alias", "contiguous", "t"),
    )
)
"""Operations after which the same numbers are there, in another order of dimensions or memory."""


@dataclass(frozen=True)
class Candidate:
    """A layer without its field: `call` is the convolution, linear layer or block, `hook` what is recorded."""

    name: str
    kind: Literal["conv", "linear", "block"]
    call: Call
    hook: Call
    value: int


class CodeSource(NamedTuple):
    """The code is the input of this call of this module."""

    module: str
    call: int


def find_layers(
    module: nn.Module,
    height: int,
    width: int,
    channels: int = 3,
    *,
    wanted: Sequence[str] = ("auto",),
    exclude: Sequence[str] = (),
) -> list[Layer]:
    """The chosen layers of a network for inputs (N, channels, height, width), in forward order of their outputs.

    Fields are needed of chosen layers only. Raises `NetworkError` for an unknown name or a network that cannot be run,
    `GeometryError` where the field of a chosen layer is not one box of one stride, naming the layer and the cause.
    """
    return layers_of(trace(module, example(module, height, width, channels)), wanted, exclude)


def example(module: nn.Module, height: int, width: int, channels: int = 3) -> torch.Tensor:
    """A fixed input (1, channels, height, width), on the device and in the precision of the network."""
    first = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(0))
    ramp = torch.linspace(-1, 1, channels * height * width).reshape(1, channels, height, width)
    return ramp.to(first.device, first.dtype)


def layers_of(graph: Graph, wanted: Sequence[str] = ("auto",), exclude: Sequence[str] = ()) -> list[Layer]:
    """`find_layers` of a graph that is there already."""
    candidates = find_candidates(graph)
    if not candidates:
        raise NetworkError("network: has no convolution, linear layer or residual block to record")
    _check_alone(graph)
    kept = set(choose_names([c.name for c in candidates], wanted, exclude))
    sight = see(graph)
    chosen = [c for c in candidates if c.name in kept]
    return [_layer(graph, sight, index, candidate) for index, candidate in enumerate(chosen)]


def _check_alone(graph: Graph) -> None:
    """Raises `NetworkError` where an image's responses would depend on its batch, or on chance."""
    for node in graph.nodes:
        if node.index not in graph.live or not node.stack:
            continue
        module = graph.modules[node.stack[-1].module]
        normalises = isinstance(module, nn.modules.batchnorm._BatchNorm) and node.op in (*BATCH_NORMS, *LIVE_NORMS)
        if normalises and len(node.args) > 5 and node.args[5] is True:
            raise NetworkError(
                f"{node.where}: a batch norm without running statistics, so that responses to an image depend on the "
                "other images of its batch; use one with track_running_stats"
            )
        if node.random:
            raise NetworkError(
                f"{node.where}: {node.op} draws random numbers in eval mode; make the network answer alike"
            )


def _layer(graph: Graph, sight: Sight, index: int, candidate: Candidate) -> Layer:
    shape = graph.values[candidate.value].shape
    axis = len(shape) - 1 if candidate.kind == "linear" else 1
    if candidate.kind == "block" and len(shape) == 3:
        axis = 2  # (N, T, C): blocks of token networks
    positions = [n for d, n in enumerate(shape) if d not in (0, axis)]
    height, width = [1, 1, *positions][-2:]
    return Layer(
        index=index,
        name=candidate.name,
        kind=candidate.kind,
        channels=shape[axis],
        height=height,
        width=width,
        field=field_of(graph, sight, candidate.value, candidate.name, axis),
        rectified=is_rectified(graph, candidate.value),
        module=candidate.hook.module,
        call=candidate.hook.number,
        channel_axis=axis,
    )


def find_candidates(graph: Graph) -> list[Candidate]:
    """All layers of a network in forward order of their outputs, their fields not asked for."""
    found: list[Candidate] = []
    for call in graph.calls.values():
        module = graph.modules[call.call.module]
        if not call.single or not call.call.module:
            continue
        if isinstance(module, nn.Conv2d):
            hook, value = _fused(graph, call)
            found.append(Candidate(str(call.call), "conv", call.call, hook, value))
        elif isinstance(module, nn.Linear):
            found.append(Candidate(str(call.call), "linear", call.call, call.call, call.outputs[0]))
    taken = {c.call for c in found}
    for call in _blocks(graph):
        if call.single and call.call not in taken:
            found.append(Candidate(str(call.call), "block", call.call, call.call, call.outputs[0]))
    return sorted(found, key=lambda c: graph.order(c.value))


def _fused(graph: Graph, call: ModuleCall) -> tuple[Call, int]:
    """The call whose output is recorded for a convolution, and that output's value."""
    own = call.outputs[0]
    consumers = graph.consumers(own)
    if len(consumers) == 1 and consumers[0].op in BATCH_NORMS and consumers[0].inputs[0] == own:
        norm = consumers[0]
        for inner in reversed(norm.stack[1:]):
            outer = graph.calls[inner]
            if outer.single and outer.outputs[0] == norm.outputs[0] and outer.inputs[:1] == (own,):
                return inner, norm.outputs[0]
    return call.call, own


def _blocks(graph: Graph) -> list[ModuleCall]:
    """Calls that are residual blocks, in the order of their first addition."""
    found: dict[Call, ModuleCall] = {}
    for node in graph.nodes:
        block = _block_of(graph, node) if node.index in graph.live else None
        if block is not None:
            found[block.call] = block
    return list(found.values())


def _block_of(graph: Graph, node: Node) -> ModuleCall | None:
    """The innermost call, the network's own aside, in which both operands of an addition come from one input."""
    if node.op not in ("aten.add", "aten.add_") or len(set(node.inputs)) != 2:
        return None
    for inner in reversed(node.stack):
        call = graph.calls[inner]
        for source in call.inputs:
            reached = graph.reached(source, call.first, node.index)
            if reached.issuperset(node.inputs):
                return call if inner.module else None
    return None


def is_rectified(graph: Graph, value: int) -> bool:
    """Whether all that reads a value is a rectifier, directly or behind a view or a copy."""
    consumers = graph.consumers(value)
    return value != graph.output and bool(consumers) and all(_rectifies(graph, node) for node in consumers)


def _rectifies(graph: Graph, node: Node) -> bool:
    op = node.op.removesuffix("_")
    if op in SAME_VALUES:
        return all(is_rectified(graph, output) for output in node.outputs)
    if op in ("aten.relu", "aten.relu6"):
        return True
    low = node.args[1] if len(node.args) > 1 else node.kwargs.get("min", node.kwargs.get("min_val", -1.0))
    if op == "aten.threshold":
        return bool(low == 0 and node.args[2] == 0)
    return op in ("aten.hardtanh", "aten.clamp", "aten.clamp_min", "aten.clip") and low == 0 and low is not False


def choose(layers: Sequence[Layer], wanted: Sequence[str] = ("auto",), exclude: Sequence[str] = ()) -> list[Layer]:
    """The wanted layers (`auto`: all) without the excluded, in forward order, numbered anew from 0.

    `*` in a name matches any text. Raises `NetworkError` for a name that matches no layer, or where none is left.
    """
    kept = set(choose_names([layer.name for layer in layers], wanted, exclude))
    return [replace(layer, index=i) for i, layer in enumerate(each for each in layers if each.name in kept)]


def choose_names(names: Sequence[str], wanted: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """`choose` for names alone."""
    kept = [n for pattern in wanted for n in (names if pattern == "auto" else _match(pattern, names, "--layers"))]
    gone = {n for pattern in exclude for n in _match(pattern, names, "--exclude")}
    left = [n for n in names if n in set(kept) - gone]
    if not left:
        raise NetworkError(f"--layers {','.join(wanted)} --exclude {','.join(exclude)}: no layer is left; exclude less")
    return left


def _match(pattern: str, names: Sequence[str], option: str) -> list[str]:
    literal = pattern.replace("[", "[[]").replace("?", "[?]")
    found = [n for n in names if fnmatchcase(n, literal)]
    if not found:
        close = difflib.get_close_matches(pattern, names, n=3, cutoff=0.3) or list(names[:3])
        raise NetworkError(f"{option} {pattern}: no such layer; close to it: {', '.join(close)}")
    return found


def code_source(graph: Graph, layer: str | None = None) -> CodeSource:
    """The call whose input is an image's code: the last convolution or linear layer on the way to the logits.

    `layer`: a name, as in `--code-layer`, of a convolution, linear layer or block instead. Raises `NetworkError` for an
    unknown name, and where the network has no such layer.
    """
    candidates = find_candidates(graph)
    if layer is not None:
        name = choose_one([c.name for c in candidates], layer)
        return CodeSource(*next(c.call for c in candidates if c.name == name))
    reaching = [c for c in candidates if c.kind != "block" and graph.order(c.value) in graph.live]
    if not reaching:
        raise NetworkError("network: no convolution or linear layer leads to the logits; name one with --code-layer")
    return CodeSource(*reaching[-1].call)


def choose_one(names: Sequence[str], wanted: str) -> str:
    """One exact name among layers. Raises `NetworkError` naming the closest."""
    if wanted not in names:
        close = difflib.get_close_matches(wanted, names, n=3, cutoff=0.3) or list(names[-3:])
        raise NetworkError(f"--code-layer {wanted}: no such layer; close to it: {', '.join(close)}")
    return wanted
