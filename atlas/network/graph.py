"""One forward pass of a network as a graph of ATen operations and the module calls they were made in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from atlas.errors import NetworkError
from atlas.network.functions import FUNCTIONS, opened
from atlas.network.nodes import PARTIAL_WRITE, Call, Graph, ModuleCall, Node, Ref, Value
from atlas.network.tape import Tape, leaves

__all__ = ["PARTIAL_WRITE", "Call", "Graph", "ModuleCall", "Node", "Ref", "Value", "trace"]


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, tape: Tape) -> None:
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
                written.extend(leaves(value, Tensor))
        op = func._schema.name.replace("::", ".")
        return self.tape.record(op, lambda: func(*args, **kwargs), args, kwargs, written, func.tags)


class _Functions(TorchFunctionMode):
    """Counts `FUNCTIONS`, and keeps a linear layer whole: below it ATen makes views and products, by its layout."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self.tape = tape
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inside = opened(func)
        if inside is not None and not self.tape.paused:
            with self:
                return inside(*args, **kwargs)
        if func not in FUNCTIONS or self.tape.paused:
            return func(*args, **kwargs)
        self.count += 1
        number = self.count
        if func is F.linear:
            args = _positional(*args, **kwargs)
            result = self.tape.record("aten.linear", lambda: func(*args), args, {}, [], ())
        else:
            result = func(*args, **kwargs)
        self.tape.graph.functions[self.tape.value(result)] = number
        return result


def _positional(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Any, ...]:
    """The arguments of a linear layer, which some networks give by name."""
    return input, weight, bias


def trace(module: nn.Module, example: Tensor) -> Graph:
    """The graph of one forward pass in eval mode, without gradients.

    `example`: (N, C, H, W) on the module's device; it is not changed. The module's modes are put back, and no hook
    remains, also after an exception. Raises `NetworkError` where the forward pass fails, or returns anything but one
    tensor of logits (N, classes). Python side effects of `forward` happen once.
    """
    graph = Graph(modules=dict(module.named_modules()))
    tape = Tape(graph)
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
        stack.enter_context(_Functions(tape))
        stack.enter_context(_Operations(tape))
        try:
            result = module(image)
        except Exception as error:
            shape, reason = tuple(example.shape[1:]), str(error).strip().splitlines()[:1]
            raise NetworkError(
                f"network: its forward pass fails on an image of {shape}: {type(error).__name__} {' '.join(reason)}; "
                "give it the size it was made for"
            ) from error
    if not isinstance(result, Tensor) or result.dim() != 2 or len(result) != len(example):
        found = f"a tensor {tuple(result.shape)}" if isinstance(result, Tensor) else f"a {type(result).__name__}"
        raise NetworkError(f"network: returns {found} for one image; expected one tensor of logits (1, classes)")
    graph.output = tape.value(result)
    graph.parameters = {tape.current[id(p)]: name for name, p in module.named_parameters() if id(p) in tape.current}
    return graph


def _restore(training: list[tuple[nn.Module, bool]]) -> None:
    for module, mode in training:
        module.training = mode


def _entering(tape: Tape, name: str) -> Callable[[nn.Module, Any, Any], None]:
    return lambda _module, args, kwargs: tape.enter(name, (args, kwargs))
