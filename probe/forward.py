"""One call of the network, for one image: every layer's maps as they pass, the logits, the code; neurons taken out.

A neuron is taken out where its layer is recorded: before the activation function that follows, as its response is. The
recorder writes the value into the layer's output the moment it is there, and nothing remains afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from atlas.errors import InputError
from atlas.network.layers import OUTPUT
from atlas.network.recorder import Recorder, maps_of
from atlas.types import Layer

Take = Callable[[Layer, Tensor], None]
Ablation = Mapping[str, Mapping[int, float]]
"""Layer, then channel, then the value that stands at every position of its map."""


class Outcome(NamedTuple):
    """Logits (N, classes), and codes (N, dimensions) where they were asked for."""

    logits: Tensor
    code: Tensor | None


def forward(
    module: nn.Module, inputs: Tensor, layers: Sequence[Layer], take: Take | None = None, *,
    ablation: Ablation | None = None, code: tuple[str, int] | None = None,
) -> Outcome:  # fmt: skip
    """Runs `inputs` (N, C, H, W). `take(layer, maps)` is handed each layer's maps (N, C, h, w), after the ablation.

    `layers` holds those that are taken and those in `ablation`. The network is left as it was.
    """
    ablation = ablation or {}
    codes: list[Tensor] = []

    def raw(layer: Layer, output: Tensor) -> None:
        silenced = ablation.get(layer.name)
        if silenced:
            maps = output.movedim(layer.channel_axis, 0)  # (C, …), the same memory
            for channel, value in silenced.items():
                maps[channel] = value
        if take is not None:
            take(layer, maps_of(layer, output))

    recorder = Recorder(
        module, layers, raw, raw=True, inputs=[] if code in (None, OUTPUT) else [code],
        take_input=lambda _, value: codes.append(value.float().mean((2, 3))),
    )  # fmt: skip
    with torch.inference_mode(), recorder:
        logits = recorder.run(inputs)
    assert logits is not None
    return Outcome(logits, codes[-1] if codes else logits.float() if code == OUTPUT else None)


@contextmanager
def silenced(module: nn.Module, layers: Sequence[Layer], ablation: Ablation) -> Iterator[None]:
    """Neurons taken out of every forward pass of the block, one with a way back too, and of crops.

    Raises `InputError` for a layer that is no module's first call: those have no hook of their own.
    """
    modules, handles = dict(module.named_modules()), []
    for layer in layers:
        if layer.function or layer.call != 1:
            raise InputError(f"ablate {layer.name}: pictures cannot be drawn without neurons of this layer")
    try:
        for layer in layers:

            def without(_: nn.Module, __: Any, output: Any, layer: Layer = layer) -> Any:
                if not isinstance(output, Tensor):
                    raise InputError(f"ablate {layer.name}: pictures cannot be drawn without neurons of this layer")
                changed = output.clone()
                maps = changed.movedim(layer.channel_axis, 0)
                for channel, value in ablation[layer.name].items():
                    maps[channel] = value
                return changed

            handles.append(modules[layer.module].register_forward_hook(without))
        yield
    finally:
        for handle in handles:
            handle.remove()
