"""Analyse: index, map, neuron vectors, and how neurons relate to one another; on one thread of the driver."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from atlas.analyse import stage
from jobs.job import Job
from jobs.progress import say

if TYPE_CHECKING:
    from jobs.forecast import Rates, Todo

MAP_SECONDS = ((0, 0.2), (1_000, 1.7), (2_000, 5.0), (10_000, 24.3), (50_000, 57.0), (200_000, 260.0))
"""Seconds of the map by images, on a core that does the reference t-SNE in `forecast.REFERENCE_SECONDS`."""
PLACED_SECONDS = 1.4e-4
"""Seconds to place an image beyond the last of `MAP_SECONDS`, on the same core."""


def finish(job: Job) -> None:
    """Writes codes.faiss, map, similar, near_misses and properties; completes neurons and examples."""
    plan = job.plan
    say("analyse: index, map, similar neurons")
    layers = list(plan.network.layers)
    job.analysed = stage.run(job.folder, plan.settings, layers, job.neurons, job.examples, job.survey.properties)


def seconds(todo: Todo, rates: Rates, workers: int) -> float:
    """Index, map and what compares neurons, on a core `rates.core` times as slow as the reference core."""
    map_seconds = _between(todo.images) + max(todo.images - MAP_SECONDS[-1][0], 0) * PLACED_SECONDS
    index = 2e-7 * todo.images * todo.dimensions
    neurons = 1.5e-7 * todo.neurons**2 + 2.5e-7 * todo.neurons * todo.sample
    return (map_seconds + index + neurons + 1e-5 * todo.examples) * rates.core


def _between(images: int) -> float:
    for (low, at_low), (high, at_high) in pairwise(MAP_SECONDS):
        if images <= high:
            return at_low + (at_high - at_low) * (images - low) / (high - low)
    return MAP_SECONDS[-1][1]
