"""What is varied to make a picture: rows of one registry. All give pixels (N, C, h, w) of values 0 to 1.

l2       pixels about the mean colour. Either on a ball, ‖x‖ ≤ ρ in the network's own units (Erhan et al. 2009: norm-
         constrained ascent, here along the normalised gradient, so that a linear filter's optimum is the filter), or
         with a penalty λ‖x‖² (Simonyan et al. 2014), by Adam, from the zero image; λ is such that a linear score's
         optimum would have the norm ρ of an average image, so that no network's scale needs another number.
fourier  sigmoid of a spectrum scaled as the data's (Olah et al. 2017: 1/f and ImageNet's colours), by Adam.
maco     the mean colour and the data's magnitudes, which stay; only phases are varied (Fel et al. 2023). Deviations:
         phases are not standardised, and values are clipped to 0 to 1 rather than squashed, so the spectrum is the
         data's own. Bins that are their own mirror (the first column, the last) may fall below their magnitude.

Everything of a picture's own is drawn from its own generator, never from the batch's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from atlas.visualize.spectrum import Spectrum, basis

START = 0.1
"""Standard deviation of the starting coefficients of `fourier`, in units of the data's magnitudes."""


@dataclass(frozen=True)
class Space:
    """What the pictures of one canvas have in common. `mean`, `std` (C,): the network's normalisation of 0 to 1."""

    height: int
    width: int
    spectrum: Spectrum
    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: torch.device
    dtype: torch.dtype = torch.float32

    def tensor(self, values: object) -> Tensor:
        return torch.as_tensor(np.asarray(values), dtype=self.dtype, device=self.device)

    def colours(self, values: Sequence[float]) -> Tensor:
        """One number a channel, as (C, 1, 1)."""
        return self.tensor(values)[:, None, None]

    @property
    def radius(self) -> float:
        """The norm of an average image of the canvas's size about its mean colour, in the network's units."""
        patch = Spectrum(self.spectrum.at(self.height, self.width), self.width)
        return patch.norm / float(np.mean(self.std))


class Parametrisation(Protocol):
    """Parameters `values` (N, …), which an optimiser moves, and the pixels that they stand for."""

    values: Tensor

    def pixels(self) -> Tensor:
        """(N, C, h, w), of values 0 to 1, differentiable."""

    def penalty(self) -> Tensor:
        """What is taken from the objective, (N,)."""

    def step(self, index: int, steps: int) -> None:
        """Moves the parameters along their gradients: step `index` of `steps`."""


def _adam(values: Tensor, rate: float) -> torch.optim.Adam:
    return torch.optim.Adam([values], lr=rate, foreach=False)


class Pixels:
    """`l2`: x (N, C, h, w) in the network's units about the mean colour; on the ball, or with a penalty from 0."""

    def __init__(self, space: Space, generators: Sequence[Generator], penalised: bool, rate: float) -> None:
        shape = (space.spectrum.channels, space.height, space.width)
        self._centre, self._std = space.colours(space.spectrum.colour.tolist()), space.colours(space.std)
        self._radius, self._rate = space.radius, rate
        self._weight = space.tensor(np.zeros(len(generators)))  # from the first gradient on
        start = np.stack([g.standard_normal(shape) for g in generators])
        start *= 0.0 if penalised else self._radius / 10 / np.sqrt(np.prod(shape))
        self.values = space.tensor(start).requires_grad_(True)
        self._adam = _adam(self.values, rate) if penalised else None

    def pixels(self) -> Tensor:
        return self._centre + self._std * self.values

    def penalty(self) -> Tensor:
        return self._weight * self.values.square().flatten(1).sum(1)

    @torch.no_grad()
    def step(self, index: int, steps: int) -> None:
        low, high = -self._centre / self._std, (1 - self._centre) / self._std
        gradient = self.values.grad
        assert gradient is not None
        length = gradient.flatten(1).norm(dim=1).clamp_min(1e-30)[:, None, None, None]
        if self._adam is not None:
            if index == 0:
                self._weight = length[:, 0, 0, 0] / (2 * self._radius)
            self._adam.step()
        else:
            self.values.sub_(gradient / length * (self._rate * self._radius * (1 - index / steps)))
            size = self.values.flatten(1).norm(dim=1)[:, None, None, None]
            self.values.mul_((self._radius / size.clamp_min(1e-30)).clamp_max(1))
        self.values.clamp_(low, high)


