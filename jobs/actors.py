"""The worker: a thin shell around `atlas.scan` and `atlas.harvest`, one process, one network, one device."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray

from atlas.errors import DeviceMemoryError, JobError
from atlas.store import layout
from atlas.store.files import Folder
from jobs.decoders import remote, tasks_at_once
from jobs.plan import Plan, read_rows, read_unit

ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(64 * 2**20)}
"""How a worker's process is started: glibc keeps freed memory. By default each feature map of each batch is asked from
the system anew and cleared page by page, which takes up to half of a forward pass; the peak is the same."""


@dataclass(frozen=True)
class Workers:
    """How many workers run at once; how many decoding threads each has; how many CPUs decode for all of them."""

    count: int
    decode_threads: int
    gpus: float
    decoders: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a unit did, for the progress line; `report` is the scan's or the harvest's."""

    unit: int
    report: Any


@contextmanager
def _memory(plan: Plan) -> Iterator[None]:
    """Says in words that the device's memory is too small; torch's own words fill a page."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError:
        raise DeviceMemoryError(
            f"the memory of {plan.settings.device} is too small for --batch-size {plan.settings.batch_size}; "
            "nothing else may use the device, or build into a new folder with a smaller batch"
        ) from None


class Work:
    """What a worker does, with or without Ray: scans units and harvests units.

    Images of the scan are decoded by its own threads or, with `decoders` shared by `workers`, by Ray tasks.
    """

    def __init__(self, plan: Plan, decode_threads: int, decoders: int = 0, workers: int = 1) -> None:
        import torch

        from atlas.harvest.drawn import ProjectionSettings
        from atlas.harvest.harvester import Harvester, HarvestSettings
        from atlas.harvest.occluded import OcclusionSettings
        from atlas.images import decode
        from atlas.images.feed import Feed
        from atlas.network import load, nvjpeg
        from atlas.network.normalise import Normalise
        from atlas.scan import respond
        from atlas.scan.scanner import Scanner, ScanSettings

        settings = plan.settings
        nvjpeg.check(settings.device, settings.decode)
        torch.set_num_threads(settings.threads)
        device = respond.device_of(settings.device)
        module = respond.prepare(load.build(plan.source).module, device, settings.dtype)
        normalise = Normalise(plan.preprocessing, device, respond.DTYPES[settings.dtype])
        self._plan = plan
        self._folder = Folder(settings.out)
        bytes_an_image, in_flight = 3 * plan.preprocessing.crop**2, settings.in_flight_mb * 2**20
        ahead = min(max(in_flight // bytes_an_image, 2), 4 * settings.batch_size + decode_threads)
        decoder = nvjpeg.decode if settings.decode == "gpu" else decode.decode
        feed = Feed(plan.preprocessing, settings.thumbnails, decode_threads, ahead, decoder)
        if decoders:
            feed = remote(feed, tasks_at_once(decoders, workers, in_flight, bytes_an_image))
        scan = ScanSettings(
            settings.k, settings.batch_size, settings.unit_size, settings.seed, plan.threshold, plan.half_codes
        )
        self._scanner = Scanner(
            module, plan.layers, plan.code, normalise, feed, scan, in_flight=1 if device.type == "cuda" else 0
        )
        projections = ProjectionSettings(
            settings.projections,
            settings.projection_sides,
            settings.evidence,
            settings.picture_size,
            settings.batch_size,
            settings.seed,
        )
        occlusion = OcclusionSettings(
            settings.occlusion, settings.projection_sides, settings.picture_size, settings.batch_size
        )
        harvest = HarvestSettings(settings.batch_size, settings.picture_size, decode_threads, projections, occlusion)
        self._harvester = Harvester(module, plan.layers, normalise, plan.preprocessing, harvest, decoder)

    def scan(self, unit: int) -> Outcome:
        """Scans a unit and commits it."""
        rows = read_unit(self._folder, self._plan, unit)
        with _memory(self._plan):
            return Outcome(unit, self._scanner.scan(self._folder, unit, rows, {}))

    def harvest(self, unit: int, winners: pa.Table) -> Outcome:
        """Harvests a unit of winners and commits it."""
        ids = winners.column("image_id").combine_chunks().unique()
        rows = read_rows(self._folder, self._plan, ids)
        with _memory(self._plan):
            return Outcome(unit, self._harvester.harvest(self._folder, unit, rows, winners))

    def examine(self, unit: int, chosen: pa.Table) -> Outcome:
        """What is looked at once a network: unit 0 its filters, unit 1 whether pictures depend on its weights."""
        from atlas.explain import whole

        plan, settings, harvester = self._plan, self._plan.settings, self._harvester
        if unit == 0:
            crop = plan.preprocessing.crop
            whole.write_filters(self._folder, harvester.module, plan.layers, settings.picture_size, crop)
            return Outcome(unit, whole.FILTERS)
        ids = chosen.column("image_id").combine_chunks().unique().sort()
        rows = read_rows(self._folder, plan, ids)
        whole.write_sanity(
            self._folder,
            harvester.module,
            plan.layers,
            chosen,
            rows,
            plan.preprocessing,
            harvester.normalise,
            settings.projections,
            settings.batch_size,
            settings.seed,
        )
        return Outcome(unit, whole.SANITY)

    def done(self) -> int:
        """Images, or examples, done so far in the unit at hand."""
        return self._harvester.done or self._scanner.done


@ray.remote(max_restarts=0, concurrency_groups={"status": 1})
class Worker:
    """`Work` as a Ray actor."""

    def __init__(self, plan: Plan, workers: Workers) -> None:
        if not Folder(plan.settings.out).exists(layout.PLAN):
            raise JobError(
                f"--out {plan.settings.out}: the worker on {socket.gethostname()} does not see the driver's files; "
                "give a folder that all machines share, or a bucket (s3://)"
            )
        self._work = Work(plan, workers.decode_threads, workers.decoders, workers.count)

    def scan(self, unit: int) -> Outcome:
        return self._work.scan(unit)

    def harvest(self, unit: int, winners: pa.Table) -> Outcome:
        return self._work.harvest(unit, winners)

    def examine(self, unit: int, chosen: pa.Table) -> Outcome:
        return self._work.examine(unit, chosen)

    @ray.method(concurrency_group="status")  # type: ignore[untyped-decorator]
    def status(self) -> tuple[int, int]:
        """Process number, and images or examples done so far in the unit at hand."""
        return os.getpid(), self._work.done()
