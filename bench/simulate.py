"""A build of many images on 1,024 workers that fail, dawdle and are taken away, in virtual time.

    python -m bench.simulate [--images 14000000] [--workers 1024] [--with occlusion,…] [--decoders 0] [--seed 0]

The decisions are those of the real job: `jobs.schedule` says who runs what and what is run again, the stages cut their
work (`jobs.stages.harvest.cut`, `atlas.scan.pieces`, a layer a chunk), and what the driver does alone, and what a part
takes, are what `--plan` says. Only the clock, the workers and the bucket are made up: a chunk waits for its requests,
each with a latency, some refused and tried again. Printed: the time of each stage against the least possible (all work,
no trouble, perfectly shared), what was run again, and the whole build.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from atlas.scan.pieces import pieces
from atlas.scan.winners import WINNERS
from atlas.types import Axis, Field, Layer
from bench.imagenet import RATES, TODO
from jobs import stages
from jobs.forecast import Rates, Todo, decoding, distinct, forecast
from jobs.schedule import Schedule
from jobs.stages import harvest, merge
from jobs.stages.harvest import cut

FIRST_PAUSE = 0.1
"""Seconds after which `atlas.store.files` tries a refused read again."""


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
    latency: float = 0.0  # of a request to the bucket
    refused: float = 0.0  # of the requests, each of which is tried again after twice the time of the one before
    at_once: int = 8  # requests of a worker
    wave_every: float = 0.0  # seconds until a share of all workers goes at once, again and again
    wave_share: float = 0.0

    def waiting(self, requests: int, rng: random.Random) -> float:
        """Seconds that so many requests of a chunk wait for the bucket."""
        if not requests or not self.latency:
            return 0.0
        expected = requests * self.refused
        again = max(round(rng.gauss(expected, expected**0.5)), 0)
        return (requests / self.at_once) * self.latency + again / self.at_once * (self.latency + FIRST_PAUSE)


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
    requests: int = 0
    """Of a chunk, to the bucket."""
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
        if self.trouble.wave_every:
            self._at(self.now + self.trouble.wave_every, "wave", -1)
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
                self._lose(worker, next(fresh), schedule, speeds, idle, result)
            elif what == "wave":
                for each in sorted(speeds):
                    if self.rng.random() < self.trouble.wave_share:
                        self._lose(each, next(fresh), schedule, speeds, idle, result)
                self._at(at + self.trouble.wave_every, "wave", -1)
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
            takes += self.trouble.waiting(self.requests, self.rng)
            fails = self.rng.random() < self.trouble.failing
            token[worker] = self._at(self.now + takes * (0.5 if fails else 1), "failed" if fails else "done", worker)

    def _lose(
        self, worker: int, heir: int, schedule: Schedule, speeds: dict[int, float], idle: set[int], result: Result
    ) -> None:
        result.losses += 1
        schedule.lost(worker, self.now)
        self._away(worker, speeds, idle)
        self._join(heir, speeds, self.now + self.rng.uniform(*self.trouble.replaced_after))

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


@dataclass(frozen=True)
class Case:
    """What is built. Rates are a usual worker's."""

    images: int
    chunk: int
    neurons: int
    classes: int
    workers: int
    decoders: int
    parts: tuple[str, ...]
    rates: Rates
    seed: int

    @property
    def todo(self) -> Todo:
        strongest, spread = 18 * self.neurons, 10 * self.neurons
        return replace(
            TODO, images=self.images, left=self.images, chunk=self.chunk, neurons=self.neurons, classes=self.classes,
            examples=strongest + spread, harvest_images=distinct(self.images, strongest, spread, TODO.sample),
        )  # fmt: skip

    def stages(self) -> dict[str, tuple[list[float], int]]:
        """Of each stage whose chunks workers share: seconds of each chunk on a usual worker, requests of a chunk."""
        rates = decoding(self.rates, self.workers, self.decoders, 0, 2**31)
        chunks = -(-self.images // self.chunk)
        layers = np.diff(np.linspace(0, self.neurons, TODO.layers + 1).astype(int)).tolist()
        field = Field(Axis(1, 1, 0), Axis(1, 1, 0))
        cut_layers = [Layer(n, f"{n}", "conv", count, 1, 1, field, True, "m") for n, count in enumerate(layers)]
        winning = cut(winners(self.images, self.neurons, self.seed), self.chunk)
        found = {
            "scan": ([self.chunk / rates.scan] * chunks, self.chunk // SHARD + 2),
            "merge": (
                [chunks * rates.fold * piece.neurons / self.neurons for piece in pieces(cut_layers)],
                2 * chunks,
            ),
            "harvest": ([len(each) / rates.harvest for each in winning], harvest.IMAGES),
            "sanity": ([rates.sanity] * len(layers), 64),
            "filters": ([rates.filters] * len(layers), 1),
        }
        for name in self.parts:
            chosen = stages.part(name)
            todo = replace(self.todo, options=chosen.options_class()())
            takes = chosen.load().seconds(todo, rates, 1)
            count = max(round(takes / PART_CHUNK), 1)
            found[name] = ([takes / count] * count, harvest.IMAGES if "images" in chosen.needs else 2)
        return found

    def alone(self) -> dict[str, float]:
        """Seconds of what the driver does alone."""
        seconds = forecast(self.todo, self.rates, self.workers).seconds
        own = merge.SURVEY_SECONDS * -(-self.images // self.chunk) + merge.ROW_SECONDS * self.neurons * self.classes
        return {name: seconds[name] for name in ("start", "analyse", "publish")} | {"merge's tables": own}


SHARD = 256
"""Images that are read in one request, from shards."""
PART_CHUNK = 60.0
"""Seconds of a chunk of a part."""
CALM = Trouble(0, 0, 1, 0, driver_lost=0)


def main(words: list[str] | None = None) -> bool:
    """Simulates every stage, without and with trouble, and prints them; nothing is claimed."""
    parser = argparse.ArgumentParser(description="A build on many workers, in virtual time.")
    parser.add_argument("--images", type=int, default=14_000_000)
    parser.add_argument("--chunk-size", type=int, default=1024)
    parser.add_argument("--workers", type=int, default=1024)
    parser.add_argument("--rate", type=float, default=20.0, help="images/s of a usual worker")
    parser.add_argument("--neurons", type=int, default=26_560)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--examples", type=float, default=200.0, help="examples/s of a usual worker")
    parser.add_argument("--decoders", type=int, default=0, help="CPUs that decode for all workers; 0: each for itself")
    parser.add_argument("--with", dest="parts", default="", help="parts, with commas between")
    parser.add_argument("--latency", type=float, default=0.03, help="seconds of a request to the bucket")
    parser.add_argument("--refused", type=float, default=0.02, help="share of the requests that are refused")
    parser.add_argument("--wave-every", type=float, default=1800.0, help="seconds; 0: workers go one by one only")
    parser.add_argument("--wave-share", type=float, default=0.3)
    parser.add_argument("--retries", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(words)
    rates = replace(RATES, scan=chosen.rate, harvest=chosen.examples, network=1 / chosen.rate, waiting=0.0)
    case = Case(
        chosen.images, chosen.chunk_size, chosen.neurons, chosen.classes, chosen.workers, chosen.decoders,
        tuple(filter(None, chosen.parts.split(","))), rates, chosen.seed,
    )  # fmt: skip
    bucket = Trouble(
        latency=chosen.latency, refused=chosen.refused, wave_every=chosen.wave_every, wave_share=chosen.wave_share
    )
    for trouble in (CALM, bucket):
        rng, shared = random.Random(chosen.seed), 0.0
        print("with trouble, a bucket and waves:" if trouble.failing else "no trouble:")
        for name, (durations, requests) in case.stages().items():
            result = Stage(durations, chosen.workers, chosen.retries, trouble, rng, requests).run()
            shared += result.seconds
            print(f"  {name}: {result}")
        alone = case.alone()
        words_alone = ", ".join(f"{name} {seconds / 60:.1f}" for name, seconds in alone.items())
        total = shared + sum(alone.values())
        print(f"  the driver alone, minutes: {words_alone}; the whole build {total / 60:.0f} minutes")
    return True


if __name__ == "__main__":
    main()
