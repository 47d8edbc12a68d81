"""Largest, smallest and mean value of each feature map, in one reading.

PyTorch finds either by vectors, and reads the map twice for both; a map that has left the cache by then costs as much
as a tenth of the forward pass. Its `aminmax` finds both at once, one value at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from numba import types
from torch import Tensor

from atlas.arrays import Floats
from atlas.compiled import compiled

_ZERO = np.float32(0)
_WIDE = 64
"""Values side by side that keep a processor's vectors filled."""


def extremes(output: Tensor, found: Tensor) -> None:
    """Writes the largest (0), the smallest (1) and the mean (2) of each map (N, C, H, W) to `found` (3, N, C), float32.

    All are NaN where a map holds one. Sums are of float32, eight positions at a time.
    """
    # Short on purpose: beside a small network's maps, Python's own objects have left the cache by each call.
    if not output.is_cuda:
        maps, three = output.float().numpy().transpose(0, 2, 3, 1), found.numpy()  # (N, H, W, C)
        at_once = _loop() if torch.get_num_threads() == 1 else _by_threads
        if maps.flags.c_contiguous and at_once(maps, three):
            return
    found[0], found[1] = output.amax((2, 3)), output.amin((2, 3))
    found[2] = output.float().mean((2, 3))


def _by_threads(maps: Floats, three: Floats) -> bool:
    threads = min(torch.get_num_threads(), len(maps))
    cuts = [len(maps) * part // threads for part in range(threads + 1)]
    parts = [(maps[a:b], three[:, a:b]) for a, b in pairwise(cuts)]
    return all(_pool(threads).map(lambda part: _loop()(*part), parts))


def _three(maps: Floats, found: Floats) -> bool:
    """Of `maps` (N, H, W, C), eight steps at a time, so that what is found is rarely written.

    `max` loses a NaN: False where a value, or a sum, is not finite.
    """
    n, height, width, channels = maps.shape
    positions = height * width
    together = math.gcd(positions, max(_WIDE // channels, 1))  # few channels fill no vector: some positions do
    steps, wide = positions // together, together * channels
    values = maps.reshape(n, steps, wide)
    eights = steps // 8 * 8
    most, least, total = np.empty(wide, np.float32), np.empty(wide, np.float32), np.empty(wide, np.float32)
    finite = True
    for i in range(n - 1, -1, -1):  # what was written last is still in the cache
        x = values[i]
        for c in range(wide):
            most[c] = least[c] = x[0, c]
            total[c] = _ZERO
        for p in range(0, eights, 8):
            for c in range(wide):
                v0, v1, v2, v3 = x[p, c], x[p + 1, c], x[p + 2, c], x[p + 3, c]
                v4, v5, v6, v7 = x[p + 4, c], x[p + 5, c], x[p + 6, c], x[p + 7, c]
                total[c] += ((v0 + v1) + (v2 + v3)) + ((v4 + v5) + (v6 + v7))
                most[c] = max(most[c], max(max(max(v0, v1), max(v2, v3)), max(max(v4, v5), max(v6, v7))))
                least[c] = min(least[c], min(min(min(v0, v1), min(v2, v3)), min(min(v4, v5), min(v6, v7))))
        for p in range(eights, steps):
            for c in range(wide):
                v = x[p, c]
                total[c] += v
                most[c] = max(most[c], v)
                least[c] = min(least[c], v)
        for c in range(channels):
            found[0, i, c], found[1, i, c], found[2, i, c] = most[c], least[c], total[c]
        for first in range(channels, wide, channels):
            for c in range(channels):
                found[0, i, c] = max(found[0, i, c], most[first + c])
                found[1, i, c] = min(found[1, i, c], least[first + c])
                found[2, i, c] += total[first + c]
        for c in range(channels):
            finite &= np.isfinite(found[2, i, c])
            found[2, i, c] /= positions
    return finite


@cache
def _loop() -> Callable[[Floats, Floats], bool]:
    numbers = types.float32
    return compiled(types.boolean(types.Array(numbers, 4, "C"), types.Array(numbers, 3, "A")), _three)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)
