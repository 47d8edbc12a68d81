"""A build of 14 million images on 1,024 workers that fail, dawdle and are taken away, in virtual time.

    python -m bench.simulate [--images 14000000] [--workers 1024] [--seed 0]

The decisions are those of the real job: `jobs.schedule` says who runs what and what is run again,
`jobs.stages.harvest` cuts the winners into chunks. Only the clock and the workers are made up. Printed: the time
against the least possible (all work, no trouble, perfectly shared), and what was run again.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from atlas.scan.winners import WINNERS
from jobs.schedule import Schedule
from jobs.stages.harvest import cut


@dataclass(frozen=True)
class Trouble:
    """What goes wrong. Seconds and shares."""

    failing: float = 0.005  # of the runs, half-way
    slow_workers: float = 0.02
    slowness: float = 5.0
    lost_an_hour: float = 0.5  # times a worker is taken away
    replaced_after: tuple[float, float] = (60.0, 600.0)
    driver_lost: int = 1  # times in a stage
    driver_back_after: float = 120.0
    spread: float = 0.15  # sigma of the logarithm of a chunk's duration


@dataclass
class Result:
    """One stage: virtual seconds, the least possible, and what was run again."""

    seconds: float
    least: float
    chunks: int
    redone: int = 0
    doubled: int = 0
    failures: int = 0
    losses: int = 0
    left_by_driver: int = 0

    def __str__(self) -> str:
        return (
            f"{self.chunks:,} chunks in {self.seconds / 60:.1f} min, {self.least / self.seconds:.3f} of the best "
            f"({self.least / 60:.1f} min); {self.failures} failures, {self.losses} workers lost, "
            f"{self.left_by_driver} runs lost with the driver; {self.redone} run again, {self.doubled} run twice"
        )


@dataclass
class Stage:
    """One stage in virtual time. `durations`: seconds of each chunk on a usual worker."""

    durations: Sequence[float]
    workers: int
    retries: int
    trouble: Trouble
    rng: random.Random
    now: float = 0.0
    _events: list[tuple[float, int, str, int]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)

    def run(self) -> Result:
        """Runs it to the end. Raises `ExhaustedError` where the real job would stop."""
        least = sum(self.durations) / self.workers
        result = Result(0.0, least, len(self.durations))
        done: set[int] = set()
        crashes = sorted(self.rng.uniform(0.2, 0.8) * least for _ in range(self.trouble.driver_lost))
        while True:
            ended = self._drive(done, crashes.pop(0) if crashes else None, result)
            if ended:
                result.seconds = self.now
                assert len(done) == len(self.durations)
                return result
            self.now += self.trouble.driver_back_after

    def _drive(self, done: set[int], crash: float | None, result: Result) -> bool:
        """One driver's life, from what is done to the end, or to its crash."""
        schedule = Schedule([chunk for chunk in range(len(self.durations)) if chunk not in done], self.retries)
        self._events.clear()
        speeds: dict[int, float] = {}
        token: dict[int, int] = {}  # the event that counts for a worker: others are of runs that are over
        fresh = itertools.count()
        for _ in range(self.workers):
            self._join(next(fresh), speeds, self.now)
        idle: set[int] = set()
        ticking = False
        while schedule.left:
            at, number, what, worker = heapq.heappop(self._events)
            if crash is not None and at >= crash:
                self.now = crash
                result.left_by_driver += len(schedule.runs)
                self._count(schedule, result)
                return False
            self.now = at
            if what == "up":
                speeds[worker] = self.trouble.slowness if self.rng.random() < self.trouble.slow_workers else 1.0
                if self.trouble.lost_an_hour:
                    self._at(at + self.rng.expovariate(self.trouble.lost_an_hour / 3600), "lost", worker)
                idle.add(worker)
            elif what == "lost" and worker in speeds:
                result.losses += 1
                schedule.lost(worker, at)
                self._away(worker, speeds, idle)
                self._join(next(fresh), speeds, at + self.rng.uniform(*self.trouble.replaced_after))
            elif what in ("done", "failed") and worker in speeds and token.get(worker) == number:
                idle.add(worker)
                if what == "done":
                    chunk = schedule.done(worker, at)
                    if chunk is not None:
                        done.add(chunk)
                else:
                    result.failures += 1
                    if schedule.failed(worker, at):
                        self._away(worker, speeds, idle)
                        self._join(next(fresh), speeds, at + 10.0)
            self._hand_out(schedule, idle, speeds, token)
            ticking = ticking and what != "tick"
            if idle and not ticking:  # the real pool looks about once a second
                self._at(at + 1.0, "tick", -1)
                ticking = True
        self._count(schedule, result)
        return True

    def _hand_out(self, schedule: Schedule, idle: set[int], speeds: dict[int, float], token: dict[int, int]) -> None:
        for worker in sorted(idle):
            chunk = schedule.take(worker, self.now)
            if chunk is None:
                break
            idle.discard(worker)
            takes = self.durations[chunk] * speeds[worker] * self.rng.lognormvariate(0, self.trouble.spread)
            fails = self.rng.random() < self.trouble.failing
            token[worker] = self._at(self.now + takes * (0.5 if fails else 1), "failed" if fails else "done", worker)

    def _join(self, worker: int, speeds: dict[int, float], at: float) -> None:
        self._at(at + self.rng.uniform(5, 20), "up", worker)

    def _away(self, worker: int, speeds: dict[int, float], idle: set[int]) -> None:
        del speeds[worker]
        idle.discard(worker)

    def _at(self, when: float, what: str, worker: int) -> int:
        number = next(self._order)
        heapq.heappush(self._events, (when, number, what, worker))
        return number

    def _count(self, schedule: Schedule, result: Result) -> None:
        result.redone += schedule.redone
        result.doubled += schedule.doubled


