"""A network that is run to a layer and no further, in eval mode, and left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from torch import Tensor, nn

from atlas.errors import NetworkError
from atlas.network.recorder import Recorder
from atlas.types import Layer


class StopAt:
    """Keeps the maps of a layer and stops the forward pass there. Leaves no hook behind."""

    def __init__(self, module: nn.Module, layer: Layer) -> None:
        self._layer = layer
        self._maps: Tensor | None = None
        self._recorder = Recorder(module, [layer], self._take, stop=True)

    def __enter__(self) -> StopAt:
        self._recorder.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._recorder.__exit__(kind, error, trace)
        self._maps = None

    def _take(self, layer: Layer, maps: Tensor) -> None:
        self._maps = maps

    def __call__(self, inputs: Tensor) -> Tensor:
        """The layer's maps (N, C, h, w), as `atlas.network.recorder` hands them over."""
        self._maps = None
        self._recorder.run(inputs)
        maps, self._maps = self._maps, None
        if maps is None:
            raise NetworkError(
                f"layer {self._layer.name}: call {self._layer.call} of module {self._layer.module!r} gave no tensor; "
                "name another layer"
            )
        return maps


@contextmanager
def as_in_a_run(module: nn.Module) -> Iterator[None]:
    """The module in eval mode, its parameters without gradients; modes and flags are restored, also after an error."""
    modes = [(m, m.training) for m in module.modules()]
    flags = [(p, p.requires_grad) for p in module.parameters()]
    try:
        for m, _ in modes:
            m.training = False
        for p, _ in flags:
            p.requires_grad_(False)
        yield
    finally:
        for m, mode in modes:
            m.training = mode
        for p, flag in flags:
            p.requires_grad_(flag)
