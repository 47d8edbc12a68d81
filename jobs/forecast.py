"""From a few measured batches to a whole build: seconds, bytes and memory, stage by stage. Arithmetic only."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

RAY_SECONDS = 5.0
"""To start the embedded Ray, and to stop it."""
REPEATED = 0.45
"""New images a winner of side max or min brings, at most one: neurons like the same images. Found on CIFAR-10."""
MAP_SECONDS = ((0, 0.2), (1_000, 1.7), (2_000, 5.0), (10_000, 24.3), (50_000, 57.0), (200_000, 260.0))
"""Seconds of the map by images, on a core that does the reference t-SNE in `REFERENCE_SECONDS`."""
REFERENCE_SECONDS = 0.51
PLACED_SECONDS = 1.4e-4
"""Seconds to place an image beyond the last of `MAP_SECONDS`, on the same core."""
SCALE_AS = 0.03
"""Seconds a unit costs the driver besides its fold: handing out, listing, reading it twice."""


@dataclass(frozen=True)
class Work:
    """What there is to do. `left`: images that are not scanned yet."""

    images: int
    left: int
    unit_size: int
    neurons: int
    layers: int
    classes: int
    sample: int
    dimensions: int
    half_codes: bool
    examples: int
    harvest_images: int


@dataclass(frozen=True)
class Rates:
    """What was measured with `together` workers at once, each with its share of this machine."""

    together: int
    scan: float  # images/s of all of them
    harvest: float  # examples/s of all of them, at the examples an image that are expected
    decode_cpu: float  # seconds of a core an image
    network: float  # seconds of a worker an image
    waiting: float  # seconds that the network waits for decoding, an image
    storage: float  # images/s that one thread reads
    start: float  # seconds until a worker is up
    plan: float  # seconds of listing and planning
    fold: float  # seconds a unit
    examine: float  # seconds of the filters and the sanity check, once a network
    codes: float  # how much slower this core is than the reference core
    hash: float  # bytes/s of checksums
    image_bytes: float
    thumbnail_bytes: float
    picture_bytes: float  # an example, with its share of frames
    partial_bytes: float  # a unit
    memory: int  # bytes, peak of a worker
    driver_memory: int


@dataclass(frozen=True)
class Forecast:
    """What a build will take with some number of workers."""

    work: Work
    rates: Rates
    workers: int
    seconds: dict[str, float]

    @property
    def total(self) -> float:
        """Seconds from the command to its end."""
        return sum(self.seconds.values())

    def with_workers(self, workers: int) -> Forecast:
        """The same with other workers, each with a machine like this one to itself as far as was measured."""
        return forecast(self.work, self.rates, workers)


def distinct(images: int, strongest: int, spread: int, sample: int) -> int:
    """Images that are expected to be examples: `strongest` of sides max and min, `spread` of the response sample."""
    if not images:
        return 0
    missed = math.exp(-REPEATED * strongest / images)
    sampled = min(sample, images)
    if sampled:
        missed *= 1 - sampled / images * (1 - math.exp(-spread / sampled))
    return max(min(round(images * (1 - missed)), images), 1)


def forecast(work: Work, rates: Rates, workers: int) -> Forecast:
    """Stage by stage. Workers beyond the units have nothing to do; the last round of units is as long as any other."""
    each = rates.scan / rates.together
    units = -(-work.left // work.unit_size)
    busy = max(min(workers, units), 1)
    # The images a worker gets: whole units, except that the trailing one may be short.
    rounds = -(-units // busy) * work.unit_size if units else 0
    share = min(float(rounds), work.left) if busy == 1 else max(work.left / busy, rounds - work.unit_size / 2)
    return Forecast(
        work,
        rates,
        workers,
        {
            "start": rates.plan + RAY_SECONDS + rates.start,
            "scan": share / each,
            "merge": -(-work.images // work.unit_size) * (rates.fold + SCALE_AS),
            "harvest": work.examples
            / (rates.harvest / rates.together * min(workers, max(work.harvest_images / 64, 1))),
            "sanity": rates.examine,
            "codes": _codes(work) * rates.codes,
            "publish": _publish(work, rates),
        },
    )


def _codes(work: Work) -> float:
    """Seconds of index, map and what compares neurons, on the reference core."""
    map_seconds = _between(work.images) + max(work.images - MAP_SECONDS[-1][0], 0) * PLACED_SECONDS
    index = 2e-7 * work.images * work.dimensions
    neurons = 1.5e-7 * work.neurons**2 + 2.5e-7 * work.neurons * work.sample
    return map_seconds + index + neurons + 1e-5 * work.examples


def _between(images: int) -> float:
    for (low, at_low), (high, at_high) in pairwise(MAP_SECONDS):
        if images <= high:
            return at_low + (at_high - at_low) * (images - low) / (high - low)
    return MAP_SECONDS[-1][1]


def _publish(work: Work, rates: Rates) -> float:
    rows = 2e-6 * work.images + 2e-5 * work.examples + 4e-8 * work.neurons * work.classes
    return rows + output_bytes(work, rates)["all"] / rates.hash


def output_bytes(work: Work, rates: Rates) -> dict[str, float]:
    """Bytes of the sealed atlas, by what they are; `partial` is there while it is built."""
    width = 2 if work.half_codes else 4
    sizes = {
        "thumbnails": rates.thumbnail_bytes * work.images,
        "pictures": rates.picture_bytes * work.examples,
        "codes": 2.0 * width * work.images * work.dimensions,  # and the index over them
        "responses": 8.0 * min(work.sample, work.images) * work.neurons,
        "state": work.neurons * (5124.0 + 20 * work.classes),
        "tables": 120.0 * work.images + 40.0 * work.examples + 6.0 * work.neurons * work.classes,
    }
    return sizes | {
        "all": sum(sizes.values()),
        "partial": rates.partial_bytes * -(-work.images // work.unit_size),
    }


def moved_bytes(work: Work, rates: Rates) -> float:
    """Bytes that are read: each image once, winners once more; partial results once, their samples twice."""
    images = work.left + work.harvest_images
    samples = 8.0 * work.neurons * min(2 * work.sample + 256, work.images)
    return rates.image_bytes * images + output_bytes(work, rates)["partial"] + samples


def fewer(work: Work, done: int) -> Work:
    """The same with so many images scanned already."""
    return replace(work, left=work.images - done)
