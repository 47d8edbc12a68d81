"""Near-duplicates among the examples of a neuron's side, so that one photograph nine times is no concept."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from atlas.analyse.sample import Order
from atlas.arrays import Floats
from atlas.codes.index import scratch
from atlas.store.codes import Codes, Ids, unit
from atlas.store.files import Folder

COSINE = 0.995
"""Cosine of the codes from which two images count as one. Of the 50,000 CIFAR-10 training images two have a nearest
neighbour beyond it, and both are the same photograph; between 0.99 and 0.995 one pair in eleven is."""


def mark(folder: Folder, codes: Codes, order: Order, examples: pa.Table, images: pa.Table) -> pa.Array:
    """The `duplicate_of` column: the first earlier example of the same side that is nearly the same image.

    Nearly the same: the codes' cosine is at least `COSINE`, or the pictures of the whole images (thumbnail, or the
    large one) have equal bytes, by length and checksum. An example that is itself marked is not pointed at.
    """
    owner = examples.column("image_id").to_numpy()
    unique, place = np.unique(owner, return_inverse=True)
    prints = _prints(images, unique)
    group = order.rows(examples) * 4 + _side(examples)
    sequence = np.lexsort((examples.column("rank").to_numpy(), group))
    starts = np.flatnonzero(np.diff(group[sequence], prepend=-1))
    found = np.full(len(examples), -1, np.int64)
    with scratch(folder) as there:
        # On disk: the examples of a large network are most of the images.
        vectors = np.memmap(there / "examples", np.float32, "w+", shape=(max(1, len(unique)), codes.dimensions))
        codes.take(unique, vectors[: len(unique)])
        for rows in np.split(sequence, starts[1:]):
            if len(rows):
                at = place[rows]
                found[rows] = _first_alike(unit(vectors[at]), prints[at], owner[rows])
        del vectors
    return pa.array(found, mask=found < 0)


def _first_alike(vectors: Floats, prints: npt.NDArray[np.int64], owner: Ids) -> Ids:
    """For each image in order of rank, the first earlier unmarked one that is nearly the same; -1 for none."""
    alike = np.matmul(vectors, vectors.T) >= COSINE
    alike |= (prints[:, None] == prints[None]) & (prints[:, None] >= 0)
    found = np.full(len(owner), -1, np.int64)
    for row in np.flatnonzero(np.tril(alike, -1).any(axis=1)):
        earlier = np.flatnonzero(alike[row, :row] & (found[:row] < 0))
        if len(earlier):
            found[row] = owner[earlier[0]]
    return found


def _side(examples: pa.Table) -> npt.NDArray[np.int64]:
    sides = {"max": 0, "min": 1, "spread": 2}
    return np.array([sides[side] for side in examples.column("side").to_pylist()], np.int64)


def _prints(images: pa.Table, wanted: Ids) -> npt.NDArray[np.int64]:
    """Length and checksum of each image's thumbnail, or else its large picture, as one number; -1 without either."""
    ids = images.column("image_id").to_numpy()
    rows = np.searchsorted(ids, wanted)
    prints = np.full(len(wanted), -1, np.int64)
    for name in ("picture", "thumbnail"):
        if name in images.column_names:
            pictures = images.column(name).combine_chunks()
            length = np.nan_to_num(pictures.field("length").to_numpy(zero_copy_only=False).astype(np.float64), nan=-1)
            crc32 = np.nan_to_num(pictures.field("crc32").to_numpy(zero_copy_only=False).astype(np.float64))
            number = length.astype(np.int64) * 2**32 + crc32.astype(np.int64)
            prints = np.where(length[rows] >= 0, number[rows], prints)
    return prints
