"""`neuron-atlas add`: a part of a sealed atlas: planned, made in chunks by its stage, resumed, sealed on its own.

Nothing is written into the base. What a part is made from is compared with the atlas first.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, fields
from typing import Any

from atlas import options as asked
from atlas.errors import SettingsError
from atlas.images.manifest import Manifest
from atlas.settings import PLACES, RUNNING
from atlas.store import layout, parts
from atlas.store.files import Folder
from atlas.store.sealed import Sealed
from jobs import Callable, lease, originals, stages
from jobs.job import Job
from jobs.planning import output
from jobs.planning.part import PartPlan, settings_of
from jobs.planning.plan import Plan
from jobs.progress import say
from jobs.run import run_stage
from jobs.stages import Stage

GIVEN = (*PLACES, *RUNNING)
"""What may be said of any part: where things lie now, and how the work is shared out."""


def add(location: str, name: str, as_name: str | None = None, **values: Any) -> str:
    """Makes the part `name` of the atlas at `location`, or goes on with it, and gives its digest.

    `values`: options of the part, and those of `GIVEN`. Raises `InputError` before any work, with nothing written;
    `JobError` during it.
    """
    stage = stages.part(name)
    sealed = Sealed(location)
    given = {key: value for key, value in values.items() if key in GIVEN}
    chosen = asked.made(stage.options_class(), {k: v for k, v in values.items() if k not in GIVEN})
    part = part_of(stage, sealed, chosen, as_name)
    folder = parts.folder_of(sealed.folder, part.name)
    option = f"add {name}:"
    state = output.check_output(folder, part, parts.ABOUT, option)
    if state == "sealed":
        return _sealed(sealed, part, option)
    _check_needed(stage, sealed)
    getattr(stage.load(), "check", _no_check)(sealed, chosen)
    plan, manifest = plan_part(stage, sealed, part, folder, given)
    with lease.held(folder) as check:
        if output.check_output(folder, part, parts.ABOUT, option) == "new":
            output.write_plan(folder, plan, manifest)
        del manifest
        return run(Job(plan, folder, check), stage)


def part_of(stage: Stage, sealed: Sealed, chosen: Any, as_name: str | None = None) -> PartPlan:
    """The part that these options ask for. Raises `SettingsError`."""
    if as_name and not stage.several:
        raise SettingsError(f"--as {as_name}: there is one part {stage.name} an atlas; leave it out")
    if stage.several and not as_name:
        as_name = getattr(stage.load(), "named")(chosen)  # noqa: B009 - only some stages have it
    name = parts.named(stage.name, as_name)
    return PartPlan(name, stage.name, stage.version, sealed.location, sealed.digest, chosen, settings_of(chosen))


def _sealed(sealed: Sealed, part: PartPlan, option: str) -> str:
    """The digest of a part that is there already. Raises `SettingsError` where it is damaged."""
    found = parts.look(sealed.folder, sealed.digest, part.name)
    if found.state != "sealed":
        raise SettingsError(f"{option} {found.folder.location}: {found.why}; remove that folder, then add it again")
    output.tidy(found.folder)
    say(f"{found.folder.location}: this part is made already; nothing to do")
    return str(found.about["digest"])


def _no_check(sealed: Sealed, chosen: Any) -> None:
    """Most stages find out from what `needs` names alone whether they can be made."""


def _check_needed(stage: Stage, sealed: Sealed) -> None:
    """Parts that this one is made from must be there. Raises `SettingsError`."""
    for need in stage.needs:
        if need in ("network", "images"):
            continue
        if need == "classes":
            if not sealed.classified:
                raise SettingsError(
                    f"add {stage.name}: the network of {sealed.location} gives features, no classes (--no-classes)"
                )
            continue
        if parts.look(sealed.folder, sealed.digest, need).state != "sealed":
            raise SettingsError(f"add {stage.name}: needs the part {need}; neuron-atlas add {need} {sealed.location}")


def plan_part(
    stage: Stage, sealed: Sealed, part: PartPlan, folder: Folder, given: Mapping[str, Any]
) -> tuple[Plan, Manifest | None]:
    """Finds what the stage needs where it lies now, and compares it with the atlas. Raises `InputError`."""
    settings = originals.settings_for(sealed, folder.location, given, stage.needs)
    network = data = manifest = None
    if "network" in stage.needs:
        from jobs.planning.network import plan_network

        network = plan_network(settings)
        originals.check_network(sealed, network.about, asdict(network.preprocessing))
    if "images" in stage.needs:
        from jobs.planning.data import plan_data

        data, manifest = plan_data(settings, originals.network_names(sealed))
        originals.check_images(sealed, manifest)
    return Plan(settings, network, data, part=part), manifest


def run(job: Job, stage: Stage) -> str:
    """Runs the stage of a part whose plan is written, and seals it. Gives its digest."""
    part = job.plan.part
    assert part is not None
    say(f"{part.name}: {stage.about}")
    with ExitStack() as stack:
        pool = None
        if stage.parallel:
            from jobs.cluster import pool_of

            pool = stack.enter_context(pool_of(job.plan))
        with job.timed(stage.name):
            run_stage(job, stage, pool)
        job.redone = pool.redone if pool else 0
    job.check()
    job.folder.sweep()  # a chunk that ran twice may have left half a file
    digest = parts.seal_part(job.folder, _about(job, part))
    job.folder.remove(layout.WORK)
    return digest


def _about(job: Job, part: PartPlan) -> dict[str, Any]:
    from jobs.stages.publish import versions

    places = {each.name for each in fields(part.options) if each.metadata["contents"]}
    shown = {name: asked.plain(value) for name, value in asdict(part.options).items() if name not in places}
    return {
        "name": part.name,
        "part": part.part,
        "version": part.version,
        "base": part.digest,
        "settings": {"identity": part.identity(), **shown},
        "summary": job.summary,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "timings": {**job.seconds, "chunks_redone": job.redone},
        "versions": versions(),
    }


sys.modules[__name__].__class__ = Callable
