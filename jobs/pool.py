"""Chunks on Ray actors, as the schedule says: one that is lost is replaced, one that cannot start stops the job."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import ray

from atlas.errors import AtlasError, ImageError, JobError
from jobs.schedule import ExhaustedError, Schedule

Submit = Callable[[Any, int], Any]
"""Gives a chunk to an actor: (actor, chunk) -> reference of its outcome."""
STALE = 60.0
"""Seconds that a run which nobody needs any more may go on in the next stage before its actor is stopped."""


@dataclass
class Pool:
    """Some actors and how to make another. An actor gets its first chunk when it is up: `ready(actor)` -> reference.

    `size` actors are asked for; the job runs on those that the cluster has room for.
    """

    make: Callable[[], Any]
    size: int
    retries: int
    ready: Callable[[Any], Any] = lambda actor: actor.status.remote()
    actors: dict[int, Any] = field(default_factory=dict)
    redone: int = 0
    """Chunks that were run again, because their actor was lost or they failed."""
    _made: int = 0
    _starting: dict[Any, int] = field(default_factory=dict)
    _stale: dict[Any, tuple[int, float]] = field(default_factory=dict)
    _no_start: int = 0

    def run(
        self,
        chunks: Iterable[int],
        submit: Submit,
        on_done: Callable[[Any], None],
        on_wait: Callable[[list[Any]], None] = lambda busy: None,
        describe: Callable[[int], str] = lambda chunk: f"chunk {chunk}",
    ) -> None:
        """Runs every chunk; `on_done` gets each outcome, in the order of finishing; `on_wait` the busy actors, about
        once a second. Raises `JobError`, naming the chunk that failed too often and its last error.
        """
        schedule = Schedule(chunks, self.retries)
        references: dict[Any, int] = {}
        self._grow(len(schedule.left))
        try:
            while schedule.left:
                self._hand_out(schedule, references, submit)
                waited = [*references, *self._starting, *self._stale]
                for reference in _ready(waited):
                    self._take_back(reference, references, schedule, on_done, describe)
                on_wait([self.actors[worker] for worker in references.values()])
                self._stop_stale()
        finally:
            self.redone += schedule.redone
            now = time.monotonic()
            self._stale |= {reference: (worker, now) for reference, worker in references.items()}

    def _grow(self, wanted: int) -> None:
        while len(self.actors) < min(self.size, wanted):
            self._start()

    def _start(self) -> None:
        self._made += 1
        actor = self.actors[self._made] = self.make()
        self._starting[self.ready(actor)] = self._made

    def _hand_out(self, schedule: Schedule, references: dict[Any, int], submit: Submit) -> None:
        busy = {*references.values(), *self._starting.values(), *(worker for worker, _ in self._stale.values())}
        for worker in [worker for worker in self.actors if worker not in busy]:
            chunk = schedule.take(worker, time.monotonic())
            if chunk is None:
                continue
            references[submit(self.actors[worker], chunk)] = worker

    def _take_back(
        self,
        reference: Any,
        references: dict[Any, int],
        schedule: Schedule,
        on_done: Callable[[Any], None],
        describe: Callable[[int], str],
    ) -> None:
        """One reference that is ready: an actor that is up, or a run that ended, well or not."""
        starting = self._starting.pop(reference, None)
        stale = self._stale.pop(reference, None)
        worker = starting or (stale[0] if stale else references.pop(reference))
        mine = starting is None and stale is None
        chunk = schedule.runs[worker].chunk if mine else -1
        replace = False
        try:
            outcome = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, BaseException) else error
            if not mine:
                return
            if isinstance(cause, AtlasError) and not isinstance(cause, ImageError):
                kind = type(cause) if isinstance(cause, JobError) else JobError
                raise kind(f"{describe(chunk)}: {_line(cause)}") from None
            replace = self._judged(lambda: schedule.failed(worker, time.monotonic()), describe, cause)
        except ray.exceptions.RayError as error:
            if starting is not None:
                self._did_not_start(error)
            elif mine:
                self._judged(lambda: schedule.lost(worker, time.monotonic()), describe, error)
            replace = True
        else:
            self._no_start = 0
            if mine and schedule.done(worker, time.monotonic()) is not None:
                on_done(outcome)
        if replace:
            ray.kill(self.actors.pop(worker))
            self._start()

    def _judged(self, verdict: Callable[[], Any], describe: Callable[[int], str], error: BaseException) -> bool:
        try:
            return bool(verdict())
        except ExhaustedError as exhausted:
            raise JobError(
                f"{describe(exhausted.chunk)} failed {exhausted.times} times, last with {type(error).__name__}: "
                f"{_line(error)}; mend the cause, then run the same command again to go on"
            ) from None

    def _did_not_start(self, error: BaseException) -> None:
        self._no_start += 1
        if self._no_start > self.retries:
            raise JobError(
                f"workers do not start: {self._no_start} in a row, last with {type(error).__name__}: {_line(error)}; "
                "mend the cause, then run the same command again to go on"
            )
        time.sleep(min(0.1 * 2.0**self._no_start, 5.0))

    def _stop_stale(self) -> None:
        """Stops actors that are still at a chunk which was done elsewhere: a hung disk must not hold up the job."""
        now = time.monotonic()
        for reference, (worker, since) in list(self._stale.items()):
            if now - since > STALE:
                del self._stale[reference]
                ray.kill(self.actors.pop(worker))
                self._start()

    def close(self) -> None:
        """Stops the actors."""
        for actor in self.actors.values():
            ray.kill(actor)
        self.actors.clear()
        self._starting.clear()
        self._stale.clear()


def _ready(references: list[Any]) -> list[Any]:
    """Those that are ready; waits about a second for the first, and takes along what is there by then."""
    if not references:  # a failed chunk rests a moment before it is tried again
        time.sleep(0.05)
        return []
    ready, rest = ray.wait(references, num_returns=1, timeout=1.0)
    if ready and rest:
        ready += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
    return list(ready)


def _line(error: BaseException) -> str:
    """The message in one line; of an error that a worker's constructor raised, that of its cause."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[-1:] if isinstance(error, ray.exceptions.RayError) else lines)
    return " ".join(text.split())[:500]
