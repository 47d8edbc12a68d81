"""The k strongest images of every neuron, exactly: by response, ties to the smaller image_id."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import types
from numpy.typing import NDArray

from atlas.arrays import Floats
from atlas.compiled import compiled

Ids = NDArray[np.int64]


def strongest(values: Floats, image_ids: Ids, k: int) -> tuple[Floats, Ids]:
    """The k largest of `values` (images, neurons) of each neuron (neurons, k), with their images, strongest first.

    `image_ids` (images,) ascends. Rows with fewer than k images end in -inf and -1. No value is NaN or infinite.
    """
    return _kept(values, image_ids, k, np.float32(1))


def weakest(values: Floats, image_ids: Ids, k: int) -> tuple[Floats, Ids]:
    """The k smallest likewise, weakest first; rows end in inf and -1."""
    negated, ids = _kept(values, image_ids, k, np.float32(-1))
    return -negated, ids


def _kept(values: Floats, image_ids: Ids, k: int, sign: np.float32) -> tuple[Floats, Ids]:
    neurons = values.shape[1]
    responses = np.full((neurons, k), -np.inf, np.float32)
    ids = np.full((neurons, k), -1, np.int64)
    _loop()(np.ascontiguousarray(values), np.asarray(image_ids, np.int64), sign, responses, ids)
    order = _order(responses, ids)
    return np.take_along_axis(responses, order, 1), np.take_along_axis(ids, order, 1)


def _order(responses: Floats, ids: Ids) -> NDArray[np.intp]:
    """Strongest first; an absent image (-1) carries -inf, and comes after a real one whatever its response is."""
    return np.lexsort((np.where(ids < 0, np.iinfo(np.int64).max, ids), -responses), axis=1)


def _keep(values: Floats, image_ids: Ids, sign: np.float32, responses: Floats, ids: Ids) -> None:
    """Takes each row of `sign` times `values` (images, neurons) into heaps, `responses` and `ids` (neurons, k).

    First in a heap lies what goes first: the smallest, and of equals the last to come. What comes later and is equal
    does not come in. Few do: k ln(images / k) of a neuron.
    """
    images, neurons = values.shape
    k = responses.shape[1]
    least = np.full(neurons, -np.inf, np.float32)  # firsts, side by side
    for i in range(images):
        for neuron in range(neurons):
            value = sign * values[i, neuron]
            if value > least[neuron]:
                held, of = responses[neuron], ids[neuron]
                place, child = 0, 1
                while child < k:
                    other = child + 1
                    if other < k and (
                        held[other] < held[child] or (held[other] == held[child] and of[other] > of[child])
                    ):
                        child = other
                    if value <= held[child]:
                        break
                    held[place], of[place] = held[child], of[child]
                    place, child = child, 2 * child + 1
                held[place], of[place] = value, image_ids[i]
                least[neuron] = held[0]


@cache
def _loop() -> Callable[[Floats, Ids, np.float32, Floats, Ids], None]:
    floats, counts = types.Array(types.float32, 2, "C"), types.Array(types.int64, 2, "C")
    image_ids = types.Array(types.int64, 1, "C", readonly=True)
    return compiled(types.void(floats, image_ids, types.float32, floats, counts), _keep)


def fold(a: tuple[Floats, Ids], b: tuple[Floats, Ids]) -> tuple[Floats, Ids]:
    """The k strongest of two results over different images; in any order the answer is the same."""
    k = a[0].shape[1]
    responses, ids = a[0].copy(), a[1].copy()
    # As a data set goes on, fewer and fewer neurons change: only these are sorted.
    row = np.flatnonzero((b[0][:, 0] >= a[0][:, -1]) | (a[1][:, -1] < 0))
    value = np.concatenate([a[0][row], b[0][row]], axis=1)
    image = np.concatenate([a[1][row], b[1][row]], axis=1)
    order = _order(value, image)[:, :k]
    responses[row] = np.take_along_axis(value, order, 1)
    ids[row] = np.take_along_axis(image, order, 1)
    return responses, ids
