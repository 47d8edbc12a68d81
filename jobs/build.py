"""The main job, from images to a sealed atlas: plan → scan → merge → harvest → codes → publish."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import ray

from atlas.errors import DeviceMemoryError, JobError
from atlas.explain import sanity
from atlas.explain.whole import FILTERS, SANITY
from atlas.harvest import harvester as harvest_units
from atlas.images.manifest import Manifest
from atlas.scan import neurons
from atlas.scan.earlier import Earlier
from atlas.scan.merge import Gathered, gather, spread_winners
from atlas.settings import Settings
from atlas.store import layout
from atlas.store.files import Folder
from jobs import lease, publish
from jobs import plan as planning
from jobs.actors import Outcome
from jobs.cluster import cluster, make_pool
from jobs.plan import Plan
from jobs.pool import Pool
from jobs.progress import Progress, say

EXAMINED = (FILTERS, SANITY)
"""Tables about the network as a whole, each a unit of work."""


@dataclass
class Build:
    """A build at work: its plan, its folder, and how long each stage took."""

    plan: Plan
    folder: Folder
    check: Callable[[], None]
    """Raises `JobError` once another driver has taken over the output folder."""
    earlier: Earlier | None = None
    """An atlas whose full units are the first of this one."""
    seconds: dict[str, float] = field(default_factory=dict)
    redone: int = 0

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the wall time of the block to the stage."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 3)


def build(settings: Settings) -> str:
    """Builds an atlas, or goes on with one, and gives its digest.

    Raises `InputError` before any work, `JobError` during it.
    """
    plan, _, manifest = planning.make_plan(settings)
    return begin(plan, manifest)


def begin(plan: Plan, manifest: Manifest, earlier: Earlier | None = None) -> str:
    """Begins a planned build, or goes on with it; units of an `earlier` atlas are not scanned again."""
    settings = plan.settings
    folder = Folder(settings.out)
    plan = planning.as_begun(folder, plan)
    state = planning.check_output(folder, plan)
    if state == "sealed":
        say(f"{settings.out}: this atlas is built already; nothing to do")
        return publish.digest_of(folder)
    with lease.held(folder) as check:
        if planning.check_output(folder, plan) == "new":
            planning.write_plan(folder, plan, manifest)
        del manifest
        if earlier:
            earlier.copy_pictures(folder)
        while True:
            try:
                return run(Build(plan, folder, check, earlier))
            except DeviceMemoryError as error:
                plan = smaller(folder, plan, error)


def smaller(folder: Folder, plan: Plan, error: DeviceMemoryError) -> Plan:
    """The plan with half the batch, in place of the one before; the error, where a unit is committed already."""
    batch = plan.settings.batch_size // 2
    if batch < 1 or plan.settings.unit_size % batch or folder.names("work/scan"):
        raise error
    say(f"{' '.join(str(error).split())[:200]}: nothing is committed yet, so it goes on with --batch-size {batch}")
    plan = planning.with_batch(plan, batch)
    planning.put_identity(folder, plan)
    return plan


def run(work: Build) -> str:
    """Runs the stages of a build whose plan is written, and gives the digest."""
    plan, folder, settings = work.plan, work.folder, work.plan.settings
    say(
        f"{plan.count:,} images in {plan.units} units · {len(plan.layers)} layers, {plan.neurons:,} neurons · "
        f"{len(plan.classes)} classes"
    )
    with cluster(settings) as workers:
        pool = make_pool(plan, workers)
        try:
            with work.timed("scan"):
                scan(work, pool)
            with work.timed("merge"):
                gathered = merge(work)
                winners = winners_of(work, gathered)
            with work.timed("harvest"):
                count = harvest(work, pool, winners)
                examples, frames = read_harvest(folder, count)
            with work.timed("sanity"):
                examine(work, pool, examples)
            work.redone = pool.redone
        finally:
            pool.close()
    work.check()
    return publish.publish(plan, folder, gathered, examples, frames, work.seconds, work.redone)


def scan(work: Build, pool: Pool) -> None:
    """Scans the units that are not done yet."""
    plan = work.plan
    done = _done(work.folder, "work/scan") | set(range(work.earlier.units if work.earlier else 0))
    waiting = [unit for unit in range(plan.units) if unit not in done]
    before = sum(_images_in(plan, unit) for unit in done)
    progress = Progress("scan", plan.count, "images", before)
    totals = {"images": before, "quarantined": 0, "decode": 0.0, "network": 0.0, "waiting": 0.0, "fresh": 0}

    def on_done(outcome: Outcome) -> None:
        report = outcome.report
        totals["images"] += report.images + report.quarantined
        totals["fresh"] += report.images
        totals["quarantined"] += report.quarantined
        totals["decode"] += report.decode_seconds
        totals["network"] += report.network_seconds
        totals["waiting"] += report.waiting_seconds
        progress.show(int(totals["images"]), _rates(totals))

    def on_wait(busy: list[Any]) -> None:
        work.check()
        progress.show(int(totals["images"]) + _running(busy), _rates(totals))

    pool.run(
        waiting,
        lambda actor, unit: actor.scan.remote(unit),
        on_done,
        on_wait,
        lambda unit: (
            f"scan of unit {unit} (images {unit * plan.settings.unit_size} to "
            f"{min((unit + 1) * plan.settings.unit_size, plan.count) - 1})"
        ),
    )
    progress.show(plan.count, _rates(totals), final=True)


def _running(busy: list[Any]) -> int:
    """Images, or examples, that busy workers have done of their units; without those that do not answer at once."""
    asked = [actor.status.remote() for actor in busy]
    ready, _ = ray.wait(asked, num_returns=len(asked), timeout=0.2) if asked else ([], [])
    count = 0
    for reference in ready:
        with suppress(ray.exceptions.RayError):
            count += ray.get(reference)[1]
    return count


def _rates(totals: dict[str, Any]) -> str:
    """Decode rate and network rate of one worker, apart, and which of them is the limit."""
    parts = [f"{totals['quarantined']} quarantined"]
    if totals["decode"] and totals["network"]:
        parts.append(
            f"a core decodes {totals['fresh'] / totals['decode']:,.0f}/s, a worker's network runs "
            f"{totals['fresh'] / totals['network']:,.0f}/s"
        )
        parts.append(
            "decoding is the limit" if totals["waiting"] > 0.3 * totals["network"] else "the network is the limit"
        )
    return " · ".join(parts)


def _images_in(plan: Plan, unit: int) -> int:
    size = plan.settings.unit_size
    return min((unit + 1) * size, plan.count) - unit * size


def _done(folder: Folder, path: str) -> set[int]:
    """Units whose results are there."""
    return {int(name.split(".")[0]) for name in folder.names(path)}


def merge(work: Build) -> Gathered:
    """Folds all units in their order."""
    plan = work.plan
    full = plan.count // plan.settings.unit_size
    progress = Progress("merge", plan.units, "units")
    gathered = gather(
        work.folder, plan.units, full, plan.layers, len(plan.classes), plan.settings.k, plan.settings.sample,
        lambda unit: progress.show(unit + 1), work.earlier, plan.half_codes,
    )  # fmt: skip
    progress.show(plan.units, final=True)
    listed = len(gathered.images.image_id) + len(gathered.quarantine)
    if listed != plan.count:
        raise JobError(f"{plan.count} images were listed, but {listed} are scanned or quarantined; please report this")
    return gathered


def winners_of(work: Build, gathered: Gathered) -> pa.Table:
    """Winners of all sides that were asked for."""
    sides = work.plan.settings.sides
    spread = spread_winners(work.folder, work.plan.layers) if "spread" in sides else []
    return pa.concat_tables([neurons.winners_of(gathered.fold, sides), *spread])


def harvest(work: Build, pool: Pool, winners: pa.Table) -> int:
    """Harvests the units of winners that are not done yet; gives how many units there are."""
    plan = work.plan
    units = list(planning.harvest_units(winners, plan.settings.unit_size))
    done = _done(work.folder, "work/harvest")
    waiting = [unit for unit in range(len(units)) if unit not in done]
    total = sum(len(unit) for unit in units)
    shown = sum(len(units[unit]) for unit in done if unit < len(units))
    progress = Progress("harvest", total, "examples", shown)

    def on_done(outcome: Outcome) -> None:
        nonlocal shown
        shown += outcome.report.examples
        progress.show(shown)

    def on_wait(busy: list[Any]) -> None:
        work.check()
        progress.show(min(shown + _running(busy), total))

    pool.run(
        waiting,
        lambda actor, unit: actor.harvest.remote(unit, units[unit]),
        on_done,
        on_wait,
        lambda unit: f"harvest of unit {unit} ({len(units[unit])} examples)",
    )
    progress.show(total, final=True)
    return len(units)


def examine(work: Build, pool: Pool, examples: pa.Table) -> None:
    """Draws the network's filters, and asks whether its pictures depend on its weights."""
    plan = work.plan
    if not plan.settings.projections:
        return
    chosen = sanity.choose(examples, plan.layers, plan.settings.seed)
    waiting = [unit for unit, name in enumerate(EXAMINED) if not work.folder.exists(layout.table(name))]
    say(f"sanity: pictures of {len(chosen)} neurons with their weights permuted")
    pool.run(
        waiting,
        lambda actor, unit: actor.examine.remote(unit, chosen),
        lambda outcome: None,
        describe=lambda unit: EXAMINED[unit],
    )


def read_harvest(folder: Folder, count: int) -> tuple[pa.Table, pa.Table]:
    """Examples and frames of all units."""
    parts = [harvest_units.load(folder.get(layout.harvest_unit(unit))) for unit in range(count)]
    if not parts:
        raise JobError("no neuron has an example: every response is the same for all images; check the weights")
    return pa.concat_tables([e for e, _ in parts]), pa.concat_tables([f for _, f in parts])
