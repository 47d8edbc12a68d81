"""Pixels as the network wants them: scaled to 0 to 1, the mean taken away, divided by the standard deviation."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from numba import types
from numpy.typing import NDArray
from torch import Tensor

from atlas.arrays import Floats
from atlas.compiled import compiled
from atlas.images.decode import Preprocessing
from atlas.network.transfer import Upload

_WHITE = np.float32(255)


class Normalise:
    """Pixels (N, H, W, 3) of 0 to 255 to the network's input (N, 3, H, W), channels-last, as torchvision does it."""

    def __init__(self, preprocessing: Preprocessing, device: torch.device, dtype: torch.dtype) -> None:
        self._mean, self._std = (torch.tensor(v, device=device) for v in (preprocessing.mean, preprocessing.std))
        self._upload, self._dtype = Upload(device) if device.type == "cuda" else None, dtype

    def __call__(self, pixels: NDArray[np.uint8]) -> Tensor:
        if self._upload is None:
            scaled = at_once(pixels, self._mean.numpy(), self._std.numpy())
        else:
            scaled = by_steps(self._upload(pixels), self._mean, self._std)
        return scaled.permute(0, 3, 1, 2).to(self._dtype)


def by_steps(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Pixels (N, H, W, 3) normalised, on any device; each step reads and writes them."""
    return pixels.to(torch.float32).div_(255).sub_(mean).div_(std)


def at_once(pixels: NDArray[np.uint8], mean: Floats, std: Floats) -> Tensor:
    """The same, to the bit, in one step on a CPU."""
    n, height, width, channels = pixels.shape
    rows = (n * height, width * channels)
    scaled = np.empty(pixels.shape, np.float32)
    _loop()(np.ascontiguousarray(pixels).reshape(rows), np.tile(mean, width), np.tile(std, width), scaled.reshape(rows))
    return torch.from_numpy(scaled)


def _normalise(pixels: NDArray[np.uint8], mean: Floats, std: Floats, scaled: Floats) -> None:
    """Of rows of pixels (rows, W · 3); `mean` and `std` (W · 3,) are repeated, so that a row is one run of numbers."""
    for i in range(len(pixels)):
        for j in range(pixels.shape[1]):
            scaled[i, j] = (np.float32(pixels[i, j]) / _WHITE - mean[j]) / std[j]


@cache
def _loop() -> Callable[[NDArray[np.uint8], Floats, Floats, Floats], None]:
    row, rows = types.Array(types.float32, 1, "C"), types.Array(types.float32, 2, "C")
    return compiled(types.void(types.Array(types.uint8, 2, "C", readonly=True), row, row, rows), _normalise)
