"""The response sample in the folder: how it is written, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.arrays import Floats, Ints
from atlas.scan import partial as partials
from atlas.scan.partial import Sample
from atlas.scan.references import References
from atlas.scan.winners import spread_of
from atlas.store import layout, parquet
from atlas.store.files import Folder
from atlas.tables.neurons import responses
from atlas.types import Layer

ROWS_AT_ONCE = 512


def write_responses(
    folder: Folder, layers: Sequence[Layer], ids: Ints, chunks: list[int], before: Sample | None
) -> None:
    """Writes the response sample `ids`, a file a layer, its images in order; they are among those of `chunks`, and of
    `before`, what an earlier atlas had (chunk -1)."""
    with ExitStack() as stack:
        writers: list[pq.ParquetWriter] = [
            stack.enter_context(
                parquet.writing(folder, layout.file_of("responses", layer.index), responses(layer.channels))
            )
            for layer in layers
        ]
        waiting: list[tuple[Ints, Floats, Floats]] = []
        for number, chunk in enumerate(chunks):
            sample = before if before is not None and chunk < 0 else _of_chunk(folder, chunk)
            kept = np.isin(sample.image_id, ids)
            waiting.append((sample.image_id[kept], sample.high[kept], sample.low[kept]))
            if sum(len(i) for i, _, _ in waiting) >= ROWS_AT_ONCE or number == len(chunks) - 1:
                image_id, high, low = (np.concatenate(part) for part in zip(*waiting, strict=True))
                first = 0
                for layer, writer in zip(layers, writers, strict=True):
                    part = slice(first, first + layer.channels)
                    first += layer.channels
                    writer.write_table(_responses(layer, image_id, high[:, part], low[:, part]))
                waiting = []


def _of_chunk(folder: Folder, chunk: int) -> Sample:
    with folder.open(layout.scan_chunk(chunk)) as stream:
        return partials.load_sample(stream)


def _responses(layer: Layer, image_id: Ints, high: Floats, low: Floats) -> pa.Table:
    vectors = [
        pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(v).reshape(-1)), layer.channels)
        for v in (high, low)
    ]
    names = pa.array([layer.name] * len(image_id), pa.string())
    return pa.table([names, pa.array(image_id), *vectors], schema=responses(layer.channels))


def references_of(folder: Folder, layers: Sequence[Layer]) -> References:
    """The references of all neurons, from the response sample as written."""
    return References(_medians(folder, layers, "max"), _medians(folder, layers, "min"))


def _medians(folder: Folder, layers: Sequence[Layer], side: str) -> Floats:
    found = [np.zeros(0, np.float32)]
    for layer in layers:
        if layer.rectified:
            found.append(np.zeros(layer.channels, np.float32))
        else:
            values, _ = _sampled(folder, layer, side)
            found.append(np.median(values, axis=0).astype(np.float32))
    return np.concatenate(found)


def _sampled(folder: Folder, layer: Layer, side: str) -> tuple[Floats, Ints]:
    """Responses (images, channels) of a layer to the response sample as written, and the images."""
    with folder.open(layout.file_of("responses", layer.index)) as stream:
        table = pq.read_table(stream, columns=["image_id", side])
    values = table.column(side).combine_chunks().flatten().to_numpy().reshape(len(table), layer.channels)
    return values, table.column("image_id").to_numpy()


def spread_winners(folder: Folder, layers: Sequence[Layer], references: References) -> list[pa.Table]:
    """Winners of side spread, a table a layer, from the response sample as written."""
    out = []
    first = 0
    for layer in layers:
        part = slice(first, first + layer.channels)
        out.append(spread_of(*_sampled(folder, layer, "max"), first, references.high[part]))
        first += layer.channels
    return out
