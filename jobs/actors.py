"""The worker: a thin shell around `atlas.scan` and `atlas.harvest`, one process, one network, one device."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray

from atlas.errors import JobError
from atlas.store import layout
from atlas.store.files import Folder
from jobs.plan import Plan, read_rows, read_unit


@dataclass(frozen=True)
class Outcome:
    """What a unit did, for the progress line; `report` is the scan's or the harvest's."""

    unit: int
    report: Any


class Work:
    """What a worker does, with or without Ray: scans units and harvests units."""

    def __init__(self, plan: Plan, decode_threads: int) -> None:
        import torch

        from atlas.harvest.drawn import ProjectionSettings
        from atlas.harvest.unit import Harvester, HarvestSettings
        from atlas.scan import network, respond
        from atlas.scan.feed import Feed
        from atlas.scan.unit import Scanner, ScanSettings

        settings = plan.settings
        torch.set_num_threads(settings.threads)
        device = respond.device_of(settings.device)
        module = respond.prepare(network.build(plan.source).module, device, settings.dtype)
        normalise = respond.Normalise(plan.preprocessing, device, respond.DTYPES[settings.dtype])
        self._plan = plan
        self._folder = Folder(settings.out)
        bytes_an_image = 3 * plan.preprocessing.crop**2
        ahead = min(max(settings.in_flight_mb * 2**20 // bytes_an_image, 2), 4 * settings.batch_size + decode_threads)
        feed = Feed(plan.preprocessing, settings.thumbnails, decode_threads, ahead)
        scan = ScanSettings(
            settings.k, settings.batch_size, settings.unit_size, settings.seed, plan.threshold, plan.half_codes
        )
        self._scanner = Scanner(module, plan.layers, plan.code, normalise, feed, scan)
        projections = ProjectionSettings(
            settings.projections,
            settings.projection_sides,
            settings.evidence,
            settings.picture_size,
            settings.batch_size,
            settings.seed,
        )
        harvest = HarvestSettings(settings.batch_size, settings.picture_size, decode_threads, projections)
        self._harvester = Harvester(module, plan.layers, normalise, plan.preprocessing, harvest)

    def scan(self, unit: int) -> Outcome:
        """Scans a unit and commits it."""
        rows = read_unit(self._folder, self._plan, unit)
        return Outcome(unit, self._scanner.scan(self._folder, unit, rows, {}))

    def harvest(self, unit: int, winners: pa.Table) -> Outcome:
        """Harvests a unit of winners and commits it."""
        ids = winners.column("image_id").combine_chunks().unique()
        rows = read_rows(self._folder, self._plan, ids)
        return Outcome(unit, self._harvester.harvest(self._folder, unit, rows, winners))

    def examine(self, unit: int, chosen: pa.Table) -> Outcome:
        """What is looked at once a network: unit 0 its filters, unit 1 whether pictures depend on its weights."""
        from atlas.harvest import whole

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
        """Images run so far in the unit at hand."""
        return self._scanner.done


@ray.remote(max_restarts=0, concurrency_groups={"status": 1})
class Worker:
    """`Work` as a Ray actor."""

    def __init__(self, plan: Plan, decode_threads: int) -> None:
        if not Folder(plan.settings.out).exists(layout.PLAN):
            raise JobError(
                f"--out {plan.settings.out}: the worker on {socket.gethostname()} does not see the driver's files; "
                "give a folder that all machines share, or a bucket (s3://)"
            )
        self._work = Work(plan, decode_threads)

    def scan(self, unit: int) -> Outcome:
        return self._work.scan(unit)

    def harvest(self, unit: int, winners: pa.Table) -> Outcome:
        return self._work.harvest(unit, winners)

    def examine(self, unit: int, chosen: pa.Table) -> Outcome:
        return self._work.examine(unit, chosen)

    @ray.method(concurrency_group="status")  # type: ignore[untyped-decorator]
    def status(self) -> tuple[int, int]:
        """Process number, and images run so far in the unit at hand."""
        return os.getpid(), self._work.done()
