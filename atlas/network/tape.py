"""Writes operations and module calls down as a graph, and follows what in-place operations do to shared memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from atlas.network.nodes import PARTIAL_WRITE, Call, Graph, ModuleCall, Node, Ref, Value


class Tape:
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

    def _node(self, op: str, args: Any, kwargs: Any, outputs: Sequence[int], *kinds: bool) -> Node:
        """Append a node; `args` hold `Ref`s. The output values name `len(nodes)` as their producer already."""
        inputs = tuple(ref.value for ref in leaves((args, kwargs), Ref))
        node = Node(len(self.graph.nodes), op, args, kwargs, inputs, tuple(outputs), tuple(self.stack), *kinds)
        self.graph.nodes.append(node)
        return node

    def record(self, op: str, call: Callable[[], Any], args: Any, kwargs: Any, written: list[Tensor], tags: Any) -> Any:
        """Run one operation and write it down. `written`: the tensors that it changes."""
        with self.pause():
            sources = list(leaves((args, kwargs), Tensor))
            refs = _replace(args, self.value), _replace(kwargs, self.value)
            drawn = _generators() if torch.Tag.nondeterministic_seeded in tags else []
            result = call()
            draws = bool(drawn) and not all(map(torch.equal, drawn, _generators()))
            tensors = list({id(t): t for t in [*leaves(result, Tensor), *written]}.values())
            values = [self._new(tensor, len(self.graph.nodes)) for tensor in tensors]
            node = self._node(op, *refs, values, torch.Tag.pointwise in tags, draws)
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
            inputs = tuple(self.value(t) for t in leaves(arguments, Tensor))
        self.graph.calls[call] = ModuleCall(call, inputs, first=len(self.graph.nodes))
        self.stack.append(call)

    def leave(self, result: Any) -> None:
        record = self.graph.calls[self.stack.pop()]
        with self.pause():
            record.outputs = tuple(self.value(t) for t in leaves(result, Tensor))
        record.single, record.end = isinstance(result, Tensor), len(self.graph.nodes)


def leaves(tree: Any, kind: type) -> Iterator[Any]:
    if isinstance(tree, kind):
        yield tree
    elif isinstance(tree, list | tuple):
        for each in tree:
            yield from leaves(each, kind)
    elif isinstance(tree, dict):
        for each in tree.values():
            yield from leaves(each, kind)


def _replace(tree: Any, number: Callable[[Any], int], kind: type = Tensor) -> Any:
    """`tree` with each leaf of a kind as `Ref(number(leaf))`, and lists as tuples."""
    if isinstance(tree, kind):
        return Ref(number(tree))
    if isinstance(tree, list | tuple):
        return tuple(_replace(each, number, kind) for each in tree)
    if isinstance(tree, dict):
        return {name: _replace(each, number, kind) for name, each in tree.items()}
    return tree


def _generators() -> list[Tensor]:
    """States of the default random generators."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else ())]


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
