"""Which outputs of a network are layers: convolutions, linear layers and residual blocks, wherever they are called."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from torch import nn

from atlas.network.nodes import Call, Graph, ModuleCall, Node, Ref
from atlas.network.norms import Hook, norm_after


@dataclass(frozen=True)
class Candidate:
    """A layer without its field: `call` is the convolution, linear layer or block, `hook` what is recorded.

    `function`: the number of the function call in `hook` whose result is recorded, or 0: what `hook` returns.
    `normalised`: the module of the batch norm that is fused. `called`: the layer is a call of a module of its own.
    """

    name: str
    kind: Literal["conv", "linear", "block"]
    call: Call
    hook: Call
    value: int
    function: int = 0
    normalised: str | None = None
    called: bool = True


def find_candidates(graph: Graph) -> list[Candidate]:
    """All layers of a network in forward order of their outputs, their fields not asked for."""
    found: list[Candidate] = []
    for call in graph.calls.values():
        module = graph.modules[call.call.module]
        if not call.single or not call.call.module:
            continue
        if isinstance(module, nn.Conv2d):
            found.append(_convolution(graph, str(call.call), call.call, Hook(call.call), call.outputs[0]))
        elif isinstance(module, nn.Linear):
            found.append(Candidate(str(call.call), "linear", call.call, call.call, call.outputs[0]))
    found += _functions(graph, found)
    taken = {c.call for c in found if c.called}
    for call in _blocks(graph):
        if call.outputs and call.call not in taken:  # of several results the first is the stream
            found.append(Candidate(str(call.call), "block", call.call, call.call, call.outputs[0]))
    return sorted(found, key=lambda c: graph.order(c.value))


def _convolution(graph: Graph, name: str, call: Call, hook: Hook, own: int, called: bool = True) -> Candidate:
    """A convolution, under its name, with the batch norm that alone reads it."""
    norm = norm_after(graph, own)
    if norm is None:
        return Candidate(name, "conv", call, hook.call, own, hook.function, None, called)
    return Candidate(name, "conv", call, norm.hook.call, norm.value, norm.hook.function, norm.name, called)


def _functions(graph: Graph, modules: list[Candidate]) -> list[Candidate]:
    """Convolutions and linear layers that no module of that kind was called for; their kernels are parameters."""
    own = {graph.calls[c.call].outputs[0] for c in modules}
    counts = Counter(c.call.module for c in modules)
    found = []
    for value, number in graph.functions.items():
        node = graph.producer(value)
        kind = None if node is None else _kind(graph, node)
        if node is None or kind is None or value in own:
            continue
        parameter = _parameter(graph, node.args[1].value)
        if parameter is None:
            continue
        name = parameter.removesuffix("weight").rstrip("._") or parameter
        counts[name] += 1
        call = Call(name, counts[name])
        hook = Hook(node.stack[-1] if node.stack else Call("", 1), number)
        if kind == "conv":
            found.append(_convolution(graph, str(call), call, hook, value, called=False))
        else:
            found.append(Candidate(str(call), "linear", call, hook.call, value, number, called=False))
    return found


def _kind(graph: Graph, node: Node) -> Literal["conv", "linear"] | None:
    if node.op == "aten.linear" and isinstance(node.args[1], Ref):
        return "linear"
    two = node.op == "aten.convolution" and len(graph.values[node.args[1].value].shape) == 4 and not node.args[6]
    return "conv" if two else None


def _parameter(graph: Graph, value: int) -> str | None:
    """The name of the parameter that a kernel is, or is made from without the image's doing."""
    waiting, seen, name = [value], set(), None
    while waiting:
        each = waiting.pop()
        if each == graph.input:
            return None
        name = name or graph.parameters.get(each)
        node = graph.producer(each)
        if node is not None and each not in seen:
            seen.add(each)
            waiting.extend(node.inputs)
    return name


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
