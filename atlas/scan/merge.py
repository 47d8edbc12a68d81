"""Partial results of all units to tables: folded in unit order, read one unit at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.arrays import Floats, Ints
from atlas.images import properties
from atlas.scan import partial as partials
from atlas.scan.earlier import Earlier, dump_sample
from atlas.scan.fold import Fold
from atlas.scan.neurons import spread_of
from atlas.scan.partial import Images, Partial, Sample
from atlas.store import layout, parquet, schema
from atlas.store.files import Folder
from atlas.types import Layer

UNITS_A_PART = 16
"""Units whose codes share a file; fixed, so that the split is part of the format."""
ROWS_AT_ONCE = 512
READ_AHEAD = 2
"""Partial results that are read while one is folded,"""
HELD = 256 << 20
"""as long as they are no more bytes than this."""


@dataclass
class Gathered:
    """What all units say together."""

    fold: Fold
    images: Images
    quarantine: list[tuple[int, str, str]]
    sample_ids: Ints
    properties: pa.Table  # image_id and one column a property, of the response sample
    dimensions: int


def gather(
    folder: Folder,
    units: int,
    full_units: int,
    layers: Sequence[Layer],
    classes: int,
    k: int,
    sample: int,
    on_unit: Callable[[int], None] = lambda unit: None,
    earlier: Earlier | None = None,
    half_codes: bool = False,
) -> Gathered:
    """Folds the units, and writes codes/, responses/ and `state/`. Memory does not grow with the number of units.

    The units of an `earlier` atlas are taken from it.
    """
    neurons = sum(layer.channels for layer in layers)
    fold = earlier.fold(neurons, classes, k) if earlier else Fold(neurons, classes, k)
    first_unit = earlier.units if earlier else 0
    images: list[Images] = []
    quarantine: list[tuple[int, str, str]] = []
    hashes: list[tuple[np.uint64, int, int]] = []
    measured: dict[int, Floats] = {}
    waiting: list[pa.Table] = []
    dimensions = 0
    before: Sample | None = None
    if earlier and first_unit:
        images, quarantine, before = [earlier.images()], earlier.quarantine(), earlier.sample(layers)
        _remember(before, -1, hashes, measured)
        for number, parts in earlier.codes(UNITS_A_PART, half_codes):
            dimensions = parts[0].schema.field("code").type.list_size
            if (number + 1) * UNITS_A_PART <= first_unit:
                parquet.write_batches(folder, layout.part("codes", number), parts[0].schema, parts)
            else:
                waiting = parts
        if first_unit == full_units:
            _write_state(folder, fold)
    for unit, partial in _ahead(folder, range(first_unit, units)):
        fold.add(partial)
        images.append(_kept(partial.images))
        quarantine += partial.quarantine
        _remember(partial.sample, unit, hashes, measured)
        if len(partial.images.image_id):
            waiting.append(_codes(partial))
            dimensions = partial.codes.shape[1]
        if (unit + 1) % UNITS_A_PART == 0 or unit == units - 1:
            if waiting:
                path = layout.part("codes", unit // UNITS_A_PART)
                parquet.write_batches(folder, path, waiting[0].schema, waiting)
            waiting = []
        if unit + 1 == full_units:
            _write_state(folder, fold)
        on_unit(unit)
    chosen = sorted(sorted(hashes)[:sample], key=lambda entry: entry[1])
    ids = np.array([image_id for _, image_id, _ in chosen], np.int64)
    _write_responses(folder, layers, ids, sorted({unit for _, _, unit in chosen}), before)
    values = np.array([measured[i] for i in ids.tolist()], np.float32).reshape(len(ids), len(properties.NAMES))
    folder.put(layout.SAMPLE, dump_sample(np.array([h for h, _, _ in chosen], np.uint64), ids, values))
    table = pa.table({"image_id": ids, **{n: values[:, i] for i, n in enumerate(properties.NAMES)}})
    return Gathered(fold, _concatenated(images), sorted(quarantine), ids, table, dimensions)


def _kept(images: Images) -> Images:
    """A copy: a partial result's arrays look into its blob, and would keep all of it in memory."""
    return Images(**{name: getattr(images, name).copy() for name in Images.__dataclass_fields__})


