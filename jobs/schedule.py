"""Which unit goes to which worker, and what follows from its end: decisions only, no Ray, no clock.

The pool asks with the time on the wall, the simulator of `bench/` with virtual time. A unit is handed out once; again,
elsewhere if there is an elsewhere, when it failed or its worker was lost; and twice when nothing waits and its run has
taken half as long again as is usual. The first end counts. Nothing is skipped: a unit that fails too often stops the
job by name.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from statistics import median

LOSSES = 3
"""Workers a unit may lose, as a multiple of the times it may fail: a spot node that goes is not the unit's fault."""
SLOW = 1.5
"""Times the usual duration after which a run may be doubled."""
UNKNOWN = 300.0
"""Seconds after which a run may be doubled while no unit is done yet."""
PATIENCE = 5.0
"""Seconds that a failed unit waits for another worker than those it failed on."""
IN_A_ROW = 2
"""Failures in a row after which a worker is replaced."""


class ExhaustedError(Exception):
    """A unit failed more often than it may: `unit`, `times`."""

    def __init__(self, unit: int, times: int) -> None:
        super().__init__(f"unit {unit} failed {times} times")
        self.unit = unit
        self.times = times


@dataclass(frozen=True)
class Run:
    """A unit at work since some time."""

    unit: int
    since: float


@dataclass
class Schedule:
    """Units to be done, and who does them. `workers` are any keys that can be told apart."""

    units: Iterable[int]
    retries: int
    waiting: deque[int] = field(init=False)
    left: set[int] = field(init=False)
    runs: dict[Hashable, Run] = field(init=False, default_factory=dict)
    redone: int = field(init=False, default=0)
    """Runs begun again after a failure or a loss."""
    doubled: int = field(init=False, default=0)
    """Runs begun beside a slow one."""

    def __post_init__(self) -> None:
        self.waiting = deque(self.units)
        self.left = set(self.waiting)
        self._once: set[int] = set()
        self._failures: Counter[int] = Counter()
        self._losses: Counter[int] = Counter()
        self._failed_on: dict[int, set[Hashable]] = {}
        self._ready_at: dict[int, float] = {}
        self._in_a_row: Counter[Hashable] = Counter()
        self._durations: deque[float] = deque(maxlen=101)

    def take(self, worker: Hashable, now: float) -> int | None:
        """The unit that `worker`, which is idle, runs from now on; None: there is none for it yet."""
        unit = self._waiting_for(worker, now)
        if unit is None and not self.waiting:
            unit = self._slow(now)
        if unit is not None:
            self.runs[worker] = Run(unit, now)
        return unit

    def _waiting_for(self, worker: Hashable, now: float) -> int | None:
        for _ in range(len(self.waiting)):
            unit = self.waiting[0]
            ready_at = self._ready_at.get(unit, 0.0)
            here = worker in self._failed_on.get(unit, ())
            if now >= ready_at + (PATIENCE if here else 0.0):
                self.waiting.popleft()
                self._once.add(unit)
                return unit
            self.waiting.rotate(-1)
        return None

    def _slow(self, now: float) -> int | None:
        """The longest run of those that have no double and take too long."""
        limit = SLOW * median(self._durations) if self._durations else UNKNOWN
        begun = [run for run in self.runs.values() if run.unit in self._once and now - run.since > limit]
        if not begun:
            return None
        unit = min(begun, key=lambda run: (run.since, run.unit)).unit
        self._once.discard(unit)
        self.doubled += 1
        return unit

    def done(self, worker: Hashable, now: float) -> int | None:
        """The worker's run ended well: its unit, or None where another run of it was first."""
        run = self.runs.pop(worker)
        self._in_a_row[worker] = 0
        self._durations.append(now - run.since)
        if run.unit not in self.left:
            return None
        self.left.discard(run.unit)
        self._once.discard(run.unit)
        return run.unit

    def failed(self, worker: Hashable, now: float) -> bool:
        """The worker's run failed; gives whether the worker should be replaced. Raises `ExhaustedError`."""
        run = self.runs.pop(worker)
        self._in_a_row[worker] += 1
        if run.unit in self.left:
            self._failures[run.unit] += 1
            self._failed_on.setdefault(run.unit, set()).add(worker)
            times = self._failures[run.unit]
            if times > self.retries:
                raise ExhaustedError(run.unit, times)
            self._again(run.unit, now + min(0.1 * 2.0 ** (times - 1), 5.0))
        return self._in_a_row[worker] >= IN_A_ROW

    def lost(self, worker: Hashable, now: float) -> None:
        """The worker is gone, with its run if it had one. Raises `ExhaustedError`."""
        run = self.runs.pop(worker, None)
        if run is not None and run.unit in self.left:
            self._losses[run.unit] += 1
            times = self._losses[run.unit]
            if times > LOSSES * (self.retries + 1):
                raise ExhaustedError(run.unit, times)
            self._again(run.unit, now)

    def _again(self, unit: int, at: float) -> None:
        """First in the line, unless another run of the unit goes on."""
        if any(run.unit == unit for run in self.runs.values()):
            self._once.add(unit)
            return
        self._once.discard(unit)
        self._ready_at[unit] = at
        self.waiting.appendleft(unit)
        self.redone += 1
