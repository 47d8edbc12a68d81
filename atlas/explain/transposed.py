"""The way back through the first convolution, which is more than half of the whole way.

A library's transposed convolution is made for many channels; towards an image there are three, and it takes five times
its forward pass. Here the strided one is a plain convolution: input pixel `u = s·q + a` gets Σ_t signal[q − t] ·
weight[s·t + a], so each phase `a` is a convolution of the signal, all phases are channels of one, and shuffling them
gives the picture (the sub-pixel form of Shi et al. 2016). The sums are the same, in another order.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

FEW = 4
"""Input channels up to which this way back is used."""


def to_image(
    signal: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int], size: torch.Size
) -> Tensor:
    """The transposed convolution of `signal` (N, O, h, w) with `weight` (O, I, kh, kw): (N, I, H, W) of `size`."""
    outputs, inputs, kh, kw = weight.shape
    (sy, sx), (py, px) = stride, padding
    ty, tx = -(-kh // sy), -(-kw // sx)
    phases = F.pad(weight, (0, tx * sx - kw, 0, ty * sy - kh)).view(outputs, inputs, ty, sy, tx, sx)
    kernel = phases.permute(1, 3, 5, 0, 2, 4).reshape(inputs * sy * sx, outputs, ty, tx).flip(2, 3)
    found = F.conv2d(signal, kernel.contiguous(memory_format=torch.channels_last), padding=(ty - 1, tx - 1))
    n, _, h, w = found.shape  # (N, I·sy·sx, h, w)
    picture = found.view(n, inputs, sy, sx, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, inputs, h * sy, w * sx)
    return F.pad(picture, (-px, size[3] + px - w * sx, -py, size[2] + py - h * sy))


class _Convolution(torch.autograd.Function):
    """A convolution of an image with weights that are constant."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], padding: tuple[int, int]
    ) -> Tensor:
        ctx.weight, ctx.stride, ctx.padding, ctx.size = weight, stride, padding, x.shape
        return torch.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> tuple[Tensor | None, ...]:
        return to_image(signals[0], ctx.weight, ctx.stride, ctx.padding, ctx.size), None, None, None, None


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:  # fmt: skip
    """`torch.conv2d` with that way back, or None where it is not for it (no stride, channels, groups)."""
    one = x.ndim == 4 and groups == 1 and _pair(dilation) == (1, 1) and not isinstance(padding, str)
    constant = not weight.requires_grad and not (bias is not None and bias.requires_grad)
    if not (one and constant and weight.shape[1] <= FEW and max(_pair(stride)) > 1):
        return None
    return _Convolution.apply(x, weight, bias, _pair(stride), _pair(padding))  # type: ignore[no-untyped-call, no-any-return]


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))
