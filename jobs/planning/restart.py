"""`build --restart`: an output folder is emptied of what a build and its parts made, and of nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable

from atlas import tables
from atlas.errors import AtlasError, SettingsError
from atlas.store import layout, parts, seal
from atlas.store.files import Folder
from atlas.tables import Table
from jobs.progress import say

_PACK = re.compile(rf"{layout.PICTURES}/[a-z_-]+-[0-9]{{6}}\.tar")
_STATE = re.compile(r"state/[a-z]+(-[0-9]{5})?\.safetensors")
_LAST = (layout.PLAN, layout.ATLAS)
"""What shows that a build is there: removed last, so that a removal that was cut short can go on."""


def check(folder: Folder) -> None:
    """Raises `SettingsError` where the folder holds no build."""
    if not (any(folder.exists(each) for each in (layout.SUMS, *_LAST)) or folder.is_empty()):
        raise SettingsError(
            f"--restart: {folder.location} holds no build; expected one, or an empty or a new folder as --out"
        )


def clear(folder: Folder) -> None:
    """Removes a build, sealed or begun, with the parts that were made of it; files of others stay. Under its lease."""
    folder.remove(layout.SUMS)  # from here on it is no atlas
    made = _made(folder, tables.of_part(None), ())
    for name in sorted({path.partition("/")[0] for path in folder.names(parts.PARTS, recursive=True)}):
        kind = name.partition("@")[0]
        if any(table.part == kind for table in tables.TABLES):
            part = parts.folder_of(folder, name)
            made += [f"{parts.PARTS}/{name}/{path}" for path in _made(part, tables.of_part(kind), _listed(part))]
    for path in made:
        if path not in (*_LAST, layout.LEASE):
            folder.remove(path)
    for path in _LAST:
        folder.remove(path)
    folder.prune()
    left = folder.names(recursive=True)
    others = [path for path in left if path != layout.LEASE]
    say(f"{folder.location}: {len(made)} files of the build before are removed" + (
        f"; {len(others)} that it did not make stay, such as {others[0]}" if others else ""
    ))  # fmt: skip


def _listed(part: Folder) -> Iterable[str]:
    """Files that the part's seal names."""
    try:
        return seal.read_sums(part)
    except (AtlasError, OSError):
        return ()


def _made(folder: Folder, known: Iterable[Table], listed: Iterable[str]) -> list[str]:
    """Of the files in a folder, those that a build, or a part, makes."""
    exact = {layout.ATLAS, layout.SUMS, layout.INDEX, parts.ABOUT, *listed}
    exact |= {table.path for table in known if not table.files}
    inside_of = (f"{layout.WORK}/", *(f"{table.path}/part-" for table in known if table.files))
    return [
        path
        for path in folder.names(recursive=True)
        if path in exact or path.startswith(inside_of) or _PACK.fullmatch(path) or _STATE.fullmatch(path)
    ]
