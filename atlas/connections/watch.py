"""Runs a network and hands over what each layer reads, and the sum that it makes of it, the moment they are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from atlas.connections.apart import ADDITIONS, Apart
from atlas.explain.backward import as_in_a_run
from atlas.network.recorder import Recorder, as_maps, maps_of
from atlas.network.tape import leaves
from atlas.types import Layer

TakeInput = Callable[[Apart, int, Tensor], None]
"""Given a layer, which of its addends (0 for what a convolution or linear layer reads) and its maps (N, C, h, w)."""
TakeSum = Callable[[Apart, Tensor], None]
"""Given a layer and its maps (N, C, h, w) before anything that follows the sum."""


@torch.no_grad()
def run(module: nn.Module, aparts: Sequence[Apart], inputs: Tensor, take: TakeInput, take_sum: TakeSum) -> None:
    """One forward pass of `inputs` (N, C, H, W). What is handed over is to be used, or copied, at once.

    The network is left as it was. Layers that cannot be taken apart are passed over.
    """
    sound = [each for each in aparts if each.why is None]
    sums = {each.layer.name: each for each in sound if not each.addends}
    reads: dict[tuple[str, int], list[Apart]] = {}
    for each in sums.values():
        reads.setdefault(each.call, []).append(each)

    blocks = [each for each in sound if each.addends]
    additions = _Additions(blocks, take, take_sum)

    def take_layer(layer: Layer, output: Tensor) -> None:
        with additions.pause():
            take_sum(sums[layer.name], output)

    def before(name: str, called: nn.Module, arguments: Any, named: dict[str, Any]) -> None:
        calls[name] = calls.get(name, 0) + 1
        tensor = next(leaves((arguments, named), Tensor))
        with additions.pause():
            for each in reads.get((name, calls[name]), ()):
                take(each, 0, read_maps(each.layer, tensor, isinstance(called, nn.Linear)))

    calls: dict[str, int] = {}
    with ExitStack() as stack:
        stack.enter_context(as_in_a_run(module))
        for name in {name for name, _ in reads}:
            handle = module.get_submodule(name).register_forward_pre_hook(partial(before, name), with_kwargs=True)
            stack.callback(handle.remove)
        recorder = Recorder(module, [each.layer for each in sums.values()], take_layer)
        stack.enter_context(recorder)
        if blocks:
            stack.enter_context(_WholeLinear(additions))
            stack.enter_context(additions)
        recorder.run(inputs)


def read_maps(layer: Layer, tensor: Tensor, last: bool) -> Tensor:
    """What a layer reads, as maps (N, C, h, w) on the grid of what it gives; `last`: its channels lie last."""
    if layer.layout is not None:
        return maps_of(layer, tensor)
    return as_maps(tensor, tensor.dim() - 1 if last else 1)


class _Additions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the additions of a forward pass as `trace` does, and hands over those that are branches of blocks."""

    def __init__(self, blocks: Sequence[Apart], take: TakeInput, take_sum: TakeSum) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.take, self.take_sum, self.paused, self.count = take, take_sum, False, 0
        self.parts: dict[int, list[tuple[Apart, int, int]]] = {}
        self.roots: dict[int, list[Apart]] = {}
        for block in blocks:
            self.roots.setdefault(block.root, []).append(block)
            for number, addend in enumerate(block.addends):
                self.parts.setdefault(addend.ordinal, []).append((block, number, addend.place))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.paused or func._schema.name.replace("::", ".") not in ADDITIONS:
            return func(*args, **kwargs)
        here, self.count = self.count, self.count + 1
        with self.pause():
            for block, number, place in self.parts.get(here, ()):
                self.take(block, number, maps_of(block.layer, args[place]))
            result = func(*args, **kwargs)
            for block in self.roots.get(here, ()):
                self.take_sum(block, maps_of(block.layer, result))
        return result

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Additions in here are not the network's."""
        before, self.paused = self.paused, True
        try:
            yield
        finally:
            self.paused = before


class _WholeLinear(TorchFunctionMode):
    """Additions inside a linear layer are no additions of the network, as in `trace`."""

    def __init__(self, additions: _Additions) -> None:
        super().__init__()
        self.additions = additions

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not F.linear:
            return func(*args, **(kwargs or {}))
        with self.additions.pause():
            return func(*args, **(kwargs or {}))


@contextmanager
def held(module: nn.Module, layers: Sequence[Layer], means: Mapping[str, Tensor]) -> Iterator[None]:
    """In here every recorded layer gives, whatever it reads, the map that holds its channels' `means` (C,) everywhere.

    A layer without means, or that is a function call, runs as it is. No hook remains.
    """
    by_module: dict[str, dict[int, Layer]] = {}
    for layer in layers:
        if layer.name in means and not layer.function:
            by_module.setdefault(layer.module, {})[layer.call] = layer
    calls: dict[str, int] = {}

    def replace(name: str, _module: nn.Module, _arguments: Any, output: Any) -> Any:
        calls[name] = calls.get(name, 0) + 1
        layer = by_module[name].get(calls[name])
        if layer is None:
            return output
        first = next(leaves(output, Tensor))
        shape = [1] * first.dim()
        shape[layer.channel_axis] = -1
        mean = means[layer.name].to(first).reshape(shape).expand_as(first).clone()
        return mean if isinstance(output, Tensor) else (mean, *output[1:])

    with ExitStack() as stack:
        for name in by_module:
            handle = module.get_submodule(name).register_forward_hook(partial(replace, name))
            stack.callback(handle.remove)
        yield
