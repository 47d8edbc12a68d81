"""The k strongest images of every neuron, exactly: by response, ties to the smaller image_id."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


def strongest(values: Floats, image_ids: Ids, k: int, ordered: Floats | None = None) -> tuple[Floats, Ids]:
    """The k largest of `values` (neurons, images) a row, with their images, strongest first.

    `image_ids` (images,) ascends. `ordered` is `values` with each row sorted, if the caller has it already. Rows with
    fewer than k images end in -inf and -1. No value is NaN.
    """
    neurons, images = values.shape
    responses = np.full((neurons, k), -np.inf, np.float32)
    ids = np.full((neurons, k), -1, np.int64)
    count = min(k, images)
    if count == 0:
        return responses, ids
    ordered = np.partition(values, images - count, axis=1) if ordered is None else ordered
    chosen = _chosen(values, ordered[:, images - count, None], count)
    column = np.flatnonzero(chosen).reshape(neurons, count) - images * np.arange(neurons)[:, None]
    value = np.take_along_axis(values, column, 1)
    order = np.argsort(-value, axis=1, kind="stable")  # ties stay in the order of images
    responses[:, :count] = np.take_along_axis(value, order, 1)
    ids[:, :count] = image_ids[np.take_along_axis(column, order, 1)]
    return responses, ids


def _chosen(values: Floats, least: Floats, count: int) -> NDArray[np.bool_]:
    """`count` of `values` a row: those above `least`, the smallest of them, and the first that equal it.

    A residual block's smallest response is 0 for almost every image: ties are the rule, not the exception.
    """
    chosen = values >= least
    many = np.flatnonzero(chosen.sum(axis=1, dtype=np.int32) > count)
    if len(many):
        greater = values[many] > least[many]
        ties = chosen[many] & ~greater
        wanted = count - greater.sum(axis=1, dtype=np.int32)
        chosen[many] = greater | (ties & (np.cumsum(ties, axis=1, dtype=np.int32) <= wanted[:, None]))
    return chosen


def fold(a: tuple[Floats, Ids], b: tuple[Floats, Ids]) -> tuple[Floats, Ids]:
    """The k strongest of two results over different images; in any order the answer is the same."""
    k = a[0].shape[1]
    responses, ids = a[0].copy(), a[1].copy()
    # As a data set goes on, fewer and fewer neurons change: only these are sorted.
    row = np.flatnonzero((b[0][:, 0] >= a[0][:, -1]) | (a[1][:, -1] < 0))
    value = np.concatenate([a[0][row], b[0][row]], axis=1)
    image = np.concatenate([a[1][row], b[1][row]], axis=1)
    # Absent images (-1) carry -inf and must come after a real image whatever its response is.
    order = np.lexsort((np.where(image < 0, np.iinfo(np.int64).max, image), -value), axis=1)[:, :k]
    responses[row] = np.take_along_axis(value, order, 1)
    ids[row] = np.take_along_axis(image, order, 1)
    return responses, ids
