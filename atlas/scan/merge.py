"""Partial results of all chunks to tables: a survey of the images, then the neurons, piece by piece, and the codes.

Whoever does a piece reads only its neurons of each partial result, a chunk at a time in their order; what it needs of
memory depends on a block of neurons and the classes, and on the logarithm of the number of chunks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from atlas.arrays import Flags, Floats, Ints
from atlas.images import properties
from atlas.scan import partial as partials
from atlas.scan.earlier import Earlier, dump_sample, dump_scores
from atlas.scan.fold import Fold
from atlas.scan.neurons import class_rows, named, neuron_rows
from atlas.scan.partial import Images
from atlas.scan.pieces import Block, Piece
from atlas.scan.references import References
from atlas.scan.sampled import references_of, spread_winners, write_responses
from atlas.scan.winners import WINNERS, winners_of
from atlas.store import layout, parquet
from atlas.store.files import Folder
from atlas.tables.codes import codes
from atlas.types import Layer

CHUNKS_A_PART = 16
"""Chunks whose codes share a file; fixed, so that the split is part of the format."""
READ_AHEAD = 8
"""Sections of partial results that are read while one is folded: a bucket answers late."""
HELD = 128 << 20
"""They are no more bytes than this."""
T = TypeVar("T")


@dataclass(frozen=True)
class Survey:
    """What all chunks say of the images. `hash`, `sample_ids`, `measured` (images, properties): of the response
    sample, in the order of image_id; `sample_chunks`: the chunks that hold it, -1 for an earlier atlas. `scores`:
    logits (images, classes) where images have lists of classes; else (images, 0)."""

    images: Images
    quarantine: list[tuple[int, str, str]]
    hash: NDArray[np.uint64]
    sample_ids: Ints
    measured: Floats
    sample_chunks: frozenset[int]
    scores: Floats

    @property
    def properties(self) -> pa.Table:
        """image_id and a column a property, of the response sample."""
        columns = {name: self.measured[:, i] for i, name in enumerate(properties.NAMES)}
        return pa.table({"image_id": self.sample_ids, **columns})

    def write(self, folder: Folder) -> None:
        """Writes what an extended atlas needs to know of the images, and the tables do not hold."""
        folder.put(layout.SAMPLE, dump_sample(self.hash, self.sample_ids, self.measured))
        if self.scores.shape[1]:
            folder.put(layout.SCORES, dump_scores(self.images.image_id, self.scores))


@dataclass(frozen=True)
class Chunks:
    """The chunks of a build, and what is folded of each. Those of an `earlier` atlas are taken from it."""

    count: int
    full: int
    """Those that are no trailing short one."""
    k: int
    half_codes: bool = False
    earlier: Earlier | None = None

    @property
    def before(self) -> int:
        """Chunks that come from the earlier atlas."""
        return self.earlier.chunks if self.earlier else 0


def survey(folder: Folder, chunks: Chunks, sample: int) -> Survey:
    """Reads what each chunk says of its images, and chooses the response sample: the `sample` smallest hashes."""
    images: list[Images] = []
    quarantine: list[tuple[int, str, str]] = []
    measured: list[tuple[int, NDArray[np.uint64], Ints, Floats]] = []
    scores: list[Floats] = []
    if chunks.earlier and chunks.before:
        images, quarantine = [chunks.earlier.images()], chunks.earlier.quarantine()
        measured, scores = [(-1, *chunks.earlier.sample())], chunks.earlier.scores()
    for chunk, rest in _ahead(folder, range(chunks.before, chunks.count), partials.read_rest):
        images.append(rest.images)
        quarantine += rest.quarantine
        scores.append(rest.scores)
        measured.append((chunk, rest.hash, rest.image_id, rest.properties))
    of_chunk = np.repeat([chunk for chunk, *_ in measured], [len(ids) for _, _, ids, _ in measured])
    hashes, ids, values = (np.concatenate([entry[i] for entry in measured]) for i in (1, 2, 3))
    smallest = np.lexsort((ids, hashes))[:sample]
    kept = smallest[np.argsort(ids[smallest])]
    return Survey(
        Images(**{f.name: np.concatenate([getattr(i, f.name) for i in images]) for f in fields(Images)}),
        sorted(quarantine),
        hashes[kept],
        ids[kept],
        values[kept],
        frozenset(of_chunk[kept].tolist()),
        np.concatenate([each for each in scores if len(each)] or [np.zeros((0, 0), np.float32)]),
    )


@dataclass(frozen=True)
class Folded:
    """What a piece gives. `tables`: neurons (without `vector`), classes, winners, the last with neurons counted over
    all layers; `written`: files of the atlas."""

    tables: dict[str, pa.Table]
    written: list[str]


def fold_piece(
    folder: Folder,
    piece: Piece,
    layers: Sequence[Layer],
    chunks: Chunks,
    sample_ids: Ints,
    sample_chunks: frozenset[int],
    sides: Sequence[str],
    asked: Flags,
    on_chunk: Callable[[], None] = lambda: None,
) -> Folded:
    """Folds the neurons of a piece of all `layers` over all chunks; writes their responses and their state.

    `asked` (neurons of the piece,): those that may have examples.
    """
    mine = layers[piece.first : piece.last]
    start = piece.blocks[0].first
    who = named(mine, asked)
    folds: list[tuple[slice, Fold]] = []
    highs, lows = [], []
    for block in piece.blocks:
        fold, high, low = _fold_block(folder, block, chunks, sample_ids, sample_chunks, on_chunk)
        folds.append((slice(block.first - start, block.last - start), fold))
        highs.append(high)
        lows.append(low)
    high, low = np.concatenate(highs, axis=1), np.concatenate(lows, axis=1)
    if chunks.earlier and -1 in sample_chunks:
        _, high_before, low_before = chunks.earlier.responses(mine, sample_ids)
        high, low = np.concatenate([high_before, high]), np.concatenate([low_before, low])
    written = write_responses(folder, mine, sample_ids, high, low)
    references = references_of(mine, high, low)
    winners = [_counted(spread_winners(mine, sample_ids, high, references), start)] if "spread" in sides else []
    tables: dict[str, list[pa.Table]] = {"neurons": [], "classes": []}
    for part, fold in folds:
        own = References(references.high[part], references.low[part])
        tables["neurons"].append(neuron_rows(fold, who.of(part), sides, own))
        tables["classes"].append(class_rows(fold, who.of(part)))
        winners.append(_counted(winners_of(fold, sides, own), start + part.start))
    rows = pa.concat_tables([WINNERS.empty_table(), *winners])
    rows = rows.filter(pa.array(asked[rows.column("neuron").to_numpy() - start]))
    return Folded({name: pa.concat_tables(each) for name, each in tables.items()} | {"winners": rows}, written)


def _counted(winners: pa.Table, first: int) -> pa.Table:
    """Winners with neurons counted over all layers."""
    neuron = pa.array(winners.column("neuron").to_numpy() + np.int32(first))
    return winners.set_column(0, WINNERS.field("neuron"), neuron)


def _fold_block(
    folder: Folder, block: Block, chunks: Chunks, ids: Ints, sampled: frozenset[int], on_chunk: Callable[[], None]
) -> tuple[Fold, Floats, Floats]:
    """The fold of a block, and its responses (images, neurons) to those of the response sample that are in chunks."""
    fold = chunks.earlier.fold(block, chunks.k) if chunks.earlier else Fold(block.neurons, chunks.k)
    highs = [np.zeros((0, block.neurons), np.float32)]
    lows = list(highs)
    if chunks.before and chunks.before == chunks.full:
        _write_state(folder, block, fold)
    read = partial(partials.read_part, block=block.number)
    for chunk, part in _ahead(folder, range(chunks.before, chunks.count), read):
        fold.add(part)
        if chunk in sampled:
            kept = np.isin(part.image_id, ids)
            highs.append(part.high[kept])
            lows.append(part.low[kept])
        if chunk + 1 == chunks.full:
            _write_state(folder, block, fold)
        on_chunk()
    return fold, np.concatenate(highs), np.concatenate(lows)


def _write_state(folder: Folder, block: Block, fold: Fold) -> None:
    with folder.writing(layout.state(block.number)) as stream:
        fold.write(stream)


def write_codes(folder: Folder, number: int, chunks: Chunks) -> str | None:
    """Writes the file `number` of codes, those of `CHUNKS_A_PART` chunks, a table a chunk; gives its path."""
    first, last = number * CHUNKS_A_PART, min((number + 1) * CHUNKS_A_PART, chunks.count)
    found = chunks.earlier.codes(number, chunks.half_codes) if chunks.earlier and first < chunks.before else []
    for _, (image_id, code) in _ahead(folder, range(max(first, chunks.before), last), partials.read_codes):
        if len(image_id):
            values = pa.FixedSizeListArray.from_arrays(pa.array(code.reshape(-1)), code.shape[1])
            to = codes(code.shape[1], half=code.dtype == np.float16)
            found.append(pa.table([pa.array(image_id), values], schema=to))
    if not found:
        return None
    path = layout.file_of("codes", number)
    parquet.write_batches(folder, path, found[0].schema, found)
    return path


class _Counted:
    """A stream that counts what is read of it."""

    def __init__(self, stream: Any) -> None:
        self._stream, self.seek, self.count = stream, stream.seek, 0

    def read(self, size: int) -> bytes:
        body = bytes(self._stream.read(size))
        self.count += len(body)
        return body


def _ahead(folder: Folder, chunks: Iterable[int], read: Callable[[Any], T]) -> Iterator[tuple[int, T]]:
    """A section of each partial result in their order, the next few read while one is used."""
    numbers = iter(chunks)
    ahead = 1  # until it is known how large they are
    waiting: deque[tuple[int, Future[tuple[T, int]]]] = deque()

    def one(chunk: int) -> tuple[T, int]:
        with folder.open(layout.scan_chunk(chunk)) as stream:
            counted = _Counted(stream)
            return read(counted), counted.count

    with ThreadPoolExecutor(READ_AHEAD, thread_name_prefix="merge") as pool:
        while True:
            waiting.extend((chunk, pool.submit(one, chunk)) for chunk in islice(numbers, max(ahead - len(waiting), 0)))
            if not waiting:
                return
            chunk, future = waiting.popleft()
            found, size = future.result()
            ahead = min(max(HELD // max(size, 1), 1), READ_AHEAD)
            yield chunk, found