class Fourier:
    """`fourier`: complex coefficients in units of the data's magnitudes, in the opponent basis, then a sigmoid."""

    def __init__(self, space: Space, generators: Sequence[Generator], rate: float) -> None:
        scale = space.spectrum.at(space.height, space.width)
        scale[:, 0, 0] = scale[:, 0, min(1, scale.shape[2] - 1)]
        # Unit coefficients give a signal of about unit deviation over all channels; the shape is the data's.
        unit = np.sqrt(2 * (scale**2).sum() * 2) / (space.height * space.width) + 1e-30
        self._scale = space.tensor(scale / unit)
        channels = space.spectrum.channels
        self._basis = space.tensor(basis(channels) * np.sqrt(channels))
        colour = np.clip(space.spectrum.colour, 0.02, 0.98)
        self._offset = space.colours(np.log(colour / (1 - colour)).tolist())
        self._size = (space.height, space.width)
        start = np.stack([g.standard_normal((*scale.shape, 2)) for g in generators]) * START
        self.values = space.tensor(start).requires_grad_(True)  # (N, C, h, w // 2 + 1, 2)
        self._adam = _adam(self.values, rate)

    def pixels(self) -> Tensor:
        spectrum = torch.view_as_complex(self.values) * self._scale
        signal = torch.fft.irfft2(spectrum, s=self._size)
        return torch.sigmoid(torch.einsum("oc,nohw->nchw", self._basis, signal) + self._offset)

    def penalty(self) -> Tensor:
        return torch.zeros(len(self.values), device=self.values.device)

    def step(self, index: int, steps: int) -> None:
        self._adam.step()


class Maco:
    """`maco`: phases (N, C, h, w // 2 + 1) in radians; the magnitudes are the data's."""

    def __init__(self, space: Space, generators: Sequence[Generator], rate: float) -> None:
        magnitude = space.spectrum.at(space.height, space.width)
        magnitude[:, 0, 0] = 0
        self._magnitude = space.tensor(magnitude)
        self._colour = space.colours(space.spectrum.colour.tolist())
        self._basis = space.tensor(basis(space.spectrum.channels))
        self._size = (space.height, space.width)
        start = np.stack([g.uniform(-np.pi, np.pi, magnitude.shape) for g in generators])
        self.values = space.tensor(start).requires_grad_(True)
        self._adam = _adam(self.values, rate)

    def pixels(self) -> Tensor:
        spectrum = torch.polar(self._magnitude.expand_as(self.values), self.values)
        signal = torch.fft.irfft2(spectrum, s=self._size)
        return self._colour + torch.einsum("oc,nohw->nchw", self._basis, signal)

    def penalty(self) -> Tensor:
        return torch.zeros(len(self.values), device=self.values.device)

    def step(self, index: int, steps: int) -> None:
        self._adam.step()


PARAMETRISATIONS: dict[str, Callable[[Space, Sequence[Generator]], Parametrisation]] = {
    "fourier": lambda space, generators: Fourier(space, generators, 0.1),
    "maco": lambda space, generators: Maco(space, generators, 0.1),
    "l2": lambda space, generators: Pixels(space, generators, False, 0.2),
    "l2_penalty": lambda space, generators: Pixels(space, generators, True, 0.02),
}
"""By name. The two forms of `l2` are one method of the tables: neurons on the ball, classes with the penalty."""
