"""The main job, from images to a sealed atlas: the stages of `jobs.stages`, one after another."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Any

from atlas.errors import DeviceMemoryError, SettingsError
from atlas.images.manifest import Manifest
from atlas.scan.earlier import Earlier
from atlas.settings import Settings
from atlas.store import seal
from atlas.store.files import Folder
from jobs import Callable, lease, stages
from jobs.add import GIVEN, add
from jobs.cluster import pool_of
from jobs.job import Job
from jobs.planning import output
from jobs.planning import restart as clearing
from jobs.planning.plan import Plan, make_plan, with_batch
from jobs.progress import say
from jobs.run import run_stage


def build(settings: Settings, *, restart: bool = False) -> str:
    """Builds an atlas, or goes on with one, and gives its digest.

    `restart`: what a build made in the output folder, with its parts, is removed first; files of others stay.
    Raises `InputError` before any work, `JobError` during it.
    """
    wanted(settings)  # a part that there is not is said before hours of work
    plan, manifest = planned(settings)
    if restart:
        folder = Folder(settings.out)
        clearing.check(folder)
        with lease.held(folder):
            clearing.clear(folder)
            output.write_plan(folder, plan, manifest)
    digest = begin(plan, manifest)
    for name, options in wanted(settings):
        add_part(settings, name, options)
    return digest


def planned(settings: Settings) -> tuple[Plan, Manifest]:
    """The plan; what is to be said of it before work starts is said."""
    plan, manifest = make_plan(settings)
    for note in manifest.notes:
        say(f"note: {note}")
    return plan, manifest


def wanted(settings: Settings) -> list[tuple[str, dict[str, Any]]]:
    """The parts that a build was asked for, with their options. Raises `SettingsError` for one that cannot be made."""
    found: dict[str, dict[str, Any]] = {stages.part(name).name: {} for name in settings.with_parts}
    needing = [name for name in found if "classes" in stages.part(name).needs and settings.no_classes]
    if needing:
        raise SettingsError(f"--with {needing[0]}: needs classes, which a network with --no-classes does not give")
    if settings.occlusion:
        found["occlusion"] = {"examples": settings.occlusion}
    return list(found.items())


def add_part(settings: Settings, name: str, options: dict[str, Any]) -> str:
    """Makes a part of the atlas that these settings have built; gives its digest."""
    where = {each: getattr(settings, each) for each in GIVEN}
    return add(settings.out, name, **where, **options)


def begin(plan: Plan, manifest: Manifest, earlier: Earlier | None = None) -> str:
    """Begins a planned build, or goes on with it; chunks of an `earlier` atlas are not scanned again."""
    folder = Folder(plan.settings.out)
    plan = output.as_begun(folder, plan)
    state = output.check_output(folder, plan)
    if state == "sealed":
        output.tidy(folder)
        say(f"{folder.location}: this atlas is built already; nothing to do")
        return str(seal.read_about(folder)["digest"])
    with lease.held(folder) as check:
        if output.check_output(folder, plan) == "new":
            output.write_plan(folder, plan, manifest)
        del manifest
        if earlier:
            earlier.copy_pictures(folder)
        while True:
            try:
                return run(Job(plan, folder, check, earlier))
            except DeviceMemoryError as error:
                plan = smaller(folder, plan, error)


def run(job: Job) -> str:
    """Runs the stages of a build whose plan is written, and gives the digest."""
    plan = job.plan
    say(
        f"{plan.data.count:,} images in {plan.data.chunks} chunks · {len(plan.network.layers)} layers, "
        f"{plan.network.neurons:,} neurons · {len(plan.data.classes)} classes"
    )
    todo = stages.of_build()
    last = max(number for number, stage in enumerate(todo) if stage.parallel)
    with ExitStack() as workers:
        pool = workers.enter_context(pool_of(plan))
        for number, stage in enumerate(todo):
            with job.timed(stage.name):
                run_stage(job, stage, pool)
            if number == last:
                job.redone = pool.redone
                workers.close()  # the rest is the driver's: their memory, and Ray's, is free again
    return job.digest


def smaller(folder: Folder, plan: Plan, error: DeviceMemoryError) -> Plan:
    """The plan with half the batch, in place of the one before; the error, where a chunk is committed already."""
    batch = plan.settings.batch_size // 2
    if batch < 1 or plan.data.chunk % batch or folder.names("work/scan"):
        raise error
    say(f"{' '.join(str(error).split())[:200]}: nothing is committed yet, so it goes on with --batch-size {batch}")
    plan = with_batch(plan, batch)
    output.put_identity(folder, plan)
    return plan


sys.modules[__name__].__class__ = Callable
