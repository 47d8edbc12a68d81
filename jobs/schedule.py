"""Which chunk goes to which worker, and what follows from its end: decisions only, no Ray, no clock.

The pool asks with the time on the wall, the simulator of `bench/` with virtual time. A chunk is handed out once; again,
elsewhere if there is an elsewhere, when it failed or its worker was lost; and twice when nothing waits and its run has
taken half as long again as is usual. The first end counts. Nothing is skipped: a chunk that fails too often stops the
job by name.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from statistics import median

LOSSES = 3
"""Workers a chunk may lose, as a multiple of the times it may fail: a spot node that goes is not the chunk's fault."""
SLOW = 1.5
"""Times the usual duration after which a run may be doubled."""
UNKNOWN = 300.0
"""Seconds after which a run may be doubled while no chunk is done yet."""
PATIENCE = 5.0
"""Seconds that a failed chunk waits for another worker than those it failed on."""
IN_A_ROW = 2
"""Failures in a row after which a worker is replaced."""


class ExhaustedError(Exception):
    """A chunk failed more often than it may: `chunk`, `times`."""

    def __init__(self, chunk: int, times: int) -> None:
        super().__init__(f"chunk {chunk} failed {times} times")
        self.chunk = chunk
        self.times = times


@dataclass(frozen=True)
class Run:
    """A chunk at work since some time."""

    chunk: int
    since: float


@dataclass
class Schedule:
    """Chunks to be done, and who does them. `workers` are any keys that can be told apart."""

    chunks: Iterable[int]
    retries: int
    waiting: deque[int] = field(init=False)
    left: set[int] = field(init=False)
    runs: dict[Hashable, Run] = field(init=False, default_factory=dict)
    redone: int = field(init=False, default=0)
    """Runs begun again after a failure or a loss."""
    doubled: int = field(init=False, default=0)
    """Runs begun beside a slow one."""

    def __post_init__(self) -> None:
        self.waiting = deque(self.chunks)
        self.left = set(self.waiting)
        self._once: set[int] = set()
        self._failures: Counter[int] = Counter()
        self._losses: Counter[int] = Counter()
        self._failed_on: dict[int, set[Hashable]] = {}
        self._ready_at: dict[int, float] = {}
        self._in_a_row: Counter[Hashable] = Counter()
        self._durations: deque[float] = deque(maxlen=101)

    def take(self, worker: Hashable, now: float) -> int | None:
        """The chunk that `worker`, which is idle, runs from now on; None: there is none for it yet."""
        chunk = self._waiting_for(worker, now)
        if chunk is None and not self.waiting:
            chunk = self._slow(now)
        if chunk is not None:
            self.runs[worker] = Run(chunk, now)
        return chunk

    def _waiting_for(self, worker: Hashable, now: float) -> int | None:
        for _ in range(len(self.waiting)):
            chunk = self.waiting[0]
            ready_at = self._ready_at.get(chunk, 0.0)
            here = worker in self._failed_on.get(chunk, ())
            if now >= ready_at + (PATIENCE if here else 0.0):
                self.waiting.popleft()
                self._once.add(chunk)
                return chunk
            self.waiting.rotate(-1)
        return None

    def _slow(self, now: float) -> int | None:
        """The longest run of those that have no double and take too long."""
        limit = SLOW * median(self._durations) if self._durations else UNKNOWN
        begun = [run for run in self.runs.values() if run.chunk in self._once and now - run.since > limit]
        if not begun:
            return None
        chunk = min(begun, key=lambda run: (run.since, run.chunk)).chunk
        self._once.discard(chunk)
        self.doubled += 1
        return chunk

    def done(self, worker: Hashable, now: float) -> int | None:
        """The worker's run ended well: its chunk, or None where another run of it was first."""
        run = self.runs.pop(worker)
        self._in_a_row[worker] = 0
        self._durations.append(now - run.since)
        if run.chunk not in self.left:
            return None
        self.left.discard(run.chunk)
        self._once.discard(run.chunk)
        return run.chunk

    def failed(self, worker: Hashable, now: float) -> bool:
        """The worker's run failed; gives whether the worker should be replaced. Raises `ExhaustedError`."""
        run = self.runs.pop(worker)
        self._in_a_row[worker] += 1
        if run.chunk in self.left:
            self._failures[run.chunk] += 1
            self._failed_on.setdefault(run.chunk, set()).add(worker)
            times = self._failures[run.chunk]
            if times > self.retries:
                raise ExhaustedError(run.chunk, times)
            self._again(run.chunk, now + min(0.1 * 2.0 ** (times - 1), 5.0))
        return self._in_a_row[worker] >= IN_A_ROW

    def lost(self, worker: Hashable, now: float) -> None:
        """The worker is gone, with its run if it had one. Raises `ExhaustedError`."""
        run = self.runs.pop(worker, None)
        if run is not None and run.chunk in self.left:
            self._losses[run.chunk] += 1
            times = self._losses[run.chunk]
            if times > LOSSES * (self.retries + 1):
                raise ExhaustedError(run.chunk, times)
            self._again(run.chunk, now)

    def _again(self, chunk: int, at: float) -> None:
        """First in the line, unless another run of the chunk goes on."""
        if any(run.chunk == chunk for run in self.runs.values()):
            self._once.add(chunk)
            return
        self._once.discard(chunk)
        self._ready_at[chunk] = at
        self.waiting.appendleft(chunk)
        self.redone += 1
