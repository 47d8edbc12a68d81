"""The winners of every side: which images are a neuron's examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from atlas.arrays import Floats, Ints
from atlas.scan.fold import Fold
from atlas.scan.references import References

SPREAD = 10
"""Examples of side spread: the middle image of each tenth of the response sample."""

WINNERS = pa.schema(
    [
        ("neuron", pa.int32()),  # counted over all layers
        ("side", pa.string()),
        ("rank", pa.int32()),
        ("image_id", pa.int64()),
        ("response", pa.float32()),
        ("reference", pa.float32()),  # what the response is measured from
    ]
)


def winners_of(fold: Fold, sides: Sequence[str], references: References) -> pa.Table:
    """Winners of sides max and min; a side on which all responses are equal has none."""
    m = fold.moments
    tables = []
    for side, (response, image_id), equal in (
        ("max", fold.strongest, m.max_high == m.max_low),
        ("min", fold.weakest, m.min_high == m.min_low),
    ):
        if side in sides:
            neuron, rank = np.nonzero((image_id >= 0) & ~equal[:, None])
            tables.append(
                _winners(
                    neuron, side, rank, image_id[neuron, rank], response[neuron, rank], references.of(side)[neuron]
                )
            )
    return pa.concat_tables([WINNERS.empty_table(), *tables])


def spread_of(high: Floats, image_ids: Ints, first_neuron: int, reference: Floats) -> pa.Table:
    """Winners of side spread from the response sample: `high` (images, neurons of a layer), `image_ids` ascending;
    `reference` (neurons of a layer,) of side max.

    The sample is ordered by response (ties to the smaller image_id) and cut into tenths; the middle one of each is an
    example, the strongest tenth first. A sample of fewer than ten images gives each of them once.
    """
    images = len(high)
    order = np.argsort(-high, axis=0, kind="stable")  # (images, neurons), strongest first
    tenths = min(SPREAD, images)
    bounds = (np.arange(tenths + 1) * images) // max(tenths, 1)
    middle = ((bounds[:-1] + bounds[1:] - 1) // 2).astype(np.int64)
    differs = np.flatnonzero(high.max(axis=0) > high.min(axis=0)) if images else np.zeros(0, np.int64)
    chosen = order[middle][:, differs]  # (tenths, neurons that differ)
    neuron = np.repeat(differs, tenths)
    rank = np.tile(np.arange(tenths), len(differs))
    image = chosen.T.reshape(-1)
    return _winners(neuron + first_neuron, "spread", rank, image_ids[image], high[image, neuron], reference[neuron])


def _winners(neuron: Ints, side: str, rank: Ints, image_id: Ints, response: Floats, reference: Floats) -> pa.Table:
    columns = [
        pa.array(neuron, pa.int32()),
        pa.array([side] * len(neuron), pa.string()),
        pa.array(rank, pa.int32()),
        pa.array(image_id, pa.int64()),
        pa.array(response, pa.float32()),
        pa.array(reference, pa.float32()),
    ]
    return pa.table(columns, schema=WINNERS)
