"""`build --plan`: what would be done, and what it would take, from a few batches that are really run.

Nothing is written but a temporary folder. As many processes as the build would have workers here (no more than there
are cores) run at the same time, each as a worker does, so that what they take from each other is in the figures.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from atlas.explain import sanity
from atlas.harvest import harvester as harvested
from atlas.images.manifest import Manifest, read_images
from atlas.options import made
from atlas.scan import merge as merging
from atlas.scan import partial
from atlas.scan import winners as winning
from atlas.scan.fold import Fold
from atlas.scan.pieces import blocks, pieces
from atlas.settings import Settings
from atlas.store import layout
from atlas.store.files import Folder
from jobs import chunks, cluster, stages
from jobs.build import planned, wanted
from jobs.forecast import REFERENCE_SECONDS, Forecast, Rates, Todo, decoding, distinct, forecast
from jobs.measure import Answer, Measurer, together
from jobs.planning.data import write_manifest
from jobs.planning.output import check_output
from jobs.planning.plan import Plan
from jobs.predicted import text
from jobs.progress import say
from jobs.stages import harvest as harvesting

SCAN_SECONDS = 8.0
FEW_SECONDS = 4.0
"""Of the smaller of two harvests; the larger one has four times as many images."""
FEW_IMAGES = 4
READ = 32
"""Images read on their own, to know the storage."""


def predict(settings: Settings) -> str:
    """What a build would do and take, as text. Raises `InputError` as `build` would; writes nothing."""
    return text(measure(settings))


def measure(settings: Settings) -> Forecast:
    """The forecast of a build on this machine with the settings' workers."""
    parts = {name: made(stages.part(name).options_class(), options) for name, options in wanted(settings)}
    begin = time.perf_counter()
    plan, manifest = planned(settings)
    state = check_output(Folder(settings.out), plan)
    seconds = time.perf_counter() - begin
    done = _done(plan) if state == "begun" else 0
    cores = os.cpu_count() or 1
    workers = cluster.planned(settings, cores)
    left = max(-(-(plan.data.count - done) // plan.data.chunk), 1)
    scanning = max(min(workers.count, cores, left), 1)
    say(f"measuring with {scanning} worker{'s' if scanning > 1 else ''} at once …")
    with tempfile.TemporaryDirectory(prefix="neuron-atlas-plan-") as temporary:
        todo, rates = _measured(plan, manifest, temporary, scanning, min(workers.count, cores), workers.decode_threads)
    rates = decoding(replace(rates, plan=seconds), workers.count, workers.decoders, plan.settings.threads, cores)
    return forecast(replace(todo, left=plan.data.count - done), rates, workers.count, parts)


def _done(plan: Plan) -> int:
    return sum(plan.data.images_in(chunk) for chunk in chunks.done(Folder(plan.settings.out), "scan"))


def _measured(
    plan: Plan, manifest: Manifest, temporary: str, scanning: int, harvesting: int, threads: int
) -> tuple[Todo, Rates]:
    folder = Folder(temporary)
    batch = plan.settings.batch_size
    size = min(plan.data.chunk, -(-plan.data.count // batch) * batch)
    plan = replace(plan, settings=replace(plan.settings, out=temporary), found_data=replace(plan.data, chunk=size))
    with ExitStack() as stack:
        processes = [Measurer(plan, threads) for _ in range(max(scanning, harvesting))]
        for process in processes:
            stack.callback(process.close)
        up = [process.answer() for process in processes]
        scans = _scan(plan, manifest, folder, processes[:scanning])
        first = merging.survey(folder, merging.Chunks(1, 0, plan.settings.k), plan.settings.sample)
        codes = _codes(folder)
        folding = _folding(plan, folder)
        todo, winners = _todo(plan, folder, first, codes.shape[1])
        harvests, harvest_rate, pictures = _harvest(folder, todo, winners, processes[:harvesting])
        sanity_seconds, filter_seconds = _sanity(folder, plan, processes[0]), _filters(plan, processes[0])
    reports = [answer.report for answer in scans]
    images = sum(report.images + report.quarantined for report in reports)
    scanned = max(sum(report.images for report in reports), 1)
    storage, image_bytes = _storage(manifest)
    partial_bytes = float(np.mean([report.bytes_written for report in reports]))
    sampled = 8 * plan.network.neurons * len(first.sample_ids)
    grows = (codes.nbytes + sampled) / max(len(first.images.image_id), 1)
    return todo, Rates(
        together=scanning,
        scan=sum((r.images + r.quarantined) / answer.wall for r, answer in zip(reports, scans, strict=True)),
        harvest=harvest_rate * scanning,
        decode_cpu=sum(report.decode_seconds for report in reports) / scanned,
        network=sum(report.network_seconds for report in reports) / scanned,
        waiting=sum(report.waiting_seconds for report in reports) / scanned,
        storage=storage,
        start=max(answer.wall for answer in up),
        plan=0.0,
        fold=folding,
        sanity=sanity_seconds,
        filters=filter_seconds,
        core=_slower(),
        hash=_hash_rate(),
        image_bytes=image_bytes,
        thumbnail_bytes=float(first.images.thumbnail_length.sum() + 1024 * len(first.images.image_id))
        / scanned
        * scanning,
        picture_bytes=pictures,
        partial_bytes=partial_bytes + grows * (size - images / scanning),
        memory=max(a.memory for a in [*scans, *harvests])
        + round((size - images / scanning) * plan.network.neurons * 48),
        driver_memory=400 * 2**20 + 8000 * plan.network.neurons + 400 * plan.data.count,
    )


def _scan(plan: Plan, manifest: Manifest, folder: Folder, processes: list[Measurer]) -> list[Answer]:
    """Two batches to warm up and to see how many fit into the time; then so many, in one chunk a process."""
    batch, most = plan.settings.batch_size, plan.data.chunk
    answers: list[Answer] = []
    count = min(2 * batch, most)
    for _ in range(2):
        if answers:
            each = max(answer.wall for answer in answers) / count
            count = int(np.clip(int(SCAN_SECONDS / each) // batch, 1, most // batch)) * batch
        rows = _rows(manifest.table, count, len(processes), batch)
        write_manifest(folder, rows, count)
        answers = together(processes, "scan", [None] * len(processes))
    return answers


def _rows(table: pa.Table, count: int, processes: int, batch: int) -> pa.Table:
    """Images for each process: runs of a batch from all over the data set, numbered from 0."""
    runs = -(-count * processes // batch)
    starts = (np.arange(runs) * max(len(table) - batch, 0)) // max(runs - 1, 1)
    chosen = ((starts[:, None] + np.arange(batch)) % len(table)).reshape(-1)[: count * processes]
    # Sorted within a process, as neighbours in a file are read together.
    chosen = np.sort(chosen.reshape(processes, count) if processes == 1 else chosen.reshape(count, processes).T, axis=1)
    rows = table.take(pa.array(chosen.reshape(-1)))
    return rows.set_column(rows.column_names.index("image_id"), "image_id", pa.array(np.arange(len(rows))))


def _codes(folder: Folder) -> NDArray[Any]:
    with folder.open(layout.scan_chunk(0)) as stream:
        return partial.read_codes(stream)[1]


def _folding(plan: Plan, folder: Folder) -> float:
    """Seconds to fold a chunk: the second of two, as the first has nothing to be folded with."""
    took = 0.0
    for block in blocks(plan.network.layers):
        fold = Fold(block.neurons, plan.settings.k)
        for _ in range(2):
            begin = time.perf_counter()
            with folder.open(layout.scan_chunk(0)) as stream:
                fold.add(partial.read_part(stream, block.number))
            last = time.perf_counter() - begin
        took += last
    return took


def _todo(plan: Plan, folder: Folder, first: merging.Survey, dimensions: int) -> tuple[Todo, pa.Table]:
    """What there is to do, and the winners of the images that were run: as many a side as the build will have."""
    settings, layers, asked = plan.settings, plan.network.layers, plan.asked
    folded = [
        merging.fold_piece(
            folder, piece, layers, merging.Chunks(1, 0, settings.k), first.sample_ids, first.sample_chunks,
            settings.sides, asked[piece.blocks[0].first : piece.blocks[-1].last],
        ).tables
        for piece in pieces(layers)
    ]  # fmt: skip
    neurons, winners = (pa.concat_tables([each[name] for each in folded]) for name in ("neurons", "winners"))
    k = min(settings.k, plan.data.count)
    strongest = k * sum(neurons.column(f"why_{side}").null_count for side in ("max", "min"))
    sample = min(settings.sample, plan.data.count)
    spread = int(asked.sum()) * min(winning.SPREAD, sample) if "spread" in settings.sides else 0
    todo = Todo(
        images=plan.data.count,
        left=plan.data.count,
        chunk=plan.data.chunk,
        neurons=plan.network.neurons,
        layers=len(layers),
        classes=len(plan.data.classes),
        sample=settings.sample,
        dimensions=dimensions,
        half_codes=plan.data.half_codes,
        examples=strongest + spread,
        harvest_images=distinct(plan.data.count, strongest, spread, sample),
        asked=int(asked.sum()),
    )
    return todo, winners


def _harvest(
    folder: Folder, todo: Todo, winners: pa.Table, processes: list[Measurer]
) -> tuple[list[Answer], float, float]:
    """Answers, examples/s of a worker in a whole chunk, bytes an example.

    Some images, with as many examples each as the build will have: a few to warm up, then a few and many, because a
    chunk has a part that does not grow with its examples.
    """
    ids = np.unique(winners.column("image_id").to_numpy())
    if not len(ids):
        return [Answer(1.0, 1.0, 0, _Nothing())], 1.0, 0.0
    np.random.default_rng(0).shuffle(ids)
    each = todo.examples / todo.harvest_images
    images = FEW_IMAGES
    points: list[tuple[float, float]] = []
    for turn in range(3):
        images = min(images, len(ids))
        asked = [_some(winners, np.roll(ids, -number * images)[:images], each) for number in range(len(processes))]
        answers = together(processes, "harvest", asked)
        wall = float(np.mean([answer.wall for answer in answers]))
        points.append((float(np.mean([answer.report.examples for answer in answers])), wall))
        if turn == 0:
            images = int(np.clip(FEW_SECONDS / wall * images, FEW_IMAGES, 64))
        else:
            images *= 4  # far enough from the few that the slope between them is not noise
    written = sum(folder.size(layout.pack_path(layout.pack("harvest", chunk))) for chunk in range(len(processes)))
    (few, short), (many, long) = points[1:]
    slope = max((long - short) / max(many - few, 1.0), 0.1 * long / many)
    chunk = max(min(harvesting.IMAGES * each, harvesting.EXAMPLES, todo.examples), many)
    rate = chunk / (long + slope * (chunk - many))
    return answers, rate, written / max(sum(answer.report.examples for answer in answers), 1)


def _sanity(folder: Folder, plan: Plan, process: Measurer) -> float:
    """Seconds a layer of the sanity check, from a few neurons of one in the middle, as many times as it looks at."""
    if not plan.settings.projections or not folder.exists(layout.harvest_chunk(0)):
        return 0.0
    examples = harvested.load(folder.get(layout.harvest_chunk(0))).examples
    there = [layer for layer in plan.network.layers if len(sanity.choose(examples, [layer], plan.settings.seed))]
    if not there:
        return 0.0
    points = []
    for count in (1, 2):
        chosen = sanity.choose(examples, [there[len(there) // 2]], plan.settings.seed, count)
        process.ask("sanity", count, chosen)
        points.append((len(chosen), process.answer().wall))
    (few, short), (many, long) = points
    return long + max(long - short, 0.0) / max(many - few, 1) * (sanity.NEURONS - many)


def _filters(plan: Plan, process: Measurer) -> float:
    """Seconds a layer of the filters, from the first."""
    process.ask("filters", 0, 0)
    return process.answer().wall


class _Nothing:
    examples = 1


def _some(winners: pa.Table, image_ids: Any, each: float) -> pa.Table:
    """Winners of these images, thinned to `each` an image, every image with at least one."""
    table = winners.filter(pa.array(np.isin(winners.column("image_id").to_numpy(), image_ids)))
    order = np.random.default_rng(1).permutation(len(table))
    ids = table.column("image_id").to_numpy()[order]
    _, first = np.unique(ids, return_index=True)
    rest = np.setdiff1d(np.arange(len(order)), first)
    wanted = max(round(each * len(image_ids)), len(first))
    kept = order[np.concatenate([first, rest])[:wanted]]
    return table.take(pa.array(kept)).sort_by(
        [("image_id", "ascending"), ("neuron", "ascending"), ("side", "ascending"), ("rank", "ascending")]
    )


def _storage(manifest: Manifest) -> tuple[float, float]:
    """Images/s that one thread reads, and bytes an image."""
    count = min(READ, len(manifest.table))
    chosen = (np.arange(count) * len(manifest.table)) // count
    begin = time.perf_counter()
    sizes = [len(body) for _, body in read_images(manifest.table.take(pa.array(chosen))) if isinstance(body, bytes)]
    return count / max(time.perf_counter() - begin, 1e-6), float(np.mean(sizes)) if sizes else 0.0


def _slower() -> float:
    """How much slower this core makes a t-SNE map of 500 points than the core of `forecast.MAP_SECONDS`."""
    from atlas.analyse.stage import single_thread
    from atlas.codes import embedding

    points = np.random.default_rng(0).standard_normal((500, 64)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    with single_thread():
        for _ in range(2):  # the first loads the library
            begin = time.process_time()
            embedding.Tsne(points, points[:, :2].copy(), 0)
    return (time.process_time() - begin) / REFERENCE_SECONDS


def _hash_rate() -> float:
    body = bytes(1 << 25)
    begin = time.perf_counter()
    hashlib.sha256(body).hexdigest()
    return len(body) / (time.perf_counter() - begin)
