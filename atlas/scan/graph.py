"""One forward pass of a network as a graph of ATen operations and the module calls they were made in.

The graph is of *values*, not of tensors: an in-place operation makes a new value of its tensor, and of each tensor that
shares its memory, so that what a hook saw before the operation and what a later operation reads are told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from atlas.errors import NetworkError

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
    draws random numbers.
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
    """A traced forward pass. `input` and `output` are values; `calls` in the order in which they began."""

    modules: dict[str, nn.Module]
    nodes: list[Node] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    calls: dict[Call, ModuleCall] = field(default_factory=dict)
    input: int = 0
    output: int = 0

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


class _Tape:
    """What the modes and hooks write on. Tensors are kept, so that their ids stay theirs."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.kept: list[Tensor] = []
        self.current: dict[int, int] = {}  # id of a tensor → its value now
        self.sharing: dict[int, list[Tensor]] = {}  # storage → tensors over it, bases before their views
        self.view_of: dict[int, tuple[Tensor, Node, int]] = {}  # id of a view → its base, the node and which output
        self.stack: list[Call] = []
        self.counts: dict[str, int] = {}
        self.paused = False

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Operations in here are not written down."""
        before, self.paused = self.paused, True
        try:
            yield
        finally:
            self.paused = before

    def value(self, tensor: Tensor) -> int:
        """The value a tensor has now; one not seen before is a constant, or an untraced alias of one that was."""
        if id(tensor) not in self.current:
            twin = next((t for t in self.sharing.get(_storage(tensor), []) if _same_memory(t, tensor)), None)
            self._bind(tensor, self._new(tensor, None) if twin is None else self.current[id(twin)])
        return self.current[id(tensor)]

    def _new(self, tensor: Tensor, producer: int | None) -> int:
        numbers = None
        small = tensor.dtype in (torch.int64, torch.int32) and tensor.dim() == 1 and tensor.numel() <= 65536
        if small and tensor.device.type != "meta":
            with self.pause():
                numbers = tuple(tensor.tolist())
        return self._add(tuple(tensor.shape), producer, numbers)

    def _add(self, shape: tuple[int, ...], producer: int | None, numbers: tuple[int, ...] | None = None) -> int:
        self.graph.values.append(Value(len(self.graph.values), shape, producer, numbers))
        return self.graph.values[-1].id

    def _bind(self, tensor: Tensor, value: int) -> None:
        if id(tensor) not in self.current:
            self.kept.append(tensor)
            self.sharing.setdefault(_storage(tensor), []).append(tensor)
        self.current[id(tensor)] = value

    def _node(self, op: str, args: Any, kwargs: Any, outputs: Sequence[int], tags: Any = ()) -> Node:
        """Append a node; `args` hold `Ref`s. The output values name `len(nodes)` as their producer already."""
        inputs = tuple(ref.value for ref in _leaves((args, kwargs), Ref))
        kinds = torch.Tag.pointwise in tags, torch.Tag.nondeterministic_seeded in tags
        node = Node(len(self.graph.nodes), op, args, kwargs, inputs, tuple(outputs), tuple(self.stack), *kinds)
        self.graph.nodes.append(node)
        return node

    def record(self, op: str, call: Callable[[], Any], args: Any, kwargs: Any, written: list[Tensor], tags: Any) -> Any:
        """Run one operation and write it down. `written`: the tensors that it changes."""
        with self.pause():
            sources = list(_leaves((args, kwargs), Tensor))
            refs = _replace(args, self.value), _replace(kwargs, self.value)
            result = call()
            tensors = list({id(t): t for t in [*_leaves(result, Tensor), *written]}.values())
            values = [self._new(tensor, len(self.graph.nodes)) for tensor in tensors]
            node = self._node(op, *refs, values, tags)
            for position, (tensor, value) in enumerate(zip(tensors, values, strict=True)):
                self._bind(tensor, value)
                base = next((s for s in sources if s is not tensor and _storage(s) == _storage(tensor)), None)
                if base is not None and not any(tensor is w for w in written):
                    self.view_of[id(tensor)] = (base, node, position)
            if torch.Tag.inplace_view not in tags:
                for tensor in written:
                    self._spread(tensor)
        return result

    def _spread(self, written: Tensor) -> None:
        """After a write, give every other tensor over the changed memory its new value."""
        fresh = {id(written)}
        for other in self.sharing[_storage(written)]:
            if other is written or not _overlap(written, other):
                continue
            base, node, position = self.view_of.get(id(other), (None, None, 0))
            if _same_memory(written, other):
                self.current[id(other)] = self.current[id(written)]
            elif base is not None and node is not None and id(base) in fresh:
                self._redo_view(base, node, position, other)
            else:
                self._undo_view(written, other)
            fresh.add(id(other))

    def _redo_view(self, base: Tensor, node: Node, position: int, view: Tensor) -> None:
        """The value of an output of `node`, a view, after its base has got a new value."""
        old, new = node.inputs[0], self.current[id(base)]
        args = _replace(node.args, lambda ref: new if ref.value == old else ref.value, Ref)
        self._remake(view, node.op, args, node.outputs, position)

    def _undo_view(self, written: Tensor, other: Tensor) -> None:
        """The value of `other` after a write through `written`, a view of it."""
        base, node, _ = self.view_of.get(id(written), (None, None, 0))
        new = Ref(self.current[id(written)])
        op, args = PARTIAL_WRITE, (Ref(self.current[id(other)]), new)
        if base is other and node is not None and written.numel() == other.numel():
            if node.op in ("aten.view", "aten._unsafe_view", "aten.unsqueeze", "aten.squeeze"):
                op, args = "aten.view", (new, tuple(other.shape))  # type: ignore[assignment]
            elif node.op == "aten.transpose":
                op, args = node.op, (new, *node.args[1:])
            elif node.op == "aten.permute":
                order = [d % other.dim() for d in node.args[1]]
                op, args = node.op, (new, tuple(order.index(d) for d in range(len(order))))  # type: ignore[assignment]
        self._remake(other, op, args, (self.current[id(other)],), 0)

    def _remake(self, tensor: Tensor, op: str, args: Any, like: Sequence[int], position: int) -> None:
        values = [self._add(self.graph.values[v].shape, len(self.graph.nodes)) for v in like]
        self._node(op, args, {}, values)
        self.current[id(tensor)] = values[position]

    def enter(self, name: str, arguments: Any) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1
        call = Call(name, self.counts[name])
        with self.pause():
            inputs = tuple(self.value(t) for t in _leaves(arguments, Tensor))
        self.graph.calls[call] = ModuleCall(call, inputs, first=len(self.graph.nodes))
        self.stack.append(call)

    def leave(self, result: Any) -> None:
        record = self.graph.calls[self.stack.pop()]
        with self.pause():
            record.outputs = tuple(self.value(t) for t in _leaves(result, Tensor))
        record.single, record.end = isinstance(result, Tensor), len(self.graph.nodes)


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, tape: _Tape) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tape = tape

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.tape.paused:
            return func(*args, **kwargs)
        written: list[Tensor] = []
        for place, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                value = args[place] if place < len(args) else kwargs.get(argument.name)
                written.extend(_leaves(value, Tensor))
        op = func._schema.name.replace("::", ".")
        return self.tape.record(op, lambda: func(*args, **kwargs), args, kwargs, written, func.tags)


class _Linear(TorchFunctionMode):
    """Keeps a linear layer whole: below it ATen makes views and products of it, other ones a layout."""

    def __init__(self, tape: _Tape) -> None:
        super().__init__()
        self.tape = tape

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.linear or self.tape.paused:
            return func(*args, **kwargs)
        return self.tape.record("aten.linear", lambda: func(*args, **kwargs), args, kwargs, [], ())


def trace(module: nn.Module, example: Tensor) -> Graph:
    """The graph of one forward pass in eval mode, without gradients.

    `example`: (1, 3, H, W) on the module's device; it is not changed. The module's modes are put back, and no hook
    remains, also after an exception. Raises `NetworkError` where the forward pass fails, or returns anything but one
    tensor of logits (1, classes). Python side effects of `forward` happen once.
    """
    graph = Graph(modules=dict(module.named_modules()))
    tape = _Tape(graph)
    training = [(m, m.training) for m in module.modules()]
    with ExitStack() as stack:
        stack.callback(_restore, training)
        for name, each in graph.modules.items():
            before = each.register_forward_pre_hook(_entering(tape, name), with_kwargs=True)
            after = each.register_forward_hook(lambda _m, _a, result: tape.leave(result))
            stack.callback(before.remove)
            stack.callback(after.remove)
        module.eval()
        image = example.detach().clone()
        graph.input = tape.value(image)
        stack.enter_context(torch.no_grad())
        stack.enter_context(_Linear(tape))
        stack.enter_context(_Operations(tape))
        try:
            result = module(image)
        except Exception as error:
            shape, reason = tuple(example.shape[1:]), str(error).strip().splitlines()[:1]
            raise NetworkError(
                f"network: its forward pass fails on an image of {shape}: {type(error).__name__} {' '.join(reason)}; "
                "give it the size it was made for"
            ) from error
    if not isinstance(result, Tensor) or result.dim() != 2 or len(result) != 1:
        found = f"a tensor {tuple(result.shape)}" if isinstance(result, Tensor) else f"a {type(result).__name__}"
        raise NetworkError(f"network: returns {found} for one image; expected one tensor of logits (1, classes)")
    graph.output = tape.value(result)
    return graph


def _restore(training: list[tuple[nn.Module, bool]]) -> None:
    for module, mode in training:
        module.training = mode


def _entering(tape: _Tape, name: str) -> Callable[[nn.Module, Any, Any], None]:
    return lambda _module, args, kwargs: tape.enter(name, (args, kwargs))


def _leaves(tree: Any, kind: type) -> Iterator[Any]:
    if isinstance(tree, kind):
        yield tree
    elif isinstance(tree, list | tuple):
        for each in tree:
            yield from _leaves(each, kind)
    elif isinstance(tree, dict):
        for each in tree.values():
            yield from _leaves(each, kind)


def _replace(tree: Any, number: Callable[[Any], int], kind: type = Tensor) -> Any:
    """`tree` with each leaf of a kind as `Ref(number(leaf))`, and lists as tuples."""
    if isinstance(tree, kind):
        return Ref(number(tree))
    if isinstance(tree, list | tuple):
        return tuple(_replace(each, number, kind) for each in tree)
    if isinstance(tree, dict):
        return {name: _replace(each, number, kind) for name, each in tree.items()}
    return tree


def _storage(tensor: Tensor) -> int:
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # sparse and the like: no memory that can be shared
        return -id(tensor)


def _same_memory(a: Tensor, b: Tensor) -> bool:
    return (
        a.shape == b.shape
        and a.stride() == b.stride()
        and a.storage_offset() == b.storage_offset()
        and a.dtype == b.dtype
    )


def _overlap(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors over one storage share an element."""
    if a.dtype != b.dtype:
        return True
    mask = torch.zeros(a.untyped_storage().nbytes() // a.element_size(), dtype=torch.bool)
    mask.as_strided(a.shape, a.stride(), a.storage_offset()).fill_(True)
    return bool(mask.as_strided(b.shape, b.stride(), b.storage_offset()).any())
