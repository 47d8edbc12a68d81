"""Hooks that hand over the outputs of chosen layers the moment they are there, and leave nothing behind.

How outputs become maps is decided here, for all: maps are (N, C, h, w); of a layer of tokens (N, C, 1, P), where its
prefix tokens come first, then the patches, row by row. A position (y, x) of tokens is a patch, and of y = −1 the prefix
token number x. `positions_of`, `flat_of`, `values_at` and `cell` are the ways between an index and a position.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from atlas.arrays import Ints
from atlas.errors import NetworkError
from atlas.network.functions import FUNCTIONS, opened
from atlas.network.tape import leaves
from atlas.types import Box, Layer


class _StopError(Exception):
    """Ends a forward pass of one recorder after its last wanted layer."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(
            "a forward pass was stopped after its last wanted layer; call Recorder.run(x), not the network"
        )
        self.recorder = recorder


class _Functions(TorchFunctionMode):
    """Hands over the results of function calls by their number in a forward pass.

    Also where none is wanted it keeps PyTorch from running attention as one operation in which no layer can be seen.
    """

    def __init__(self, wanted: dict[int, list[Layer]], take: Callable[[Layer, Tensor], None]) -> None:
        super().__init__()
        self._wanted, self._take, self._count = wanted, take, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inside = opened(func)
        if inside is not None:
            with self:
                return inside(*args, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        if func in FUNCTIONS:
            self._count += 1
            for layer in self._wanted.get(self._count, ()):
                self._take(layer, result)
        return result


class Recorder:
    """A context in which each forward pass of `module` hands over the outputs of `layers`.

    `take(layer, output)`: output as maps, most often a view; it is to be reduced or copied at once, as an in-place
    operation may change it when `take` has returned. The grad mode is the caller's.
    `inputs`: calls (module, number) whose first input is handed to `take_input` likewise, for the code.
    `stop`: `run(x)` ends the pass after the last of them. `raw`: outputs are handed over as they are. Threads need a
    recorder and a network each.
    """

    def __init__(
        self,
        module: nn.Module,
        layers: Sequence[Layer],
        take: Callable[[Layer, Tensor], None],
        *,
        inputs: Sequence[tuple[str, int]] = (),
        take_input: Callable[[tuple[str, int], Tensor], None] | None = None,
        stop: bool = False,
        raw: bool = False,
    ) -> None:
        self.module, self.take, self.take_input, self.stop, self.raw = module, take, take_input, stop, raw
        self._layers: dict[str, dict[int, list[Layer]]] = {}
        self._functions: dict[int, list[Layer]] = {}
        for layer in layers:
            if layer.function:
                self._functions.setdefault(layer.function, []).append(layer)
                continue
            self._layers.setdefault(layer.module, {}).setdefault(layer.call, []).append(layer)
        self._inputs = {(str(name), int(number)) for name, number in inputs}
        self._wanted = len(layers) + len(self._inputs)
        self._taken = 0
        self._begun: dict[str, int] = {}
        self._ended: dict[str, int] = {}
        self._handles: list[RemovableHandle] = []
        fused = (nn.MultiheadAttention, nn.TransformerEncoderLayer)
        self._governed = bool(self._functions) or any(isinstance(each, fused) for each in module.modules())

    def __enter__(self) -> Recorder:
        modules = dict(self.module.named_modules())
        try:
            self._handles.append(self.module.register_forward_pre_hook(self._restart))
            for name in {*self._layers, *(name for name, _ in self._inputs)}:
                if name not in modules:
                    raise NetworkError(f"layer {name}: the network has no such module; find its layers again")
                self._attach(name, modules[name])
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._remove()

    def _remove(self) -> None:
        while self._handles:
            self._handles.pop().remove()

    def _attach(self, name: str, module: nn.Module) -> None:
        if name in self._layers:
            self._handles.append(module.register_forward_hook(partial(self._after, name)))
        if any(name == wanted for wanted, _ in self._inputs):
            self._handles.append(module.register_forward_pre_hook(partial(self._before, name), with_kwargs=True))

    def run(self, x: Tensor) -> Tensor | None:
        """One forward pass; the logits, or None where it was stopped before them."""
        try:
            if self._governed:
                with _Functions(self._functions, self._hand_over):
                    result: Tensor = self.module(x)
            else:
                result = self.module(x)
        except _StopError as stop:
            if stop.recorder is not self:
                raise
            return None
        return result

    def _restart(self, module: nn.Module, arguments: Any) -> None:
        self._taken = 0
        self._begun.clear()
        self._ended.clear()

    def _before(self, name: str, module: nn.Module, arguments: Any, named: dict[str, Any]) -> None:
        number = self._begun[name] = self._begun.get(name, 0) + 1
        if (name, number) in self._inputs and self.take_input is not None:
            tensor = next(v for v in (*arguments, *named.values()) if isinstance(v, Tensor))
            last = isinstance(module, nn.Linear)
            self.take_input((name, number), as_maps(tensor, tensor.dim() - 1 if last else 1))
            if self.stop:
                self._stop_after_last()

    def _after(self, name: str, module: nn.Module, arguments: Any, output: Tensor) -> None:
        number = self._ended[name] = self._ended.get(name, 0) + 1
        for layer in self._layers[name].get(number, ()):
            self._hand_over(layer, next(leaves(output, Tensor)))

    def _hand_over(self, layer: Layer, output: Tensor) -> None:
        self.take(layer, output if self.raw else maps_of(layer, output))
        if self.stop:
            self._stop_after_last()

    def _stop_after_last(self) -> None:
        self._taken += 1
        if self._taken == self._wanted:
            raise _StopError(self)


def as_maps(tensor: Tensor, channel_axis: int = 1) -> Tensor:
    """Maps (N, C, H, W), of the same memory, of (N, C), (N, T, C), (N, C, T), (N, H, W, C); absent axes are 1."""
    tensor = tensor if channel_axis == 1 else tensor.movedim(channel_axis, 1)  # (N, C, …)
    while tensor.dim() < 4:
        tensor = tensor.unsqueeze(2)
    return tensor


def maps_of(layer: Layer, output: Tensor) -> Tensor:
    """The layer's output as maps (N, C, h, w), or (N, C, 1, P) of tokens; of the same memory, but for windows."""
    layout = layer.layout
    if layout is None:
        return as_maps(output, layer.channel_axis)
    if layout.windows == 1:
        apart = output.movedim((layout.images, layer.channel_axis), (0, -1))  # (N, …, C)
    else:
        parts = (layout.windows, -1) if layout.inner else (-1, layout.windows)
        apart = output.unflatten(layout.images, parts)  # type: ignore[no-untyped-call]
        channels = layer.channel_axis + (layer.channel_axis > layout.images)
        apart = apart.movedim((layout.images + layout.inner, channels), (0, -1))
    rows = apart.flatten(1, -2) if apart.dim() > 2 else apart.unsqueeze(1)  # (N, positions, C)
    if layout.order is not None:
        rows = rows.index_select(1, _order(layout.order, rows.device))
    return rows.transpose(1, 2).unsqueeze(2)


@cache
def _order(order: tuple[int, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(order, device=device)


def positions_of(layer: Layer, flat: Ints, width: int | None = None) -> tuple[Ints, Ints]:
    """y and x of places in flattened maps; y is −1, and x its number, for a prefix token.

    `width` of the maps, where they are those of a crop.
    """
    flat = np.asarray(flat)
    if not layer.tokens:
        y, x = np.divmod(flat, width or layer.width)
        return y, x
    patch = flat - layer.prefix_tokens
    y, x = np.divmod(np.maximum(patch, 0), max(layer.width, 1))
    return np.where(patch < 0, -1, y), np.where(patch < 0, flat, x)


def flat_of(layer: Layer, y: Any, x: Any, width: int | None = None) -> Any:
    """The inverse of `positions_of`, of numbers, arrays or tensors."""
    if not layer.tokens:
        return y * (width or layer.width) + x
    prefix = (y < 0) * 1
    return prefix * x + (1 - prefix) * (layer.prefix_tokens + y * layer.width + x)


def values_at(layer: Layer, maps: Tensor, channels: Tensor, ys: Tensor, xs: Tensor) -> Tensor:
    """Values (N,) of maps (N, C, h, w) at one channel and position (y, x) a row."""
    flat = flat_of(layer, ys.long(), xs.long(), maps.shape[-1])
    return maps.flatten(2)[torch.arange(len(maps), device=maps.device), channels, flat]


def cell(layer: Layer, y: int, x: int, height: int, width: int) -> Box:
    """The box of input pixels, of `height` × `width`, that a position stands for; of a prefix token all of them."""
    if y < 0 or not layer.height:
        return Box(0.0, 0.0, float(width), float(height))
    down, right = height / layer.height, width / layer.width
    return Box(x * right, y * down, (x + 1) * right, (y + 1) * down)
