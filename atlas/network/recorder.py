"""Hooks that hand over the outputs of chosen layers the moment they are there, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from atlas.errors import NetworkError
from atlas.types import Layer


class _StopError(Exception):
    """Ends a forward pass of one recorder after its last wanted layer."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(
            "a forward pass was stopped after its last wanted layer; call Recorder.run(x), not the network"
        )
        self.recorder = recorder


class Recorder:
    """A context in which each forward pass of `module` hands over the outputs of `layers`.

    `take(layer, output)`: output as a view (N, C, H, W), or (N, C, 1, 1) of a linear layer; it is to be reduced or
    copied at once, as an in-place operation may change it when `take` has returned. The grad mode is the caller's.
    `inputs`: calls (module, number) whose first input is handed to `take_input` likewise, for the code.
    `stop`: `run(x)` ends the pass after the last of them. Threads need a recorder and a network each.
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
    ) -> None:
        self.module, self.take, self.take_input, self.stop = module, take, take_input, stop
        self._layers: dict[str, dict[int, list[Layer]]] = {}
        for layer in layers:
            self._layers.setdefault(layer.module, {}).setdefault(layer.call, []).append(layer)
        self._inputs = {(str(name), int(number)) for name, number in inputs}
        self._wanted = len(layers) + len(self._inputs)
        self._taken = 0
        self._begun: dict[str, int] = {}
        self._ended: dict[str, int] = {}
        self._handles: list[RemovableHandle] = []

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
            result: Tensor = self.module(x)
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
            self.take(layer, as_maps(output, layer.channel_axis))
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
