"""The response sample of some layers: how it is written, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from atlas.arrays import Floats, Ints
from atlas.scan.references import References
from atlas.scan.winners import spread_of
from atlas.store import layout, parquet
from atlas.store.files import Folder
from atlas.tables.neurons import responses
from atlas.types import Layer

ROWS_AT_ONCE = 512


def each(layers: Sequence[Layer]) -> Iterator[tuple[Layer, slice]]:
    """Each layer, and where its neurons are among those of all."""
    first = 0
    for layer in layers:
        yield layer, slice(first, first + layer.channels)
        first += layer.channels


def write_responses(folder: Folder, layers: Sequence[Layer], ids: Ints, high: Floats, low: Floats) -> list[str]:
    """Writes the responses (images, neurons of the layers) to the images `ids`, a file a layer; gives their paths."""
    paths = []
    for layer, part in each(layers):
        starts = range(0, len(ids), ROWS_AT_ONCE)
        rows = (slice(start, start + ROWS_AT_ONCE) for start in starts)
        tables = (_responses(layer, ids[r], high[r, part], low[r, part]) for r in rows)
        paths.append(layout.file_of("responses", layer.index))
        parquet.write_batches(folder, paths[-1], responses(layer.channels), tables)
    return paths


def _responses(layer: Layer, image_id: Ints, high: Floats, low: Floats) -> pa.Table:
    vectors = [
        pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(v).reshape(-1)), layer.channels)
        for v in (high, low)
    ]
    names = pa.array([layer.name] * len(image_id), pa.string())
    return pa.table([names, pa.array(image_id), *vectors], schema=responses(layer.channels))


def references_of(layers: Sequence[Layer], high: Floats, low: Floats) -> References:
    """The references of the neurons of some layers, from their responses (images, neurons) to the response sample."""
    return References(_medians(layers, high), _medians(layers, low))


def _medians(layers: Sequence[Layer], values: Floats) -> Floats:
    found = [
        np.zeros(layer.channels, np.float32) if layer.rectified else np.median(values[:, part], axis=0)
        for layer, part in each(layers)
    ]
    return np.concatenate(found).astype(np.float32)


def spread_winners(layers: Sequence[Layer], ids: Ints, high: Floats, references: References) -> pa.Table:
    """Winners of side spread, neurons counted over these layers; `high` (images, neurons) to the images `ids`."""
    found = [spread_of(high[:, part], ids, part.start, references.high[part]) for _, part in each(layers)]
    return pa.concat_tables(found)
