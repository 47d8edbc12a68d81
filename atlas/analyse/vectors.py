"""Neuron vectors: the response-weighted mean code of a neuron's strongest examples."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from atlas.analyse.sample import Order, Rows
from atlas.arrays import Flags, Floats
from atlas.store.codes import Codes, Ids


def mean_codes(codes: Codes, order: Order, examples: pa.Table) -> tuple[Floats, Flags]:
    """Vectors (neurons, dimensions), and which are defined: those of neurons with examples of side `max`
    whose codes are finite.

    A vector is the mean code of the neuron's `max` examples, weighted by their response. Responses below 0 weigh
    nothing; where none is above 0, all weigh the same. Codes are as stored, not of unit length. Summed in float64 in
    the order of image_id; memory: neurons x dimensions, whatever the number of images.
    """
    chosen = examples.filter(pc.equal(examples.column("side"), "max"))
    rows = order.rows(chosen)
    weights = _weights(rows, chosen.column("response").to_numpy(), len(order))
    images = chosen.column("image_id").to_numpy()
    sums = np.zeros((len(order), codes.dimensions))
    _add(sums, codes, rows, weights, images)
    total = np.bincount(rows, weights, len(order)).astype(np.float64)
    defined = total > 0
    vectors = np.divide(sums, total[:, None], out=np.zeros_like(sums), where=defined[:, None]).astype(np.float32)
    return vectors, defined & np.isfinite(vectors).all(axis=1)


def _weights(rows: Rows, responses: npt.NDArray[np.float32], neurons: int) -> npt.NDArray[np.float64]:
    positive = np.maximum(responses.astype(np.float64), 0)
    some = np.bincount(rows, positive, neurons) > 0
    return np.where(some[rows], positive, 1.0)


def _add(
    sums: npt.NDArray[np.float64], codes: Codes, rows: Rows, weights: npt.NDArray[np.float64], images: Ids
) -> None:
    by_image = np.lexsort((rows, images))
    rows, weights, images = rows[by_image], weights[by_image], images[by_image]
    for ids, block in codes.blocks():
        first, last = np.searchsorted(images, ids[0]), np.searchsorted(images, ids[-1], side="right")
        inside = slice(int(first), int(last))
        places = np.searchsorted(ids, images[inside])
        np.add.at(sums, rows[inside], weights[inside, None] * block[places].astype(np.float64))


def column(vectors: Floats, defined: Flags) -> pa.Array:
    """The `vector` column of neurons: a list a neuron, null where it is undefined."""
    lengths = np.where(defined, vectors.shape[1], 0)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    values = pa.array(vectors[defined].reshape(-1), pa.float32())
    mask = pa.array(~defined)
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=mask)
