"""`neuron-atlas verify`: what the folder and its parts say of themselves, and rows run again from the originals."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from atlas import options as asked
from atlas.errors import FolderError, SettingsError
from atlas.read.audit import audit
from atlas.store import parts
from atlas.store.files import Folder
from atlas.store.parts import Part
from atlas.store.sealed import Sealed
from jobs import originals, stages
from jobs.planning.part import settings_of
from jobs.stages import Stage

if TYPE_CHECKING:
    from jobs.replay import Replayed
    from jobs.work import Work


def verify(location: str, replay: int = 0, **given: Any) -> int:
    """Prints what was checked. Gives 0 where all is well, 1 where something is wrong.

    `given`: where the originals lie now, as for `add`, and the files and atlases that parts were made from. What is not
    given is not checked, and said so by name. Raises `InputError` for an original that is another one.
    """
    report = audit(location)
    print(report)
    try:
        sealed = Sealed(location)
    except FolderError:
        return 1  # the report says why
    there = parts.listed(sealed.folder, sealed.digest)
    good = report.ok and not [problem for part in there for problem in _checked(part)]
    if not good or not replay:
        return 0 if good else 1
    from jobs.replay import replay as run_again

    known = {key: value for key, value in given.items() if value is not None}
    try:
        result = run_again(location, replay, **{k: v for k, v in known.items() if k not in place_names()})
        print(result)
        good = result.ok
    except originals.NotGivenError as error:
        print(f"replay: not checked: {error}")
    for part in there:
        good &= part.state == "begun" or _replayed(sealed, part, replay, known)
    return 0 if good else 1


def _checked(part: Part) -> Iterator[str]:
    """Prints what is wrong with the files of a part, or that nothing is; gives each problem."""
    if part.state == "begun":
        print(f"part {part.name}: begun, not sealed; add it again to go on")
        return
    found = parts.problems(part)
    print(f"part {part.name}: {'NOT sound' if found else 'sound'}; digest {str(part.about.get('digest'))[:12]}")
    for problem in found:
        print(f"  {problem}")
        yield problem


def place_names() -> set[str]:
    """Options of all parts that say where a file or another atlas lies."""
    return {
        each.name for stage in stages.parts() for each in fields(stage.options_class()) if each.metadata["contents"]
    }


def _replayed(sealed: Sealed, part: Part, count: int, given: dict[str, Any]) -> bool:
    """Runs some rows of a part again; prints what was found, or why it was not checked."""
    found = [stage for stage in stages.parts() if stage.name == part.part]
    again = getattr(found[0].load(), "replay", None) if found else None
    if again is None:
        print(f"part {part.name}: replay: not checked: this release does not know how")
        return True
    try:
        with _worker(found[0], sealed, part, given) as worker:
            result: Replayed = again(worker, part, count)
    except originals.NotGivenError as error:
        print(f"part {part.name}: replay: not checked: {error}")
        return True
    print(f"part {part.name}: {result}")
    return result.ok


@contextmanager
def _worker(stage: Stage, sealed: Sealed, part: Part, given: dict[str, Any]) -> Iterator[Work]:
    """A worker as the part had it. Raises `InputError` where an original is another one, or is not given."""
    from jobs.add import GIVEN, part_of, plan_part
    from jobs.planning.output import write_plan
    from jobs.work import Work

    chosen = _options(stage, part, given)
    with tempfile.TemporaryDirectory(prefix="neuron-atlas-replay-") as temporary:
        folder = Folder(temporary)
        planned = part_of(stage, sealed, chosen, part.name.partition("@")[2] or None)
        plan, manifest = plan_part(stage, sealed, planned, folder, {k: v for k, v in given.items() if k in GIVEN})
        write_plan(folder, plan, manifest)
        yield Work(plan, 1)


def _options(stage: Stage, part: Part, given: dict[str, Any]) -> Any:
    """The options that a part was made with. Raises `InputError`."""
    kind, identity = stage.options_class(), part.about["settings"]["identity"]
    saved = {key: value for key, value in part.about["settings"].items() if key != "identity"}
    for each in fields(kind):
        if not each.metadata["contents"]:
            continue
        if each.name in given:
            saved[each.name] = given[each.name]
        elif identity.get(each.name) is not None:
            raise originals.NotGivenError(f"say where it lies now, with {asked.flag(each)}")
    chosen = asked.made(kind, saved)
    for name, value in settings_of(chosen).items():
        if identity.get(name) != value:
            raise SettingsError(f"part {part.name}: --{name.replace('_', '-')} is not the one that it was made from")
    return chosen
