"""Neurons that resemble each other, across layers: by mean code, by class profile, and by responses."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from atlas.analyse.sample import Order, Rows, Sample
from atlas.arrays import Flags, Floats
from atlas.store.codes import unit
from atlas.tables.relations import SIMILAR

TOP = 10
BY = ("code", "classes", "responses")
BLOCK = 256  # neurons compared with all others at a time
DIGITS = 6  # similarities are rounded to so many, so that copies tie, and the smaller number comes first


def nearest(vectors: Floats, defined: Flags, top: int = TOP) -> tuple[Rows, Rows, Floats]:
    """For each neuron with a defined vector of unit length its `top` most similar others.

    Returns neuron, other (numbers, by neuron then order) and similarity, rounded. Ties go to the smaller number.
    Memory: the vectors, and `BLOCK` rows of similarities.
    """
    kept = np.flatnonzero(defined)
    compared = vectors[kept]
    pieces: list[tuple[Rows, Rows, Floats]] = []
    for start in range(0, len(kept), BLOCK):
        block = cosines(compared[start : start + BLOCK], compared)  # (block, kept)
        own = np.arange(len(block))
        block[own, own + start] = -np.inf
        rows, columns, values = largest(block, top)
        pieces.append((kept[rows + start], kept[columns], values))
    if not pieces:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    rows_, columns_, values_ = zip(*pieces, strict=True)
    return np.concatenate(rows_), np.concatenate(columns_), np.concatenate(values_)


def cosines(a: Floats, b: Floats) -> Floats:
    """Rounded inner products of all rows of `a` with all of `b`, within -1 and 1."""
    products: Floats = np.matmul(a, b.T)
    np.round(products, DIGITS, out=products)
    products += 0  # no negative zero
    return np.clip(products, -1, 1, out=products)


def largest(values: Floats, top: int) -> tuple[Rows, Rows, Floats]:
    """Row, column and value of the `top` largest of each row, in order; ties go to the smaller column; -inf: none."""
    top = min(top, values.shape[1])
    least = -np.partition(-values, top - 1, axis=1)[:, top - 1 : top]
    rows, columns = np.nonzero((values >= least) & (values > -np.inf))
    found = values[rows, columns]
    order = np.lexsort((columns, -found, rows))
    rows, columns, found = rows[order], columns[order], found[order]
    rank = rank_within(rows)
    return rows[rank < top], columns[rank < top], found[rank < top]


def rank_within(rows: Rows) -> Rows:
    """Order of each entry within its run of equal numbers, from 0."""
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    return np.asarray(np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows)))))


def class_profiles(order: Order, classes: pa.Table) -> tuple[Floats, Flags]:
    """Class profiles (neurons, classes), each less its own mean and of unit length, and which are defined.

    A profile that is the same for all classes, or of fewer than two classes, is undefined.
    """
    present, column = np.unique(classes.column("class_id").to_numpy(), return_inverse=True)
    profiles = np.zeros((len(order), len(present)), np.float32)
    if len(classes):
        profiles[order.rows(classes), column] = classes.column("mean").to_numpy()
    return centred(profiles)


def response_profiles(order: Order, sample: Sample) -> tuple[Floats, Flags]:
    """Responses to the sample (neurons, images), each less its own mean and of unit length, and which are defined."""
    profiles = np.zeros((len(order), len(sample.image_ids)), np.float32)
    for part in sample.layers():
        profiles[order.of_layer(part.layer, part.maxima.shape[1])] = part.maxima.T
    return centred(profiles)


def centred(profiles: Floats) -> tuple[Floats, Flags]:
    """Rows less their mean, of unit length, so that inner products are correlations; in place, in blocks."""
    defined = np.zeros(len(profiles), bool)
    for start in range(0, len(profiles), BLOCK):
        block = profiles[start : start + BLOCK]
        scale = np.abs(block).max(axis=1, initial=0)
        block -= block.mean(axis=1, dtype=np.float64, keepdims=True).astype(np.float32) if block.shape[1] else 0
        # A constant row leaves rounding errors, not a profile.
        defined[start : start + BLOCK] = np.abs(block).max(axis=1, initial=0) > 1e-6 * scale
        profiles[start : start + BLOCK] = unit(block)
    return profiles, defined


def table(order: Order, found: dict[str, tuple[Rows, Rows, Floats]]) -> pa.Table:
    """The table `similar`, by neuron, then in the order of `BY`, then by rank."""
    rows = np.concatenate([found[by][0] for by in BY])
    others = np.concatenate([found[by][1] for by in BY])
    values = np.concatenate([found[by][2] for by in BY]).astype(np.float32)
    kind = np.concatenate([np.full(len(found[by][0]), i) for i, by in enumerate(BY)])
    rank = np.concatenate([rank_within(found[by][0]) for by in BY])
    sequence = np.lexsort((rank, kind, rows))
    by = pa.DictionaryArray.from_arrays(pa.array(kind[sequence]), pa.array(list(BY))).cast(pa.string())
    columns: dict[str, npt.NDArray[np.float32] | pa.Array] = {
        **order.columns(rows[sequence]),
        "rank": rank[sequence].astype(np.int32),
        **order.columns(others[sequence], "other_"),
        "by": by,
        "similarity": values[sequence],
    }
    return pa.table(columns).select(SIMILAR.columns.names)
