"""Merge: partial results folded in the order of their chunks; the winners among all images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from atlas.errors import JobError
from atlas.scan.image_rows import quarantine_rows
from atlas.scan.merge import gather
from atlas.scan.neurons import class_rows
from atlas.scan.sampled import spread_winners
from atlas.scan.winners import winners_of
from atlas.store import layout, parquet
from atlas.tables.neurons import CLASSES
from jobs.job import Job
from jobs.planning import data
from jobs.progress import Progress

if TYPE_CHECKING:
    from jobs.forecast import Rates, Todo

DRIVER_SECONDS = 0.03
"""Seconds a chunk costs the driver besides its fold: handing out, listing, reading it twice."""


def finish(job: Job) -> None:
    """Folds all chunks; writes codes/, responses/, state/, quarantine and classes; finds the winners."""
    plan, settings, folder = job.plan, job.plan.settings, job.folder
    progress = Progress("merge", plan.data.chunks, "chunks")
    gathered = gather(
        folder, plan.data.chunks, plan.data.count // plan.data.chunk, plan.network.layers,
        settings.k, settings.sample, lambda chunk: progress.show(chunk + 1), job.earlier, plan.data.half_codes,
    )  # fmt: skip
    progress.show(plan.data.chunks, final=True)
    listed = len(gathered.images.image_id) + len(gathered.quarantine)
    if listed != plan.data.count:
        raise JobError(
            f"{plan.data.count} images were listed, but {listed} are scanned or quarantined; please report this"
        )
    bad = pa.array([image_id for image_id, _, _ in gathered.quarantine], pa.int64())
    rows = data.read_rows(folder, plan.data, bad)
    parquet.write(folder, "quarantine", quarantine_rows(gathered.quarantine, rows))
    by_class = class_rows(gathered.fold, plan.network.layers)
    parquet.write_batches(folder, layout.table("classes"), CLASSES.columns, by_class)
    references = gathered.references
    spread = spread_winners(folder, plan.network.layers, references) if "spread" in settings.sides else []
    winners = pa.concat_tables([winners_of(gathered.fold, settings.sides, references), *spread])
    job.winners = winners.filter(pa.array(plan.asked[winners.column("neuron").to_numpy()]))
    job.gathered = gathered


def seconds(todo: Todo, rates: Rates, workers: int) -> float:
    """One chunk after another."""
    return -(-todo.images // todo.chunk) * (rates.fold + DRIVER_SECONDS)