def _codes(partial: Partial) -> pa.Table:
    dimensions = partial.codes.shape[1]
    flat = pa.array(partial.codes.copy().reshape(-1))
    columns = [pa.array(partial.images.image_id.copy()), pa.FixedSizeListArray.from_arrays(flat, dimensions)]
    return pa.table(columns, schema=schema.codes(dimensions, half=partial.codes.dtype == np.float16))


def _concatenated(images: list[Images]) -> Images:
    return Images(**{f: np.concatenate([getattr(i, f) for i in images]) for f in Images.__dataclass_fields__})


def _write_state(folder: Folder, fold: Fold) -> None:
    with folder.writing(layout.STATE) as stream:
        fold.write(stream)


def _remember(sample: Sample, unit: int, hashes: list[tuple[np.uint64, int, int]], measured: dict[int, Floats]) -> None:
    for row, (value, image_id) in enumerate(zip(sample.hash, sample.image_id, strict=True)):
        hashes.append((value, int(image_id), unit))
        measured[int(image_id)] = sample.properties[row].copy()


def _write_responses(
    folder: Folder, layers: Sequence[Layer], ids: Ints, units: list[int], before: Sample | None
) -> None:
    """The response sample, a file a layer, its images in order."""
    with ExitStack() as stack:
        writers: list[pq.ParquetWriter] = [
            stack.enter_context(
                parquet.writing(folder, layout.part("responses", layer.index), schema.responses(layer.channels))
            )
            for layer in layers
        ]
        waiting: list[tuple[Ints, Floats, Floats]] = []
        for number, unit in enumerate(units):
            sample = before if before is not None and unit < 0 else _sample(folder, unit)
            kept = np.isin(sample.image_id, ids)
            waiting.append((sample.image_id[kept], sample.high[kept], sample.low[kept]))
            if sum(len(i) for i, _, _ in waiting) >= ROWS_AT_ONCE or number == len(units) - 1:
                image_id, high, low = (np.concatenate(part) for part in zip(*waiting, strict=True))
                first = 0
                for layer, writer in zip(layers, writers, strict=True):
                    part = slice(first, first + layer.channels)
                    first += layer.channels
                    writer.write_table(_responses(layer, image_id, high[:, part], low[:, part]))
                waiting = []


def _sample(folder: Folder, unit: int) -> Sample:
    with folder.open(layout.scan_unit(unit)) as stream:
        return partials.load_sample(stream)


def _ahead(folder: Folder, units: Iterable[int]) -> Iterator[tuple[int, Partial]]:
    """Partial results in order, the next few read while one is folded: a bucket answers late."""
    numbers = iter(units)
    ahead = 0  # until it is known how large they are
    waiting: deque[tuple[int, Future[tuple[Partial, int]]]] = deque()
    with ThreadPoolExecutor(READ_AHEAD, thread_name_prefix="merge") as pool:

        def begin(count: int) -> None:
            for unit in islice(numbers, max(count - len(waiting), 0)):
                waiting.append((unit, pool.submit(_partial, folder, unit)))

        while True:
            begin(1)
            if not waiting:
                return
            unit, future = waiting.popleft()
            partial, size = future.result()
            ahead = min(READ_AHEAD, HELD // max(size, 1))
            begin(ahead)
            yield unit, partial


def _partial(folder: Folder, unit: int) -> tuple[Partial, int]:
    body = folder.get(layout.scan_unit(unit))
    return partials.load(body)[0], len(body)


def _responses(layer: Layer, image_id: Ints, high: Floats, low: Floats) -> pa.Table:
    vectors = [
        pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(v).reshape(-1)), layer.channels)
        for v in (high, low)
    ]
    names = pa.array([layer.name] * len(image_id), pa.string())
    return pa.table([names, pa.array(image_id), *vectors], schema=schema.responses(layer.channels))


def spread_winners(folder: Folder, layers: Sequence[Layer]) -> list[pa.Table]:
    """Winners of side spread, a table a layer, from the response sample as written."""
    out = []
    first = 0
    for layer in layers:
        with folder.open(layout.part("responses", layer.index)) as stream:
            table = pq.read_table(stream, columns=["image_id", "max"])
        high = table.column("max").combine_chunks().flatten().to_numpy().reshape(len(table), layer.channels)
        out.append(spread_of(high, table.column("image_id").to_numpy(), first))
        first += layer.channels
    return out
