"""The worker as a Ray actor: a thin shell around `jobs.work.Work`."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any

import ray

from atlas.errors import JobError
from atlas.store import layout
from atlas.store.files import Folder
from jobs.planning.plan import Plan
from jobs.stages import Stage
from jobs.work import Outcome, Work

ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(64 * 2**20)}
"""How a worker's process is started: glibc keeps freed memory. By default each feature map of each batch is asked from
the system anew and cleared page by page, which takes up to half of a forward pass; the peak is the same."""


@dataclass(frozen=True)
class Workers:
    """How many workers run at once; how many decoding threads each has; how many CPUs decode for all of them."""

    count: int
    decode_threads: int
    gpus: float
    decoders: int = 0


@ray.remote(max_restarts=0, concurrency_groups={"status": 1})
class Worker:
    """`Work` as a Ray actor."""

    def __init__(self, plan: Plan, workers: Workers) -> None:
        if not Folder(plan.settings.out).exists(layout.PLAN):
            raise JobError(
                f"--out {plan.settings.out}: the worker on {socket.gethostname()} does not see the driver's files; "
                "give a folder that all machines share, or a bucket (s3://)"
            )
        self._work = Work(plan, workers.decode_threads, workers.decoders, workers.count)

    def work(self, stage: Stage, chunk: int, given: Any) -> Outcome:
        """Does a chunk of a stage and commits it."""
        return self._work.work(stage, chunk, given)

    @ray.method(concurrency_group="status")  # type: ignore[untyped-decorator]
    def status(self) -> tuple[int, int]:
        """Process number, and how much of the chunk at hand is done."""
        return os.getpid(), self._work.done()
