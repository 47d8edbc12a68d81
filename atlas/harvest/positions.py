"""Where in its map each winner lies: the winners' images once more, in the very slots of the scan."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from atlas.arrays import Floats, Ints
from atlas.errors import JobError
from atlas.harvest.examples import Found
from atlas.network.recorder import Recorder, positions_of
from atlas.types import Layer

TOLERANCE = 1e-3
"""Largest difference of a response found again, as a share of its size."""


def place(module: nn.Module, batch: Tensor, found: Found, rows: Ints, slots: Ints) -> None:
    """Fills y and x of the examples `rows` (E,), whose images lie in `slots` (E,) of `batch`.

    Ties go to the smaller y, then to the smaller x. Raises `JobError` where a response is not what the scan found.
    """
    again = np.zeros(len(rows), np.float32)
    numbers, lowest = found.number[rows], found.lowest[rows]
    wanted = sorted(set(numbers.tolist()))

    def take(layer: Layer, output: Tensor) -> None:
        of = np.flatnonzero(numbers == place_of[layer.index])
        maps = output[torch.from_numpy(slots[of]), torch.from_numpy(found.channel[rows[of]])]  # (examples, H, W)
        flat = maps.float().cpu().numpy().reshape(len(of), -1)
        best = np.where(lowest[of, None], -flat, flat).argmax(axis=1)  # the first of equals
        found.y[rows[of]], found.x[rows[of]] = positions_of(layer, best)
        again[of] = flat[np.arange(len(of)), best]

    place_of = {found.layers[number].index: number for number in wanted}
    layers = [found.layers[number] for number in wanted]
    with torch.inference_mode(), Recorder(module, layers, take, stop=True) as recorder:
        recorder.run(batch)
    _check(found, rows, again)


def _check(found: Found, rows: NDArray[np.int64], again: Floats) -> None:
    """A response that is not found again means that the image or the network changed since the scan."""
    before = found.response[rows]
    excess = np.abs(before - again) - TOLERANCE * np.maximum(np.abs(before), 1e-3)
    worst = int(np.argmax(excess)) if len(rows) else -1
    if worst >= 0 and excess[worst] > 0:
        image_id = found.winners.column("image_id")[int(rows[worst])].as_py()
        raise JobError(
            f"image {image_id}: a response of {before[worst]:.6g} in the scan is {again[worst]:.6g} now; "
            "the image has changed since, so build into a new folder"
        )
