"""One call of the network: the response of every neuron to every image of a batch, the logits, the codes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from atlas.scan.decode import Preprocessing
from atlas.scan.record import Recorder
from atlas.scan.transfer import Upload
from atlas.types import Layer

_RUN = 32
_CACHE = 16 * 2**20
"""Bytes of an output beyond which the second of two readings finds nothing of the first in a processor's cache."""
_PIECE = 2**17
"""Values of a large output that are read twice while they are near: half a MB."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def device_of(wanted: str) -> torch.device:
    """The device that `--device` means on this machine."""
    return torch.device("cuda" if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available()) else "cpu")


def prepare(module: nn.Module, device: torch.device, dtype: str) -> nn.Module:
    """The module on its device, channels-last: 1.6 to 1.9 times as fast on a CPU."""
    return module.to(device=device, dtype=DTYPES[dtype], memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


class Normalise:
    """Pixels (N, H, W, 3) of 0 to 255 to the network's input (N, 3, H, W), channels-last, as torchvision does it."""

    def __init__(self, preprocessing: Preprocessing, device: torch.device, dtype: torch.dtype) -> None:
        self._mean = torch.tensor(preprocessing.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(preprocessing.std, device=device).view(1, 3, 1, 1)
        self._upload, self._dtype = Upload(device), dtype

    def __call__(self, pixels: NDArray[np.uint8]) -> Tensor:
        batch = self._upload(pixels)
        scaled = batch.permute(0, 3, 1, 2).to(torch.float32).div_(255)  # (N, 3, H, W), still channels-last
        return scaled.sub_(self._mean).div_(self._std).to(self._dtype)


def extremes(output: Tensor) -> tuple[Tensor, Tensor]:
    """Largest and smallest value of each map (N, C, H, W), both (N, C) and copies."""
    n, channels, height, width = output.shape
    if height * width == 1:
        only = output.reshape(n, channels).clone()
        return only, only
    if not output.is_contiguous(memory_format=torch.channels_last):
        return output.amax((2, 3)), output.amin((2, 3))
    flat = output.permute(0, 2, 3, 1).view(n, height * width, channels)
    if output.device.type == "cpu" and output.nbytes > _CACHE:
        return _by_pieces(flat)
    return _by_runs(flat)


def _by_runs(flat: Tensor) -> tuple[Tensor, Tensor]:
    """Of (N, positions, C).

    PyTorch reduces the leading axis of (positions, channels) by vectors only in runs of 32 floats; fewer channels are
    45 times as slow. Some positions side by side make up the run, and are reduced in a second, small step.
    """
    n, positions, channels = flat.shape
    together = _RUN // math.gcd(channels, _RUN)
    fits = positions // together * together
    if together == 1 or not fits:
        return flat.amax(1), flat.amin(1)
    runs = flat[:, :fits].reshape(n, fits // together, together * channels)
    high, low = (r.view(n, together, channels) for r in (runs.amax(1), runs.amin(1)))
    if fits < positions:
        rest = flat[:, fits:]
        high, low = torch.cat([high, rest], 1), torch.cat([low, rest], 1)
    return high.amax(1), low.amin(1)


def _by_pieces(flat: Tensor) -> tuple[Tensor, Tensor]:
    """Of a large (N, positions, C), a piece at a time, so that the second reading of each finds it in the cache."""
    n, positions, channels = flat.shape
    step = max(_PIECE // channels, 1)
    found = [
        _by_runs(flat[i : i + 1, p : p + step]) for i in range(n) for p in range(0, positions, step)
    ]  # (1, C) each
    high, low = (torch.cat(side).view(n, -1, channels) for side in zip(*found, strict=True))
    return high.amax(1), low.amin(1)


class Responder:
    """Runs batches of one shape and keeps, for each image and neuron, the largest and the smallest value of the map.

    No positions are kept: an index costs more than the reduction, and the winners are run again in the harvest.
    """

    def __init__(self, module: nn.Module, layers: Sequence[Layer], code: tuple[str, int]) -> None:
        self._high: list[Tensor] = []
        self._low: list[Tensor] = []
        self._codes: list[Tensor] = []
        self._recorder = Recorder(module, layers, self._take, inputs=[code], take_input=self._take_code)

    def __enter__(self) -> Responder:
        self._recorder.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._recorder.__exit__(kind, error, trace)

    def _take(self, layer: Layer, output: Tensor) -> None:
        high, low = extremes(output)
        self._high.append(high)
        self._low.append(low)

    def _take_code(self, _: tuple[str, int], value: Tensor) -> None:
        self._codes.append(value.float().mean((2, 3)))

    @torch.inference_mode()
    def __call__(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Side max and side min (N, neurons), logits (N, classes), codes (N, dimensions), all float32."""
        for kept in (self._high, self._low, self._codes):
            kept.clear()
        logits = self._recorder.run(batch)
        assert logits is not None
        high, low = torch.cat(self._high, 1).float(), torch.cat(self._low, 1).float()  # (N, neurons)
        return high, low, logits.float(), self._codes[-1]