def winners(images: int, neurons: int, seed: int) -> pa.Table:
    """Winners as they might be: nine of side max and of side min a neuron, ten of the sample."""
    rng = np.random.default_rng(seed)
    ids = np.concatenate(
        [rng.integers(0, images, 18 * neurons), rng.choice(rng.integers(0, images, 4096), 10 * neurons)]
    )
    neuron = np.concatenate([np.repeat(np.arange(neurons), 18), np.repeat(np.arange(neurons), 10)])
    side = np.array(["max", "min", "spread"])[np.concatenate([np.tile([0, 1], 9 * neurons), np.full(10 * neurons, 2)])]
    nothing = np.zeros(len(ids))
    columns = [neuron, side, nothing, ids, nothing, nothing]
    return pa.table([pa.array(c).cast(f.type) for c, f in zip(columns, WINNERS, strict=True)], schema=WINNERS)


def main() -> None:
    """Simulates scan and harvest, and prints both."""
    parser = argparse.ArgumentParser(description="A build on many workers, in virtual time.")
    parser.add_argument("--images", type=int, default=14_000_000)
    parser.add_argument("--chunk-size", type=int, default=1024)
    parser.add_argument("--workers", type=int, default=1024)
    parser.add_argument("--rate", type=float, default=20.0, help="images/s of a usual worker")
    parser.add_argument("--neurons", type=int, default=26_560)
    parser.add_argument("--examples", type=float, default=200.0, help="examples/s of a usual worker")
    parser.add_argument("--retries", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    chunks = -(-chosen.images // chosen.chunk_size)
    scan = [chosen.chunk_size / chosen.rate] * chunks
    harvest = [
        len(chunk) / chosen.examples
        for chunk in cut(winners(chosen.images, chosen.neurons, chosen.seed), chosen.chunk_size)
    ]
    for name, durations in (("scan", scan), ("harvest", harvest)):
        for trouble in (Trouble(0, 0, 1, 0, driver_lost=0), Trouble()):
            stage = Stage(durations, chosen.workers, chosen.retries, trouble, random.Random(chosen.seed))
            print(f"{name}, {'with trouble' if trouble.failing else 'no trouble'}: {stage.run()}")


if __name__ == "__main__":
    main()
