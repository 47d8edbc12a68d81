"""Harvest: the winners' images once more, cut to the field and drawn back into the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from atlas.errors import JobError
from atlas.harvest import harvester
from atlas.harvest.drawn import ProjectionSettings
from atlas.harvest.harvester import Harvester, HarvestReport, HarvestSettings
from atlas.scan.image_rows import image_rows
from atlas.store import layout, parquet
from atlas.tables import images as tables
from atlas.types import SIDES, Layer
from jobs.job import Chunk, Job
from jobs.planning import data

if TYPE_CHECKING:
    from jobs.forecast import Rates, Todo
    from jobs.work import Work

IMAGES = 256
EXAMPLES = 8192
"""Images, and examples, of a chunk at most."""


def chunks(job: Job) -> Sequence[Chunk]:
    """The winners, cut into whole images."""
    return [
        Chunk(len(winners), f"{len(winners)} examples", winners) for winners in cut(job.winners, job.plan.data.chunk)
    ]


def cut(winners: pa.Table, chunk_size: int) -> Iterator[pa.Table]:
    """Winners, sorted by image and cut into chunks of whole images: the least work of the harvest."""
    ordered = winners.sort_by(
        [("image_id", "ascending"), ("neuron", "ascending"), ("side", "ascending"), ("rank", "ascending")]
    )
    ids = ordered.column("image_id").to_numpy()
    if not len(ids):
        return
    starts = np.flatnonzero(np.diff(ids, prepend=-1))
    ends = np.append(starts[1:], len(ids))
    limit = min(chunk_size, IMAGES)
    begin = images_in = 0
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if images_in and (images_in == limit or end - begin > EXAMPLES):
            yield ordered.slice(begin, start - begin)
            begin, images_in = start, 0
        images_in += 1
    yield ordered.slice(begin)


def work(worker: Work, chunk: int, given: pa.Table) -> HarvestReport:
    """Harvests a chunk of winners and commits it."""
    harvester = worker.keep("harvester", lambda: harvester_of(worker))
    rows = worker.rows(given.column("image_id").to_pylist())
    worker.watch = lambda: harvester.done
    return harvester.harvest(worker.folder, chunk, rows, given)


def harvester_of(worker: Work) -> Harvester:
    """The harvester of a worker's network."""
    s, session = worker.plan.settings, worker.session
    projections = ProjectionSettings(
        s.projections, s.projection_sides, s.evidence, s.picture_size, s.batch_size, s.seed, s.projection_format
    )
    settings = HarvestSettings(s.batch_size, s.picture_size, worker.decode_threads, projections)
    return Harvester(
        session.module, session.layers, session.normalise, session.preprocessing, settings, session.decoder
    )


def finish(job: Job) -> None:
    """All examples in one order, whatever chunk they came from; the table of images, which names their frames."""
    bodies = (job.folder.get(layout.harvest_chunk(chunk)) for chunk in range(job.count["harvest"]))
    parts = [harvester.load(body) for body in bodies]
    if not parts:
        raise JobError("no neuron has an example: every response is the same for all images; check the weights")
    examples, explanations, frames = (pa.concat_tables(each) for each in zip(*parts, strict=True))
    job.examples = in_order(examples, job.plan.network.layers)
    job.explanations = in_order(explanations, job.plan.network.layers)
    parquet.write_batches(job.folder, layout.table("images"), tables.IMAGES.columns, _images(job, frames))


def _images(job: Job, frames: pa.Table) -> Iterator[pa.Table]:
    plan = job.plan
    for chunk in range(plan.data.chunks):
        rows = data.read_chunk(job.folder, chunk)
        yield image_rows(rows, job.survey.images, plan.data.chunk, frames, plan.data.classes)


def in_order(rows: pa.Table, layers: Sequence[Layer]) -> pa.Table:
    """By layer, channel, side, rank; pictures of one example as they come."""
    place = {layer.name: layer.index for layer in layers}
    layer = np.array([place[name] for name in rows.column("layer").to_pylist()])
    side = np.array([SIDES.index(s) for s in rows.column("side").to_pylist()])
    rank, channel = rows.column("rank").to_numpy(), rows.column("channel").to_numpy()
    return rows.take(pa.array(np.lexsort((rank, side, channel, layer)))).combine_chunks()


def seconds(todo: Todo, rates: Rates, workers: int) -> float:
    """Examples, shared by the workers that there are images for."""
    busy = min(workers, max(todo.harvest_images / 64, 1))
    return todo.examples / (rates.harvest / rates.together * busy)
