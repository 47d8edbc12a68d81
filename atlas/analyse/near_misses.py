"""Near misses: images whose codes resemble a neuron's examples, and to which it responds little all the same."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from atlas.analyse.sample import Order, Sample
from atlas.analyse.similar import cosines, largest, rank_within
from atlas.arrays import Flags, Floats
from atlas.store.codes import Codes, unit
from atlas.tables.relations import NEAR_MISSES

TOP = 10


def find(codes: Codes, order: Order, sample: Sample, vectors: Floats, defined: Flags) -> pa.Table:
    """The table `near_misses`: for each neuron ten images of the response sample, closest first.

    Closest: by the cosine of their code with the neuron's vector. Little: a response below the neuron's median over
    the sample. Only the sample's responses are known, so only its images are candidates. Ties go to the smaller
    image_id. A neuron whose responses are mostly equal to their least has no response below the median, and no row.
    """
    near = unit(codes.take(sample.image_ids))  # (images, dimensions)
    directions = unit(vectors)
    pieces = []
    for part in sample.layers():
        rows = order.of_layer(part.layer, part.maxima.shape[1])
        rows_here = np.flatnonzero(defined[rows])
        responses = part.maxima.T[rows_here]  # (channels, images)
        if not len(rows_here):
            continue
        similar = cosines(directions[rows[rows_here]], near)
        similar[responses >= np.median(responses, axis=1, keepdims=True)] = -np.inf
        row, image, value = largest(similar, TOP)
        pieces.append((rows[rows_here[row]], part.image_ids[image], value, responses[row, image]))
    if not pieces:
        return NEAR_MISSES.columns.empty_table()
    neuron, image_id, similarity, response = (np.concatenate(column) for column in zip(*pieces, strict=True))
    sequence = np.argsort(neuron, kind="stable")
    columns = {
        **order.columns(neuron[sequence]),
        "rank": rank_within(neuron[sequence]).astype(np.int32),
        "image_id": image_id[sequence],
        "similarity": similarity[sequence].astype(np.float32),
        "response": response[sequence].astype(np.float32),
    }
    return pa.table(columns).select(NEAR_MISSES.columns.names)
