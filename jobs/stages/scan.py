"""Scan: each image through the network once; a chunk of images is reduced to a small partial result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from atlas.images.feed import Feed
from atlas.scan.scanner import Report, Scanner, ScanSettings
from jobs.job import Chunk, Job

if TYPE_CHECKING:
    from jobs.forecast import Rates, Todo
    from jobs.work import Work


def chunks(job: Job) -> Sequence[Chunk]:
    """The images, cut by their numbers."""
    data = job.plan.data
    sizes = [data.images_in(number) for number in range(data.chunks)]
    firsts = [number * data.chunk for number in range(data.chunks)]
    return [Chunk(size, f"images {first} to {first + size - 1}") for first, size in zip(firsts, sizes, strict=True)]


def work(worker: Work, chunk: int, given: Any) -> Report:
    """Scans a chunk and commits it."""
    scanner = worker.keep("scanner", lambda: scanner_of(worker))
    scanner.done = 0  # what it did of the chunk before is counted already
    worker.watch = lambda: scanner.done
    return scanner.scan(worker.folder, chunk, worker.chunk_rows(chunk), {})


def scanner_of(worker: Work) -> Scanner:
    """The scanner of a worker's network, fed by its threads or by tasks all over the cluster."""
    from jobs.decoders import remote, tasks_at_once

    settings, data, session = worker.plan.settings, worker.plan.data, worker.session
    image_bytes, in_flight = 3 * session.preprocessing.crop**2, settings.in_flight_mb * 2**20
    ahead = min(max(in_flight // image_bytes, 2), 4 * settings.batch_size + worker.decode_threads)
    feed = Feed(
        session.preprocessing, settings.thumbnails, worker.decode_threads, ahead, settings.seed, data.threshold,
        session.decoder,
    )  # fmt: skip
    if worker.decoders:
        feed = remote(feed, tasks_at_once(worker.decoders, worker.workers, in_flight, image_bytes))
    return Scanner(
        session.module,
        session.layers,
        session.code,
        session.normalise,
        feed,
        ScanSettings(
            settings.k,
            settings.batch_size,
            data.chunk,
            settings.seed,
            data.threshold,
            data.half_codes,
            not settings.no_classes,
        ),
        in_flight=1 if session.device.type == "cuda" else 0,
    )


def finish(job: Job) -> None:
    """Nothing: the partial results are what is wanted."""


def words(reports: Sequence[Report]) -> str:
    """Decode rate and network rate of one worker, apart, and which of them is the limit."""
    images = sum(report.images for report in reports)
    decode, network, waiting = (
        sum(getattr(report, f"{what}_seconds") for report in reports) for what in ("decode", "network", "waiting")
    )
    parts = [f"{sum(report.quarantined for report in reports)} quarantined"]
    if decode and network:
        parts.append(f"a core decodes {images / decode:,.0f}/s, a worker's network runs {images / network:,.0f}/s")
        parts.append("decoding is the limit" if waiting > 0.3 * network else "the network is the limit")
    return " · ".join(parts)


def seconds(todo: Todo, rates: Rates, workers: int) -> float:
    """Workers beyond the chunks have nothing to do; the last round of chunks is as long as any other."""
    left = -(-todo.left // todo.chunk)
    busy = max(min(workers, left), 1)
    # The images a worker gets: whole chunks, except that the trailing one may be short.
    rounds = -(-left // busy) * todo.chunk if left else 0
    share = min(float(rounds), todo.left) if busy == 1 else max(todo.left / busy, rounds - todo.chunk / 2)
    return share * rates.together / rates.scan
