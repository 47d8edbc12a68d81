"""Merge: partial results folded in the order of their chunks, some neurons a worker; the winners among all images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from atlas.arrays import Ints
from atlas.errors import JobError
from atlas.scan.image_rows import quarantine_rows
from atlas.scan.merge import CHUNKS_A_PART, Chunks, fold_piece, survey, write_codes
from atlas.scan.pieces import Piece, pieces
from atlas.store import layout, parquet
from atlas.store.files import Folder
from atlas.tables.neurons import CLASSES
from jobs import chunks as results
from jobs.job import Chunk, Job
from jobs.planning import data
from jobs.planning.plan import Plan

if TYPE_CHECKING:
    from atlas.scan.earlier import Earlier
    from jobs.forecast import Rates, Todo
    from jobs.work import Work


@dataclass(frozen=True)
class Given:
    """What a worker must know: the piece of neurons, or the number of the file of codes, that it makes."""

    piece: Piece | int
    sample_ids: Ints
    sample_chunks: frozenset[int]
    earlier: Earlier | None


def chunks(job: Job) -> Sequence[Chunk]:
    """The neurons, in pieces of whole layers, and the files of codes. Reads what the chunks say of the images."""
    plan, layers = job.plan, job.plan.network.layers
    job.survey = found = survey(job.folder, _chunks(plan, job.earlier), plan.settings.sample)
    listed = len(found.images.image_id) + len(found.quarantine)
    if listed != plan.data.count:
        raise JobError(
            f"{plan.data.count} images were listed, but {listed} are scanned or quarantined; please report this"
        )
    if not len(found.images.image_id):
        raise JobError("no image could be used: all are in quarantine; see quarantine.parquet for the reasons")
    sample = (found.sample_ids, found.sample_chunks, job.earlier)
    folded = [
        Chunk(
            piece.neurons, f"layers {layers[piece.first].name} to {layers[piece.last - 1].name}", Given(piece, *sample)
        )
        for piece in pieces(layers)
    ]
    files = [
        Chunk(0, f"codes of chunks {first} to {first + CHUNKS_A_PART - 1}", Given(first // CHUNKS_A_PART, *sample))
        for first in range(0, plan.data.chunks, CHUNKS_A_PART)
    ]
    return [*folded, *files]


def _chunks(plan: Plan, earlier: Earlier | None) -> Chunks:
    of = plan.data
    return Chunks(of.chunks, of.count // of.chunk, plan.settings.k, of.half_codes, earlier)


def work(worker: Work, chunk: int, given: Given) -> None:
    """Folds a piece of the neurons over all chunks, or writes a file of codes, and commits it."""
    plan, piece, every = worker.plan, given.piece, _chunks(worker.plan, given.earlier)
    with worker.result("merge", chunk) as result:
        if isinstance(piece, int):
            write_codes(worker.folder, piece, every)
            return
        asked = np.concatenate([plan.asked_of(layer) for layer in range(piece.first, piece.last)])
        sample = (given.sample_ids, given.sample_chunks)
        folded = fold_piece(worker.folder, piece, plan.network.layers, every, *sample, plan.settings.sides, asked)
        result.rows |= folded.tables


def finish(job: Job) -> None:
    """The tables of all pieces: classes and quarantine are written; neurons and winners go on."""
    folder, plan, found = job.folder, job.plan, job.survey
    bad = pa.array([image_id for image_id, _, _ in found.quarantine], pa.int64())
    rows = data.read_rows(folder, plan.data, bad)
    parquet.write(folder, "quarantine", quarantine_rows(found.quarantine, rows))
    found.write(folder)
    job.neurons, job.winners = joined(folder, len(pieces(plan.network.layers)))


def joined(folder: Folder, count: int) -> tuple[pa.Table, pa.Table]:
    """Neurons and winners of the results of `count` pieces; their classes go into the table, a piece at a time."""
    kept: dict[str, list[pa.Table]] = {"neurons": [], "winners": []}

    def classes() -> Iterator[pa.Table]:
        for number in range(count):
            tables = results.read(folder, "merge", number)
            for name, each in kept.items():
                each.append(tables[name])
            yield tables["classes"]

    parquet.write_batches(folder, layout.table("classes"), CLASSES.columns, classes())
    neurons, winners = (pa.concat_tables(each) for each in kept.values())
    return neurons, winners


SURVEY_SECONDS = 0.004
"""Seconds a chunk costs the driver: what it says of its images is read."""
ROW_SECONDS = 1e-7
"""Seconds a row of classes costs the driver."""


def seconds(todo: Todo, rates: Rates, workers: int) -> float:
    """The fold, shared by the workers that there are pieces for; survey and rows of classes are the driver's."""
    count = -(-todo.images // todo.chunk)
    busy = min(workers, max(todo.neurons // 512, 1))
    return count * (rates.fold / busy + SURVEY_SECONDS) + ROW_SECONDS * todo.neurons * todo.classes
