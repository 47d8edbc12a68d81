"""`neuron-atlas extend`: more images join an atlas, in a new one; what one build over all of them would make.

Full chunks of the old atlas are not scanned again: their fold, rows, codes, responses and thumbnails are taken from it.
The trailing short chunk is scanned again together with what is new. Winners are harvested anew, so that the old images
must still be there; index and map are rebuilt.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from atlas.errors import SettingsError
from atlas.images.manifest import Manifest, digest_of_rows
from atlas.scan.earlier import Earlier
from atlas.settings import OPERATIONAL, Settings, from_mapping
from atlas.store import layout, parts, seal
from atlas.store.files import Folder
from jobs.build import add_part, begin, planned, wanted
from jobs.planning.plan import Plan
from jobs.progress import say

CHANGEABLE = ("network", "weights", "class_names", *OPERATIONAL)
"""Settings that may be given again: where things lie now, and how the work is shared out."""


def extend(location: str, images: tuple[str, ...], out: str, **changes: Any) -> str:
    """Builds `out` from the atlas at `location` and more images, and gives its digest.

    Raises `InputError` where the two do not fit: other images, classes or weights than the atlas was built from.
    """
    old = Folder(location)
    about = seal.read_about(old)
    settings = settings_of(about, images, out, changes)
    plan, manifest = planned(settings)
    check(location, about, plan, manifest)
    chunks = int(about["data"]["count"]) // plan.data.chunk
    if chunks and not (old.exists(layout.state(0)) and old.exists(layout.SAMPLE)):
        raise SettingsError(f"{location}: has no state/ to go on from; build anew over all images")
    digest = begin(plan, manifest, Earlier(old, chunks, plan.data.chunk))
    again = wanted(settings)
    for name, options in again:
        add_part(settings, name, options)
    left = [part.name for part in parts.listed(old, str(about["digest"])) if part.part not in dict(again)]
    if left:
        say(f"{out}: parts are not carried over; {location} has {', '.join(left)}: add them again, or with --with")
    return digest


def settings_of(about: dict[str, Any], images: tuple[str, ...], out: str, changes: dict[str, Any]) -> Settings:
    """The atlas's settings with more images and another folder."""
    known = {f.name for f in fields(Settings)}
    kept = {name: value for name, value in about["settings"].items() if name in known and value is not None}
    for name in ("with_parts", "occlusion"):  # parts are asked for anew
        kept.pop(name, None)
    kept |= {name: value for name, value in changes.items() if value is not None}
    if kept.get("limit") is not None:
        raise SettingsError(f"{about['name']}: was built with --limit {kept['limit']}; build anew over all images")
    before = from_mapping({**kept, "out": out})
    return replace(before, images=(*before.images, *images))


def check(location: str, about: dict[str, Any], plan: Plan, manifest: Manifest) -> None:
    """Whether the atlas is what this plan would have made of its first images. Raises `SettingsError`."""
    count, classes = int(about["data"]["count"]), tuple(about["data"]["classes"])
    if plan.data.classes[: len(classes)] != classes:
        raise SettingsError(
            f"{location}: has classes {_some(classes)}, with the new images they are {_some(plan.data.classes)}; "
            "give a --class-names that begins with the old ones, or build anew"
        )
    if digest_of_rows(manifest.table.slice(0, count), classes) != about["data"]["manifest_digest"]:
        raise SettingsError(
            f"{location}: its {count} images are no longer the first of {', '.join(plan.settings.images)}; build anew"
        )
    before, now = about["settings"]["identity"], plan.identity()
    differs = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k) and k not in _GROW)
    if differs:
        raise SettingsError(f"{location}: was built with another {differs[0]}; give the one it was built with")


_GROW = ("manifest", "count")


def _some(classes: tuple[str, ...]) -> str:
    return ", ".join(classes[:3]) + (f", … ({len(classes)})" if len(classes) > 3 else "") if classes else "none"
