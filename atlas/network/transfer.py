"""Between this machine's memory and the device's: pinned buffers, on streams of their own, while the network runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Upload:
    """Pixels to a CUDA device: two pinned buffers take turns, and the copy does not wait for the network."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._buffers: list[tuple[Tensor, torch.cuda.Event] | None] = [None, None]
        self._turn = 0
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __call__(self, pixels: NDArray[np.uint8]) -> Tensor:
        """The array as a tensor on the device; the array may be changed afterwards."""
        self._turn ^= 1
        held = self._buffers[self._turn]
        if held is not None:
            held[1].synchronize()  # its last copy has ended
        buffer = held[0] if held and held[0].shape == pixels.shape else torch.empty(pixels.shape, dtype=torch.uint8)
        buffer = buffer if buffer.is_pinned() else buffer.pin_memory()
        buffer.copy_(torch.from_numpy(pixels))
        with torch.cuda.stream(self._stream):
            batch = buffer.to(self._device, non_blocking=True)
            copied = self._stream.record_event()
        self._buffers[self._turn] = buffer, copied
        network = torch.cuda.current_stream(self._device)
        network.wait_event(copied)
        batch.record_stream(network)
        return batch


class Download:
    """Tensors on their way to this machine's memory; `get` waits for them, and for nothing that was begun later."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._event: torch.cuda.Event | None = None
        self._tensors = tuple(tensors)
        if self._tensors[0].is_cuda:
            pinned = [torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for t in self._tensors]
            self._tensors = tuple(p.copy_(t, non_blocking=True) for p, t in zip(pinned, tensors, strict=True))
            self._event = torch.cuda.current_stream(tensors[0].device).record_event()

    def get(self) -> tuple[Tensor, ...]:
        """The tensors, on the CPU."""
        if self._event is not None:
            self._event.synchronize()
        return self._tensors
