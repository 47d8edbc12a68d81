"""Sanity: whether each kind of picture depends on the network's weights; a layer a chunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from atlas.explain import sanity
from atlas.explain.aligned import Images
from atlas.store import parquet
from jobs.job import Chunk, Job

if TYPE_CHECKING:
    from jobs.forecast import Rates, Todo
    from jobs.work import Work


def chunks(job: Job) -> Sequence[Chunk]:
    """The chosen examples of each layer that has some."""
    plan = job.plan
    if not plan.settings.projections:
        return ()
    chosen = sanity.choose(job.examples, plan.network.layers, plan.settings.seed)
    by_layer = [(layer, chosen.filter(pa.compute.field("layer") == layer.name)) for layer in plan.network.layers]
    return [Chunk(1, f"layer {layer.name}", examples) for layer, examples in by_layer if len(examples)]


def work(worker: Work, chunk: int, given: pa.Table) -> None:
    """Draws the pictures of one layer's examples again, with weights permuted."""
    session, settings = worker.session, worker.plan.settings
    bodies = worker.bodies(given.column("image_id").to_pylist())
    ids, pixels = sanity.read_inputs(bodies, session.preprocessing)
    with worker.result("sanity", chunk) as result:
        result.rows["sanity"] = sanity.sanity_rows(
            session.module, session.layers, given, ids, Images(pixels, session.normalise), settings.projections,
            settings.batch_size, settings.seed,
        )  # fmt: skip


def finish(job: Job) -> None:
    """Writes the table, layer after layer."""
    parquet.write(job.folder, "sanity", job.rows("sanity", "sanity"))


def seconds(todo: Todo, rates: Rates, workers: int) -> float:
    """A layer a worker at a time."""
    return rates.sanity * todo.layers / max(min(workers, todo.layers), 1)
