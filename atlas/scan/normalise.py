"""Pixels as the network wants them: scaled to 0 to 1, the mean taken away, divided by the standard deviation."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from numba import types
from numpy.typing import NDArray
from torch import Tensor

from atlas.scan.compiled import compiled
from atlas.scan.decode import Preprocessing
from atlas.scan.transfer import Upload


class Normalise:
    """Pixels (N, H, W, 3) of 0 to 255 to the network's input (N, 3, H, W), channels-last, as torchvision does it."""

    def __init__(self, preprocessing: Preprocessing, device: torch.device, dtype: torch.dtype) -> None:
        self._mean = torch.tensor(preprocessing.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(preprocessing.std, device=device).view(1, 3, 1, 1)
        self._upload, self._dtype = Upload(device), dtype
        every = torch.arange(256, dtype=torch.uint8, device=device).view(1, 1, 256, 1).expand(1, 3, 256, 1)
        self._table = self._arithmetic(every).view(3, 256).cpu().numpy()
        """What each of 256 values becomes, a channel."""

    def __call__(self, pixels: NDArray[np.uint8]) -> Tensor:
        if self._mean.device.type == "cpu":
            scaled = np.empty(pixels.shape, np.float32)
            _loop()(pixels.reshape(-1, 3), self._table, scaled.reshape(-1, 3))
            return torch.from_numpy(scaled).permute(0, 3, 1, 2).to(self._dtype)
        return self._arithmetic(self._upload(pixels).permute(0, 3, 1, 2)).to(self._dtype)  # still channels-last

    def _arithmetic(self, pixels: Tensor) -> Tensor:
        return pixels.to(torch.float32).div_(255).sub_(self._mean).div_(self._std)


def _look_up(pixels: NDArray[np.uint8], table: NDArray[np.float32], scaled: NDArray[np.float32]) -> None:
    for i in range(len(pixels)):
        for channel in range(3):
            scaled[i, channel] = table[channel, pixels[i, channel]]


@cache
def _loop() -> Callable[[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]], None]:
    numbers = types.Array(types.float32, 2, "C")
    return compiled(types.void(types.Array(types.uint8, 2, "C", readonly=True), numbers, numbers), _look_up)
