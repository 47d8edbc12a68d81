"""Units on actors: each unit once, again elsewhere if it fails, the last ones twice; nothing skipped."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import ray

from atlas.errors import AtlasError, JobError

Submit = Callable[[Any, int], Any]
"""Gives a unit to an actor: (actor, unit) -> reference of its outcome."""


@dataclass
class Pool:
    """Some actors and how to make another. A unit that fails `retries` + 1 times stops the job by name."""

    make: Callable[[], Any]
    size: int
    retries: int
    actors: list[Any] = field(default_factory=list)
    redone: int = 0
    """Units that were run again, because their actor was lost or they failed."""

    def run(
        self,
        units: Iterable[int],
        submit: Submit,
        on_done: Callable[[Any], None],
        on_wait: Callable[[list[Any]], None] = lambda busy: None,
        describe: Callable[[int], str] = lambda unit: f"unit {unit}",
    ) -> None:
        """Runs every unit; `on_done` gets each outcome, in the order of finishing; `on_wait` the busy actors, about once a
        second. Raises `JobError`."""
        waiting = deque(units)
        left = set(waiting)
        failures: dict[int, int] = {}
        running: dict[Any, tuple[int, Any]] = {}
        self.actors += [self.make() for _ in range(min(self.size, len(waiting)) - len(self.actors))]
        idle = list(self.actors)
        while left:
            while idle and (unit := self._next(waiting, running, left)) is not None:
                actor = idle.pop()
                running[submit(actor, unit)] = (unit, actor)
            ready, _ = ray.wait(list(running), num_returns=1, timeout=1.0)
            on_wait([actor for _, actor in running.values()])
            for reference in ready:
                unit, actor = running.pop(reference)
                try:
                    outcome = ray.get(reference)
                except ray.exceptions.RayActorError as error:
                    idle.append(self._replace(actor))
                    self._failed(unit, error, failures, waiting, left, describe)
                except ray.exceptions.RayTaskError as error:
                    idle.append(actor)
                    self._failed(unit, error.cause, failures, waiting, left, describe)
                else:
                    idle.append(actor)
                    if unit in left:
                        left.discard(unit)
                        on_done(outcome)

    def _next(self, waiting: deque[int], running: dict[Any, tuple[int, Any]], left: set[int]) -> int | None:
        """The next unit to hand out; when none waits, one that runs once only, so that no slow actor holds up the end."""
        if waiting:
            return waiting.popleft()
        runs = [unit for unit, _ in running.values() if unit in left]
        once = [unit for unit in runs if runs.count(unit) == 1]
        return once[0] if once and len(self.actors) > 1 else None

    def _replace(self, actor: Any) -> Any:
        self.actors.remove(actor)
        self.actors.append(self.make())
        return self.actors[-1]

    def _failed(
        self,
        unit: int,
        error: BaseException,
        failures: dict[int, int],
        waiting: deque[int],
        left: set[int],
        describe: Callable[[int], str],
    ) -> None:
        if unit not in left:
            return  # another run of it is done already
        if isinstance(error, JobError):
            raise JobError(f"{describe(unit)}: {error}")
        failures[unit] = failures.get(unit, 0) + 1
        if failures[unit] > self.retries:
            raise JobError(
                f"{describe(unit)} failed {failures[unit]} times, last with {type(error).__name__}: "
                f"{_line(error)}; mend the cause, then run the same command again to go on"
            )
        self.redone += 1
        time.sleep(min(2.0 ** (failures[unit] - 1) * 0.1, 5.0))
        waiting.append(unit)

    def close(self) -> None:
        """Ends the actors."""
        for actor in self.actors:
            ray.kill(actor)
        self.actors.clear()


def _line(error: BaseException) -> str:
    text = str(error).strip() or repr(error)
    return text if isinstance(error, AtlasError) else text.splitlines()[-1][:300]
