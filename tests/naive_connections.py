"""Slow twins of `atlas.connections`: contributions with loops, removals by running on, choices by sorting lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from atlas.types import Layer


def conv_contributions(
    conv: nn.Conv2d, norm: nn.BatchNorm2d | None, image: Tensor, channel: int, y: int, x: int
) -> Any:
    """Contribution of every input map (C,) to `channel` at (y, x), for the input (C, h, w) of a convolution."""
    groups, per = conv.groups, conv.in_channels // conv.groups
    group = channel // (conv.out_channels // groups)
    scale = 1.0
    if norm is not None:
        scale = float(norm.weight[channel] / torch.sqrt(norm.running_var[channel] + norm.eps))
    out = np.zeros(conv.in_channels)
    for m in range(per):
        source = group * per + m
        for i in range(conv.kernel_size[0]):
            for j in range(conv.kernel_size[1]):
                row = y * conv.stride[0] - conv.padding[0] + i * conv.dilation[0]
                column = x * conv.stride[1] - conv.padding[1] + j * conv.dilation[1]
                if 0 <= row < image.shape[1] and 0 <= column < image.shape[2]:
                    out[source] += scale * float(conv.weight[channel, m, i, j]) * float(image[source, row, column])
    return out[group * per : (group + 1) * per]


def run_with(module: nn.Module, inputs: Tensor, layer: Layer, changed: dict[tuple[str, int, int], float]) -> Tensor:
    """The layer's output where maps (module, channel axis, channel) are set to constants on the way."""
    handles, kept = [], []

    def change(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            output = output.clone()
            for (where, axis, channel), value in changed.items():
                if where == name:
                    output.select(axis, channel).fill_(value)
            return output

        return hook

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        kept.append(output.clone())

    for name in {where for where, _, _ in changed}:
        handles.append(module.get_submodule(name).register_forward_hook(change(name)))
    handles.append(module.get_submodule(layer.module).register_forward_hook(keep))
    with torch.no_grad():
        module(inputs)
    for handle in handles:
        handle.remove()
    return kept[layer.call - 1]


def strongest(values: list[float], count: int) -> list[tuple[int, int]]:
    """(place, rank): the largest positive values, then the smallest negative ones, ranked from `count`."""
    up = sorted((i for i, v in enumerate(values) if v > 0), key=lambda i: (-values[i], i))[:count]
    down = sorted((i for i, v in enumerate(values) if v < 0), key=lambda i: (values[i], i))[:count]
    return [(i, n) for n, i in enumerate(up)] + [(i, count + n) for n, i in enumerate(down)]
