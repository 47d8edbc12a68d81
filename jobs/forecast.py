"""From a few measured batches to a whole build: seconds, bytes and memory, stage by stage. Arithmetic only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from jobs import stages

RAY_SECONDS = 5.0
"""To start the embedded Ray, and to stop it."""
REPEATED = 0.45
"""New images a winner of side max or min brings, at most one: neurons like the same images. Found on CIFAR-10."""
REFERENCE_SECONDS = 0.51
"""Seconds of the reference t-SNE on the reference core."""


@dataclass(frozen=True)
class Todo:
    """What there is to do. `left`: images that are not scanned yet."""

    images: int
    left: int
    chunk: int
    neurons: int
    layers: int
    classes: int
    sample: int
    dimensions: int
    half_codes: bool
    examples: int
    harvest_images: int
    options: Any = None
    """Of a part: its options."""
    asked: int | None = None
    """Neurons that examples are asked of; None: all."""


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
    fold: float  # seconds a chunk
    sanity: float  # seconds a layer
    filters: float  # seconds a layer
    core: float  # how much slower this core is than the reference core
    hash: float  # bytes/s of checksums
    image_bytes: float
    thumbnail_bytes: float
    picture_bytes: float  # an example, with its share of frames
    partial_bytes: float  # a chunk
    memory: int  # bytes, peak of a worker
    driver_memory: int


@dataclass(frozen=True)
class Forecast:
    """What a build will take with some number of workers."""

    todo: Todo
    rates: Rates
    workers: int
    seconds: dict[str, float]
    parts: Mapping[str, Any] = field(default_factory=dict)
    """Options of the parts that are made too, by name."""

    @property
    def total(self) -> float:
        """Seconds from the command to its end."""
        return sum(self.seconds.values())

    def with_workers(self, workers: int) -> Forecast:
        """The same with other workers, each with a machine like this one to itself as far as was measured."""
        return forecast(self.todo, self.rates, workers, self.parts)


def of_atlas(about: Mapping[str, Any], options: Any) -> tuple[Todo, Rates, int]:
    """A sealed atlas (`atlas.json`) as work for a part, and the rates of its own build, as of one worker.

    Its timings are of as many workers as it had, on the machine that it had: an order of magnitude, said as such.
    """
    counts, timings, settings = about["counts"], about["timings"], about["settings"]
    scan, harvest = (max(float(timings.get(name, 0.0)), 1e-3) for name in ("scan", "harvest"))
    todo = Todo(
        images=counts["images"], left=0, chunk=int(settings["chunk_size"]), neurons=counts["neurons"],
        layers=counts["layers"], classes=counts["classes"], sample=counts["sample"],
        dimensions=int(about["index"].get("dimensions", 0)), half_codes=False, examples=counts["examples"],
        harvest_images=min(counts["examples"], counts["images"]), options=options,
    )  # fmt: skip
    speed = counts["images"] / scan
    rates = Rates(
        together=1, scan=speed, harvest=counts["examples"] / harvest, decode_cpu=0.0, network=1 / speed, waiting=0.0,
        storage=0.0, start=5.0, plan=0.0, fold=0.0, sanity=float(timings.get("sanity", 0.0)) / max(todo.layers, 1),
        filters=float(timings.get("filters", 0.0)) / max(todo.layers, 1), core=1.0, hash=1e9, image_bytes=0.0,
        thumbnail_bytes=0.0, picture_bytes=0.0, partial_bytes=0.0, memory=0, driver_memory=0,
    )  # fmt: skip
    return todo, rates, 1


def distinct(images: int, strongest: int, spread: int, sample: int) -> int:
    """Images that are expected to be examples: `strongest` of sides max and min, `spread` of the response sample."""
    if not images:
        return 0
    missed = math.exp(-REPEATED * strongest / images)
    sampled = min(sample, images)
    if sampled:
        missed *= 1 - sampled / images * (1 - math.exp(-spread / sampled))
    return max(min(round(images * (1 - missed)), images), 1)


def forecast(todo: Todo, rates: Rates, workers: int, parts: Mapping[str, Any] = MappingProxyType({})) -> Forecast:
    """Asks each stage of a build, and each of the `parts` that come after it: options by name."""
    asked = {stage.name: stage.load().seconds(todo, rates, workers) for stage in stages.of_build()}
    begun = RAY_SECONDS + rates.start
    for name, options in parts.items():  # each starts workers of its own
        asked[name] = begun + stages.part(name).load().seconds(replace(todo, options=options), rates, workers)
    return Forecast(todo, rates, workers, {"start": rates.plan + begun, **asked}, parts)


def decoding(rates: Rates, workers: int, decoders: int, threads: int, cores: int) -> Rates:
    """The rates where `decoders` CPUs decode for all workers: a worker waits for its share of them, and all together
    for the cores of this machine."""
    if not decoders:
        return rates
    each = min(1 / rates.network, decoders / workers / rates.decode_cpu)
    if workers * threads + decoders > cores:
        each = min(each, cores / workers / (rates.decode_cpu + threads * rates.network))
    waiting = max(1 / each - rates.network, 0.0)
    return replace(rates, scan=each * rates.together, waiting=waiting)


def output_bytes(todo: Todo, rates: Rates) -> dict[str, float]:
    """Bytes of the sealed atlas, by what they are; `partial` is there while it is built."""
    width = 2 if todo.half_codes else 4
    sizes = {
        "thumbnails": rates.thumbnail_bytes * todo.images,
        "pictures": rates.picture_bytes * todo.examples,
        "codes": 2.0 * width * todo.images * todo.dimensions,  # and the index over them
        "responses": 8.0 * min(todo.sample, todo.images) * todo.neurons,
        "state": todo.neurons * (5124.0 + 20 * todo.classes * (todo.images // todo.chunk).bit_count()),
        "tables": 120.0 * todo.images + 40.0 * todo.examples + 6.0 * todo.neurons * todo.classes,
    }
    return sizes | {
        "all": sum(sizes.values()),
        "partial": rates.partial_bytes * -(-todo.images // todo.chunk),
    }


def moved_bytes(todo: Todo, rates: Rates) -> float:
    """Bytes that are read: each image once, winners once more; partial results once, their samples twice."""
    images = todo.left + todo.harvest_images
    samples = 8.0 * todo.neurons * min(2 * todo.sample + 256, todo.images)
    return rates.image_bytes * images + output_bytes(todo, rates)["partial"] + samples
