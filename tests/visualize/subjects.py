"""Networks and spectra for the tests of optimised pictures."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from atlas.images.decode import Preprocessing
from atlas.network.layers import find_layers
from atlas.network.normalise import Normalise
from atlas.types import Layer
from atlas.visualize.neurons import Subject
from atlas.visualize.spectrum import Spectrum, SpectrumSum

PLAIN = Preprocessing(32, 32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def noise(count: int, side: int = 32, seed: int = 0) -> NDArray[np.uint8]:
    """Images of smooth noise."""
    random = np.random.default_rng(seed)
    rough = random.normal(size=(count, side, side, 3))
    for axis in (1, 2):
        rough = rough + np.roll(rough, 1, axis) + np.roll(rough, 2, axis) + np.roll(rough, 3, axis)
    return np.clip(127 + 25 * rough, 0, 255).astype(np.uint8)


def spectrum(side: int = 32) -> Spectrum:
    return SpectrumSum.of(noise(8, side)).mean()


class Convolutions(nn.Module):
    """Three convolutions, of strides 1, 2 and 1, with rectifiers; then classes."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.third = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        x = torch.relu(self.second(x))
        return self.head(torch.relu(self.third(x)).mean((2, 3)))


def subject(module: nn.Module, preprocessing: Preprocessing = PLAIN, side: int = 32) -> Subject:
    normalise = Normalise(preprocessing, torch.device("cpu"), torch.float32)
    return Subject(module.eval(), normalise, preprocessing.mean, preprocessing.std, spectrum(side))


def layers_of(module: nn.Module, side: int = 32) -> list[Layer]:
    return find_layers(module.eval(), side, side)
