"""Batch norms that follow a convolution, whatever class they are of, and rectifiers that follow a value."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from atlas.network.nodes import Call, Graph, Node, Ref

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
_AFFINE = frozenset(f"aten.{name}{end}" for name in ("mul", "add", "sub", "div", "addcmul") for end in ("", "_"))


class Hook(NamedTuple):
    """What is recorded for a value: the output of a module's call, or the result of a function call by its number."""

    call: Call
    function: int = 0


class Norm(NamedTuple):
    """A batch norm: the value that it gives, where that is recorded, and its name: its module's, where it is one."""

    value: int
    hook: Hook
    name: str


def hook_of(graph: Graph, value: int) -> Hook | None:
    """How a value can be recorded: as what the innermost module returns it, or as a function's result."""
    for call in reversed(graph.calls.values()):
        if call.single and call.outputs == (value,) and call.call.module:
            return Hook(call.call)
    number = graph.functions.get(value, 0)
    return Hook(_innermost(graph, value), number) if number else None


def _innermost(graph: Graph, value: int) -> Call:
    node = graph.producer(value)
    return node.stack[-1] if node is not None and node.stack else Call("", 1)


def norm_after(graph: Graph, own: int) -> Norm | None:
    """The batch norm that alone reads a convolution's output: its output, before any activation that it applies."""
    consumers = graph.consumers(own)
    held = _holder(graph, consumers) if consumers else None
    name = _function(graph, own, consumers) if held is None else str(held)
    if name is None:
        return None
    value = _value_after(graph, own, consumers)
    hook = None if value is None else hook_of(graph, value)
    if value is None or hook is None:
        return None
    return Norm(value, hook, name)


def _function(graph: Graph, own: int, consumers: list[Node]) -> str | None:
    """The name of a batch norm that is called as a function: that of its scale, or of the module it is called in."""
    if len(consumers) != 1 or consumers[0].op not in BATCH_NORMS or consumers[0].inputs[0] != own:
        return None
    scale = consumers[0].args[1]
    named = graph.parameters.get(scale.value, "") if isinstance(scale, Ref) else ""
    name = named.removesuffix("weight").rstrip("._") or named
    return name or f"batch_norm in {consumers[0].where}"


def _value_after(graph: Graph, own: int, consumers: list[Node]) -> int | None:
    if len(consumers) == 1 and consumers[0].op in BATCH_NORMS and consumers[0].inputs[0] == own:
        return consumers[0].outputs[0]
    value = own
    while True:  # a frozen batch norm: a scale and a shift by constants
        readers = graph.consumers(value)
        constants = len(readers) == 1 and all(v == value or _constant(graph, v) for v in readers[0].inputs)
        if not constants or readers[0].op not in _AFFINE or _holder(graph, readers) is None:
            return None if value == own else value
        value = readers[0].outputs[0]


def _constant(graph: Graph, value: int) -> bool:
    """Whether a value does not depend on the image."""
    waiting, seen = [value], set()
    while waiting:
        each = waiting.pop()
        if each == graph.input:
            return False
        node = graph.producer(each)
        if node is not None and each not in seen:
            seen.add(each)
            waiting.extend(node.inputs)
    return True


def _holder(graph: Graph, nodes: list[Node]) -> Call | None:
    """The innermost call of a module with running statistics in which all nodes ran."""
    for call in reversed(nodes[0].stack):
        module = graph.modules[call.module]
        if _has_statistics(module) and all(call in node.stack for node in nodes):
            return call
    return None


def _has_statistics(module: nn.Module) -> bool:
    return all(isinstance(getattr(module, name, None), Tensor) for name in ("running_mean", "running_var"))


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
    if isinstance(low, Ref):
        return False
    return op in ("aten.hardtanh", "aten.clamp", "aten.clamp_min", "aten.clip") and low == 0 and low is not False
