"""What an output folder holds: nothing yet, this job, begun or sealed, or something else, which is refused."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, Protocol

from atlas.errors import SettingsError
from atlas.images.manifest import Manifest
from atlas.store import layout
from atlas.store.files import Folder
from jobs.planning.data import write_manifest
from jobs.planning.plan import Plan, with_batch


class Identified(Protocol):
    """A job that knows what makes another one the same."""

    def identity(self) -> dict[str, Any]: ...


def as_begun(folder: Folder, plan: Plan) -> Plan:
    """The plan as an earlier run of the same command changed it, for want of memory on the device."""
    before = _before(folder, layout.ATLAS)
    again = before.get("batch_asked") == plan.settings.batch_size
    return with_batch(plan, int(before["batch_size"])) if again else plan


def _before(folder: Folder, about: str) -> dict[str, Any]:
    """The identity of what the folder holds; empty where that is no job."""
    if folder.exists(layout.SUMS):
        return dict(json.loads(folder.get(about)).get("settings", {}).get("identity", {}))
    return dict(json.loads(folder.get(layout.PLAN))) if folder.exists(layout.PLAN) else {}


def check_output(folder: Folder, plan: Identified, about: str = layout.ATLAS, option: str = "--out") -> str:
    """What the output folder holds: "new", "begun" or "sealed", all by this plan. Raises `SettingsError` otherwise."""
    if folder.exists(layout.SUMS):
        state = "sealed"
    elif folder.exists(layout.PLAN):
        state = "begun"
    elif folder.is_empty() or all(n.startswith(f"{layout.WORK}/") for n in folder.names(recursive=True)):
        return "new"  # a build that was stopped before it had its plan leaves its lease, or its manifest
    elif folder.exists(layout.ATLAS):
        raise SettingsError(f"{option} {folder.location}: holds half a build; --restart removes it and builds anew")
    else:
        raise SettingsError(f"{option} {folder.location}: holds something else; expected an empty or a new folder")
    before, mine = _before(folder, about), plan.identity()
    differs = sorted(k for k in mine.keys() | before.keys() if mine.get(k) != before.get(k))
    if differs:
        name = differs[0]
        raise SettingsError(
            f"{option} {folder.location}: holds {'a build' if about == layout.ATLAS else 'one'} with other settings "
            f"({name} was {_short(before.get(name))}, now {_short(mine.get(name))}); "
            + (
                "take another folder, the same settings, or --restart to remove it and build anew"
                if about == layout.ATLAS
                else "remove it, or take the same settings"
            )
        )
    return state


def tidy(folder: Folder) -> None:
    """Removes what a job leaves in a sealed folder that was killed between its seal and its own tidying up."""
    with suppress(OSError):  # it may be read-only by now
        folder.remove(layout.WORK)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "…"


def write_plan(folder: Folder, plan: Plan, manifest: Manifest | None) -> None:
    """Writes the manifest, then the plan: a job that has its plan can go on."""
    if manifest is not None:
        write_manifest(folder, manifest.table, plan.data.chunk)
    put_identity(folder, plan)


def put_identity(folder: Folder, plan: Identified) -> None:
    """Writes what makes this job this one."""
    folder.put(layout.PLAN, json.dumps(plan.identity(), indent=1).encode())
