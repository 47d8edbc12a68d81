"""Linear combinations of filters, slowly: the network made linear, and asked pixel by pixel what it answers."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def linearised(module: nn.Module) -> nn.Module:
    """A float64 copy: no rectifiers, averages for maxima, no biases, batch norms without their shift."""
    out = copy.deepcopy(module).double().eval()
    for name, each in list(out.named_modules()):
        parent = out.get_submodule(name.rpartition(".")[0])
        if isinstance(each, nn.ReLU | nn.ReLU6 | nn.LeakyReLU):
            setattr(parent, name.rpartition(".")[2], nn.Identity())
        if isinstance(each, nn.MaxPool2d):
            pool = nn.AvgPool2d(each.kernel_size, each.stride, each.padding, each.ceil_mode)
            setattr(parent, name.rpartition(".")[2], pool)
        if isinstance(each, nn.Conv2d) and each.bias is not None:
            nn.init.zeros_(each.bias)
        if isinstance(each, nn.BatchNorm2d):
            nn.init.zeros_(each.bias)
            nn.init.zeros_(each.running_mean)  # type: ignore[arg-type]
    return out


def answers_to_impulses(linear: nn.Module, layer: str, size: int, y: int, x: int, pixels: Tensor) -> Tensor:
    """(C, P): the answers of all channels of `layer` at `(y, x)` to a 1 at each of `pixels` (P, 3): channel, y, x."""
    kept: list[Tensor] = []
    handle = linear.get_submodule(layer).register_forward_hook(lambda m, a, output: kept.append(output[0, :, y, x]))
    with torch.no_grad():
        for channel, row, column in pixels.tolist():
            image = torch.zeros(1, 3, size, size, dtype=torch.float64)
            image[0, channel, row, column] = 1
            linear(image)
    handle.remove()
    return torch.stack(kept, 1)
