"""One stage of a job: its chunks that are not done yet, on workers, with its progress; then its end on the driver."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import ray

from jobs.job import Chunk, Job
from jobs.pool import Pool
from jobs.progress import Progress
from jobs.stages import Stage
from jobs.work import Outcome


def run_stage(job: Job, stage: Stage, pool: Pool | None) -> None:
    """Runs what is left of a stage. Raises `JobError`, naming the chunk that failed too often."""
    job.check()
    module = stage.load()
    chunks = module.chunks(job) if stage.parallel else ()
    job.count[stage.name] = len(chunks)
    if chunks:
        assert pool is not None
        _run_chunks(job, stage, pool, chunks, getattr(module, "words", lambda reports: ""))
    module.finish(job)


def _run_chunks(job: Job, stage: Stage, pool: Pool, chunks: Sequence[Chunk], words: Any) -> None:
    done = job.done(stage)
    waiting = [number for number in range(len(chunks)) if number not in done]
    total = sum(chunk.size for chunk in chunks)
    shown = total - sum(chunks[number].size for number in waiting)
    progress = Progress(stage.name, total, stage.noun, shown)
    reports: list[Any] = []

    def on_done(outcome: Outcome) -> None:
        nonlocal shown
        shown += chunks[outcome.chunk].size
        reports.append(outcome.report)
        progress.show(shown, words(reports))

    def on_wait(busy: list[Any]) -> None:
        job.check()
        progress.show(min(shown + _running(busy), total), words(reports))

    pool.run(
        waiting,
        lambda actor, number: actor.work.remote(stage, number, chunks[number].given),
        on_done,
        on_wait,
        lambda number: f"{stage.name} of chunk {number} ({chunks[number].what})",
    )
    progress.show(total, words(reports), final=True)


def _running(busy: list[Any]) -> int:
    """What busy workers have done of their chunks; without those that do not answer at once."""
    asked = [actor.status.remote() for actor in busy]
    ready, _ = ray.wait(asked, num_returns=len(asked), timeout=0.2) if asked else ([], [])
    count = 0
    for reference in ready:
        with suppress(ray.exceptions.RayError):
            count += ray.get(reference)[1]
    return count
