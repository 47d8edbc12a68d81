"""Partial results of all chunks to tables: folded in their order, read one chunk at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa

from atlas.arrays import Floats, Ints
from atlas.images import properties
from atlas.scan import partial as partials
from atlas.scan.earlier import Earlier, dump_sample, dump_scores
from atlas.scan.fold import Fold
from atlas.scan.partial import Images, Partial, Sample
from atlas.scan.references import References
from atlas.scan.sampled import references_of, write_responses
from atlas.store import layout, parquet
from atlas.store.files import Folder
from atlas.tables.codes import codes
from atlas.types import Layer

CHUNKS_A_PART = 16
"""Units whose codes share a file; fixed, so that the split is part of the format."""
READ_AHEAD = 2
"""Partial results that are read while one is folded,"""
HELD = 256 << 20
"""as long as they are no more bytes than this."""


@dataclass
class Gathered:
    """What all chunks say together."""

    fold: Fold
    references: References
    images: Images
    quarantine: list[tuple[int, str, str]]
    sample_ids: Ints
    properties: pa.Table  # image_id and one column a property, of the response sample
    dimensions: int
    scores: Floats  # logits (images, classes) where images have lists of classes; else (images, 0)


def gather(
    folder: Folder,
    chunks: int,
    full_chunks: int,
    layers: Sequence[Layer],
    k: int,
    sample: int,
    on_chunk: Callable[[int], None] = lambda chunk: None,
    earlier: Earlier | None = None,
    half_codes: bool = False,
) -> Gathered:
    """Folds the chunks, and writes codes/, responses/ and `state/`. Memory does not grow with the number of chunks.

    The chunks of an `earlier` atlas are taken from it.
    """
    neurons = sum(layer.channels for layer in layers)
    fold = earlier.fold(neurons, k) if earlier else Fold(neurons, k)
    first_chunk = earlier.chunks if earlier else 0
    images: list[Images] = []
    quarantine: list[tuple[int, str, str]] = []
    hashes: list[tuple[np.uint64, int, int]] = []
    measured: dict[int, Floats] = {}
    waiting: list[pa.Table] = []
    dimensions = 0
    before: Sample | None = None
    scores: list[Floats] = []
    if earlier and first_chunk:
        images, quarantine, before = [earlier.images()], earlier.quarantine(), earlier.sample(layers)
        _remember(before, -1, hashes, measured)
        scores = earlier.scores()
        for number, parts in earlier.codes(CHUNKS_A_PART, half_codes):
            dimensions = parts[0].schema.field("code").type.list_size
            if (number + 1) * CHUNKS_A_PART <= first_chunk:
                parquet.write_batches(folder, layout.file_of("codes", number), parts[0].schema, parts)
            else:
                waiting = parts
        if first_chunk == full_chunks:
            _write_state(folder, fold)
    for chunk, partial in _ahead(folder, range(first_chunk, chunks)):
        fold.add(partial)
        images.append(_kept(partial.images))
        scores.append(partial.scores.copy())
        quarantine += partial.quarantine
        _remember(partial.sample, chunk, hashes, measured)
        if len(partial.images.image_id):
            waiting.append(_codes(partial))
            dimensions = partial.codes.shape[1]
        if (chunk + 1) % CHUNKS_A_PART == 0 or chunk == chunks - 1:
            if waiting:
                path = layout.file_of("codes", chunk // CHUNKS_A_PART)
                parquet.write_batches(folder, path, waiting[0].schema, waiting)
            waiting = []
        if chunk + 1 == full_chunks:
            _write_state(folder, fold)
        on_chunk(chunk)
    chosen = sorted(sorted(hashes)[:sample], key=lambda entry: entry[1])
    ids = np.array([image_id for _, image_id, _ in chosen], np.int64)
    write_responses(folder, layers, ids, sorted({chunk for _, _, chunk in chosen}), before)
    values = np.array([measured[i] for i in ids.tolist()], np.float32).reshape(len(ids), len(properties.NAMES))
    folder.put(layout.SAMPLE, dump_sample(np.array([h for h, _, _ in chosen], np.uint64), ids, values))
    table = pa.table({"image_id": ids, **{n: values[:, i] for i, n in enumerate(properties.NAMES)}})
    gathered = Gathered(
        fold, references_of(folder, layers), _concatenated(images), sorted(quarantine), ids, table, dimensions,
        np.concatenate([each for each in scores if len(each)] or [np.zeros((0, 0), np.float32)]),
    )  # fmt: skip
    if gathered.scores.shape[1]:
        folder.put(layout.SCORES, dump_scores(gathered.images.image_id, gathered.scores))
    return gathered


def _kept(images: Images) -> Images:
    """A copy: a partial result's arrays look into its blob, and would keep all of it in memory."""
    return Images(**{name: getattr(images, name).copy() for name in Images.__dataclass_fields__})


def _codes(partial: Partial) -> pa.Table:
    dimensions = partial.codes.shape[1]
    flat = pa.array(partial.codes.copy().reshape(-1))
    columns = [pa.array(partial.images.image_id.copy()), pa.FixedSizeListArray.from_arrays(flat, dimensions)]
    return pa.table(columns, schema=codes(dimensions, half=partial.codes.dtype == np.float16))


def _concatenated(images: list[Images]) -> Images:
    return Images(**{f: np.concatenate([getattr(i, f) for i in images]) for f in Images.__dataclass_fields__})


def _write_state(folder: Folder, fold: Fold) -> None:
    with folder.writing(layout.STATE) as stream:
        fold.write(stream)


def _remember(
    sample: Sample, chunk: int, hashes: list[tuple[np.uint64, int, int]], measured: dict[int, Floats]
) -> None:
    for row, (value, image_id) in enumerate(zip(sample.hash, sample.image_id, strict=True)):
        hashes.append((value, int(image_id), chunk))
        measured[int(image_id)] = sample.properties[row].copy()


def _ahead(folder: Folder, chunks: Iterable[int]) -> Iterator[tuple[int, Partial]]:
    """Partial results in order, the next few read while one is folded: a bucket answers late."""
    numbers = iter(chunks)
    ahead = 0  # until it is known how large they are
    waiting: deque[tuple[int, Future[tuple[Partial, int]]]] = deque()
    with ThreadPoolExecutor(READ_AHEAD, thread_name_prefix="merge") as pool:

        def begin(count: int) -> None:
            for chunk in islice(numbers, max(count - len(waiting), 0)):
                waiting.append((chunk, pool.submit(_partial, folder, chunk)))

        while True:
            begin(1)
            if not waiting:
                return
            chunk, future = waiting.popleft()
            partial, size = future.result()
            ahead = min(READ_AHEAD, HELD // max(size, 1))
            begin(ahead)
            yield chunk, partial


def _partial(folder: Folder, chunk: int) -> tuple[Partial, int]:
    body = folder.get(layout.scan_chunk(chunk))
    return partials.load(body)[0], len(body)
