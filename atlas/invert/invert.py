"""Inversion of codes (Mahendran & Vedaldi, Understanding Deep Image Representations by Inverting Them, CVPR 2015).

For what a layer keeps of an image, Φ₀ = Φ(x₀), an image x that minimises

    ‖Φ(x) − Φ₀‖² / ‖Φ₀‖² + λα · mean |x|⁶ + λTV · mean TV²(x)

is made from noise; x in the network's normalised units about the data's mean colour, β = 2 and α = 6 as in the paper.
Deviations: x is varied by its Fourier coefficients in units of the data's own magnitudes, which conditions the descent
(of pixels, 150 steps leave three times the error), by Adam with a falling rate, in place of momentum; both priors are
means over pixels, so that one weight serves every input size; λTV grows with depth, as the paper's three steps do, in
a geometric line, and the rate falls with it; x is kept within what 8 bits can store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from atlas.visualize.parametrisations import START, Space
from atlas.visualize.spectrum import basis

ALPHA = 1e-4
"""Weight of the α-norm."""
VARIATION = (1e-2, 1e-1)
"""Weight of the total variation at the input, and at the output."""
RATE, FALL = (0.3, 0.1), 0.05
"""Adam's first rate at the input, and at the output; and the share of it that is left at the last step."""

Encode = Callable[[Tensor], Tensor]
"""The network's normalised input (N, C, h, w) to what a layer keeps of it, (N, …)."""


@dataclass(frozen=True)
class Priors:
    """Weights of the two priors (both 0: the code alone), and Adam's first rate."""

    alpha: float
    variation: float
    rate: float = RATE[0]


def priors(depth: float) -> Priors:
    """Of a layer at `depth`, 0 at the input to 1 at the output."""
    return Priors(ALPHA, _between(VARIATION, depth), _between(RATE, depth))


def _between(ends: tuple[float, float], depth: float) -> float:
    return float(ends[0] * (ends[1] / ends[0]) ** depth)


def error(found: Tensor, wanted: Tensor) -> Tensor:
    """‖Φ(x) − Φ₀‖² / ‖Φ₀‖² of each row."""
    size = wanted.flatten(1).square().sum(1).clamp_min(1e-30)
    return (found - wanted).flatten(1).square().sum(1) / size


def variation(x: Tensor) -> Tensor:
    """The mean over pixels of the squared differences to the right and down, summed over channels, (N,)."""
    right, down = x[..., :-1, 1:] - x[..., :-1, :-1], x[..., 1:, :-1] - x[..., :-1, :-1]
    return (right.square() + down.square()).sum(1).mean((1, 2))


class _Picture:
    """x of a batch, by its Fourier coefficients; each row's start is drawn from its own generator."""

    def __init__(self, space: Space, generators: Sequence[Generator]) -> None:
        scale = space.spectrum.at(space.height, space.width)
        scale[:, 0, 0] = scale[:, 0, min(1, scale.shape[2] - 1)]
        self._scale, self._basis = space.tensor(scale), space.tensor(basis(space.spectrum.channels))
        self._size = (space.height, space.width)
        self._mean, self._std = space.colours(space.mean), space.colours(space.std)
        self._colour = space.colours(space.spectrum.colour.tolist())
        start = np.stack([g.standard_normal((*scale.shape, 2)) for g in generators]) * START
        self.values = space.tensor(start).requires_grad_(True)  # (N, C, h, w // 2 + 1, 2)

    def pixels(self) -> Tensor:
        """(N, C, h, w), 0 to 1; beyond them a value is drawn back, and its gradient goes on."""
        signal = torch.fft.irfft2(torch.view_as_complex(self.values) * self._scale, s=self._size)
        found = self._colour + torch.einsum("oc,nohw->nchw", self._basis, signal)
        return found + (found.detach().clamp(0, 1) - found.detach())

    def normalised(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The network's input, and x: the same about the mean colour."""
        inputs = ((pixels - self._mean) / self._std).contiguous(memory_format=torch.channels_last)
        return inputs, (pixels - self._colour) / self._std


def invert(
    space: Space, encode: Encode, wanted: Tensor, generators: Sequence[Generator], steps: int, weights: Priors
) -> NDArray[np.uint8]:
    """Pictures (N, h, w, C), 8 bits, one a row of `wanted` (N, …) and a generator.

    Raises `ValueError` where the network gives no gradient.
    """
    with torch.inference_mode(False), torch.enable_grad():
        picture = _Picture(space, generators)
        target = wanted.detach().clone()
        adam = torch.optim.Adam([picture.values], lr=weights.rate, foreach=False)
        for index in range(steps):
            adam.param_groups[0]["lr"] = weights.rate * FALL ** (index / steps)
            inputs, x = picture.normalised(picture.pixels())
            found = encode(inputs)
            if not found.requires_grad:
                raise ValueError("the network gives no gradient with respect to its input")
            loss = error(found, target) + weights.alpha * x.pow(6).sum(1).mean((1, 2))
            loss = loss + weights.variation * variation(x)
            picture.values.grad = torch.autograd.grad(loss.sum(), picture.values)[0]
            adam.step()
        done = picture.pixels().detach().float().permute(0, 2, 3, 1)
    return (done.cpu().double().numpy() * 255).round().astype(np.uint8)


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Peak signal to noise of two 8-bit pictures, in dB; infinite where they are equal."""
    away = float(((a.astype(float) - b.astype(float)) ** 2).mean())
    return float("inf") if away == 0 else 10 * float(np.log10(255**2 / away))
