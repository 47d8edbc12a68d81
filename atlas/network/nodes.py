"""The words of a traced forward pass: values, operations, module calls, and the graph they make.

The graph is of *values*, not of tensors: an in-place operation makes a new value of its tensor, and of each tensor that
shares its memory, so that what a hook saw before the operation and what a later operation reads are told apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from torch import nn

PARTIAL_WRITE = "atlas.write_through_view"
"""Operation of a value that was changed through a view of it, in a way the graph does not follow."""


class Ref(NamedTuple):
    """A tensor among the arguments of a node, as the number of its value."""

    value: int


class Call(NamedTuple):
    """The `number`-th call, from 1, of the module `module` (its name in `named_modules()`) in a forward pass."""

    module: str
    number: int

    def __str__(self) -> str:
        return self.module if self.number == 1 else f"{self.module}@{self.number}"


@dataclass(frozen=True)
class Value:
    """Contents of a tensor between two writes. `producer`: index of its node; None for the input and for constants.

    `numbers`: contents of a small integer constant (an index), else None.
    """

    id: int
    shape: tuple[int, ...]
    producer: int | None
    numbers: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Node:
    """One operation. `args` and `kwargs` hold `Ref`s for tensors; `inputs`, `outputs` are numbers of values.

    `stack`: the module calls it ran in, outermost (the root) first. `pointwise`: an elementwise operation. `random`: it
    drew random numbers.
    """

    index: int
    op: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    stack: tuple[Call, ...]
    pointwise: bool = False
    random: bool = False

    @property
    def where(self) -> str:
        """The innermost module, for messages."""
        return str(self.stack[-1]) if self.stack and self.stack[-1].module else "the network itself"


@dataclass
class ModuleCall:
    """A call of a module: values of its tensor inputs and outputs, and its nodes `[first, end)`.

    `single`: it returned one tensor, and nothing else.
    """

    call: Call
    inputs: tuple[int, ...]
    outputs: tuple[int, ...] = ()
    single: bool = False
    first: int = 0
    end: int = 0


@dataclass
class Graph:
    """A traced forward pass. `input` and `output` are values; `calls` in the order in which they began.

    `functions`: results of watched functions (`atlas.network.functions`), by value, with the number of their call in
    the pass, from 1. `parameters`: names of the parameters that were read, by value.
    """

    modules: dict[str, nn.Module]
    nodes: list[Node] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    calls: dict[Call, ModuleCall] = field(default_factory=dict)
    input: int = 0
    output: int = 0
    functions: dict[int, int] = field(default_factory=dict)
    parameters: dict[int, str] = field(default_factory=dict)

    def producer(self, value: int) -> Node | None:
        """The node that made a value; None for the input and for constants."""
        index = self.values[value].producer
        return None if index is None else self.nodes[index]

    def order(self, value: int) -> int:
        """Place of a value in the forward pass; −1 for the input and for constants."""
        index = self.values[value].producer
        return -1 if index is None else index

    @cached_property
    def live(self) -> frozenset[int]:
        """Indices of the nodes that the logits depend on."""
        found: set[int] = set()
        waiting = [self.output]
        while waiting:
            node = self.producer(waiting.pop())
            if node is not None and node.index not in found:
                found.add(node.index)
                waiting.extend(node.inputs)
        return frozenset(found)

    @cached_property
    def _consumers(self) -> dict[int, list[Node]]:
        table: dict[int, list[Node]] = {}
        for node in self.nodes:
            if node.index in self.live:
                for value in dict.fromkeys(node.inputs):
                    table.setdefault(value, []).append(node)
        return table

    def consumers(self, value: int) -> list[Node]:
        """The nodes on the way to the logits that read a value, in forward order."""
        return self._consumers.get(value, [])

    def reached(self, source: int, first: int, end: int) -> set[int]:
        """Values that depend on `source` through nodes `[first, end)` alone, itself included."""
        found = {source}
        for node in self.nodes[first:end]:
            if not found.isdisjoint(node.inputs):
                found.update(node.outputs)
        return found
