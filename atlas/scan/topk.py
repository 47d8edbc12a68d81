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
    if images == 0:
        return responses, ids
    last = max(images - k, 0)
    ordered = np.partition(values, last, axis=1) if ordered is None else ordered
    row, column = np.divmod(np.flatnonzero(_above(values, ordered[:, last, None], k)), images)
    value = values[row, column]
    order = np.lexsort((image_ids[column], -value, row))
    row, column, value = row[order], column[order], value[order]
    rank = np.arange(len(row)) - np.searchsorted(row, np.arange(neurons))[row]
    kept = rank < k
    responses[row[kept], rank[kept]] = value[kept]
    ids[row[kept], rank[kept]] = image_ids[column[kept]]
    return responses, ids


def _above(values: Floats, least: Floats, k: int) -> NDArray[np.bool_]:
    """Which of `values` may be among the k largest of their row: those above `least`, and the first that equal it.

    A residual block's smallest response is 0 for almost every image: ties are the rule, not the exception.
    """
    above = values >= least
    many = np.flatnonzero(above.sum(axis=1, dtype=np.int32) > k)
    if len(many):
        greater = values[many] > least[many]
        ties = above[many] & ~greater
        wanted = k - greater.sum(axis=1, dtype=np.int32)
        above[many] = greater | (ties & (np.cumsum(ties, axis=1, dtype=np.int32) <= wanted[:, None]))
    return above


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
