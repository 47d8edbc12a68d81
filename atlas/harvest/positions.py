"""Where in its map each winner lies: the winners' images once more, in the very slots of the scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from atlas.scan.record import Recorder
from atlas.scan.statistics import Floats, Ints
from atlas.types import Layer


def positions_of(
    module: nn.Module, layers: Sequence[Layer], batch: Tensor, slots: Ints, neurons: Ints, lowest: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.int32], Floats]:
    """(y, x, response) of each of E examples, each (E,): the largest value of its map, or the smallest where `lowest`.

    `slots` (E,) is the image's place in `batch`; `neurons` (E,) counts over all layers. Ties go to the smaller y, then
    to the smaller x.
    """
    first = np.concatenate([[0], np.cumsum([layer.channels for layer in layers])])
    of_layer = np.searchsorted(first, neurons, side="right") - 1
    y, x = np.zeros(len(neurons), np.int32), np.zeros(len(neurons), np.int32)
    response = np.zeros(len(neurons), np.float32)
    place = {layer.index: i for i, layer in enumerate(layers)}

    def take(layer: Layer, output: Tensor) -> None:
        number = place[layer.index]
        rows = np.flatnonzero(of_layer == number)
        if not len(rows):
            return
        channels = torch.from_numpy(neurons[rows] - first[number])
        maps = output[torch.from_numpy(slots[rows]), channels].float().cpu().numpy()  # (rows, H, W)
        flat = maps.reshape(len(rows), -1)
        flat = np.where(lowest[rows, None], -flat, flat)
        best = flat.argmax(axis=1)  # the first of equals
        y[rows], x[rows] = np.divmod(best, maps.shape[2])
        response[rows] = np.where(lowest[rows], -1, 1) * flat[np.arange(len(rows)), best]

    with torch.inference_mode(), Recorder(module, layers, take) as recorder:
        recorder.run(batch)
    return y, x, response
