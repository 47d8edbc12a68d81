"""Filters: what kernels look like, where that is a picture; a layer a chunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from atlas.explain.filters import filter_rows
from atlas.network.graph import Graph, trace
from atlas.network.layers import example
from atlas.store import parquet
from jobs.job import Chunk, Job

if TYPE_CHECKING:
    from jobs.forecast import Rates, Todo
    from jobs.work import Work


def chunks(job: Job) -> Sequence[Chunk]:
    """Every layer: whether it has filters is found out by the worker."""
    return [Chunk(1, f"layer {layer.name}", number) for number, layer in enumerate(job.plan.network.layers)]


def work(worker: Work, chunk: int, given: int) -> None:
    """Draws the filters of one layer."""
    session = worker.session
    graph = worker.keep("graph", lambda: _graph(worker))
    with worker.result("filters", chunk) as result:
        result.rows["filters"] = filter_rows(
            graph, [session.layers[given]], result.pack, worker.plan.settings.picture_size, worker.plan.asked_of(given)
        )


def _graph(worker: Work) -> Graph:
    """The network's graph on its input; the network is left as it was."""
    module, p = worker.session.module, worker.session.preprocessing
    return trace(module, example(module, p.crop, p.crop, p.channels))


def finish(job: Job) -> None:
    """Writes the table, layer after layer."""
    parquet.write(job.folder, "filters", job.rows("filters", "filters"))


def seconds(todo: Todo, rates: Rates, workers: int) -> float:
    """A layer a worker at a time."""
    return rates.filters * todo.layers / max(min(workers, todo.layers), 1)
