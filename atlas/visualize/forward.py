"""One forward pass that keeps the outputs of some layers, and goes no further than the last of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from torch import Tensor, nn

from atlas.errors import NetworkError
from atlas.types import Layer


class Place(Protocol):
    """What a tap needs to know of a layer; `atlas.types.Layer` is one."""

    @property
    def name(self) -> str: ...
    @property
    def module(self) -> str: ...
    @property
    def call(self) -> int: ...
    @property
    def channel_axis(self) -> int: ...


@dataclass(frozen=True)
class ModulePlace:
    """The output of the first call of any module of the network, by its name."""

    module: str
    call: int = 1
    channel_axis: int = 1

    @property
    def name(self) -> str:
        return self.module


class _ReachedError(Exception):
    """All that is wanted is there: the rest of the network need not run."""


class Taps:
    """A context that gives the outputs of layers for a batch, with their gradients; it leaves no hook behind."""

    def __init__(self, module: nn.Module, places: Sequence[Place]) -> None:
        self._module, self._places = module, list(places)
        self._found: dict[int, Tensor] = {}
        self._calls: dict[str, int] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> Taps:
        for name in dict.fromkeys(place.module for place in self._places):
            handle = self._module.get_submodule(name).register_forward_hook(
                lambda _module, _inputs, output, name=name: self._take(name, output)
            )
            self._handles.append(handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._found.clear()

    def _take(self, name: str, output: Any) -> None:
        self._calls[name] = self._calls.get(name, 0) + 1
        for index, place in enumerate(self._places):
            if place.module == name and place.call == self._calls[name] and isinstance(output, Tensor):
                last = len(self._found) == len(self._places) - 1
                # The copy: what follows may write into the output. The last one's followers do not run.
                self._found[index] = output if last else output.clone()
        if len(self._found) == len(self._places):
            raise _ReachedError

    def __call__(self, inputs: Tensor) -> list[Tensor]:
        """The layers' outputs as (N, C, h, w), in the order of the places. Raises `NetworkError`."""
        self._found.clear()
        self._calls.clear()
        with suppress(_ReachedError):
            self._module(inputs)
        missing = [place.name for index, place in enumerate(self._places) if index not in self._found]
        if missing:
            raise NetworkError(f"layer {missing[0]}: gave no tensor in a forward pass; name another layer")
        return [_as_map(self._found[index], place) for index, place in enumerate(self._places)]


def _as_map(output: Tensor, place: Place) -> Tensor:
    """An output as (N, C, h, w); a vector has one position, and of tokens the patches on their grid remain."""
    output = output.movedim(place.channel_axis, 1) if place.channel_axis != 1 else output
    if isinstance(place, Layer) and place.tokens:
        return output[:, :, place.prefix_tokens :].reshape(*output.shape[:2], place.height, place.width)
    return output.reshape(*output.shape[:2], *(output.shape[2:] or (1, 1)))
