"""Whether a folder is what its SHA256SUMS and its tables say: law 7, the reader never trusts the folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from atlas import tables
from atlas.errors import FolderError
from atlas.store import layout, seal
from atlas.store.files import Folder


def sums(folder: Folder) -> dict[str, str]:
    """Checksum of each file, by path. Raises `FolderError` for a path that leads out of the folder."""
    found = seal.read_sums(folder)
    for path in found:
        parts = PurePosixPath(path).parts
        if path.startswith("/") or ".." in parts or not parts or "\0" in path:
            raise FolderError(f"{layout.SUMS} names {path!r}; expected a path inside the folder")
    return found


def is_picture(path: str) -> bool:
    return path.startswith(f"{layout.PICTURES}/")


def check(folder: Folder, expected: dict[str, str], paths: Iterable[str]) -> None:
    """Compares files with their checksums. Raises `FolderError` naming the first that is missing or differs."""
    for path in paths:
        problem = compare(folder, path, expected.get(path))
        if problem:
            raise FolderError(problem)


def compare(folder: Folder, path: str, expected: str | None) -> str | None:
    """What is wrong with a file, in a line; null where it is what `expected` says."""
    if expected is None:
        return f"{path} is not in {layout.SUMS}; build the atlas again"
    led = [str(above) for above in PurePosixPath(path).parents if above.parts and folder.is_link(str(above))]
    if led:
        return f"{led[0]} is a symbolic link; expected a folder inside the atlas"
    try:
        found = seal.sha256_of(folder.input(path) if not is_picture(path) else folder.passing(path))
    except FileNotFoundError:
        return f"{path} is missing; copy the atlas again"
    if found != expected:
        return f"{path} is damaged: SHA-256 {found[:12]}, expected {expected[:12]}; copy the atlas again"
    return None


def needed(expected: dict[str, str], folder: Folder) -> list[str]:
    """Files that must be right before an atlas is served: all but the packs and the state of the fold."""
    there = [path for path in expected if not is_picture(path) and not path.startswith(layout.STATE)]
    base = tables.of_part(None)
    absent = [name for name in (layout.ATLAS, *(t.path for t in base if t.required)) if name not in expected]
    if absent:
        raise FolderError(f"{absent[0]} is not in {layout.SUMS}; build the atlas again")
    for table in base:
        one = folder.exists(table.path)
        here = [table.path] if one else [f"{table.path}/{each}" for each in folder.names(table.path)]
        loose = [path for path in here if path not in expected]
        if loose:
            raise FolderError(f"{loose[0]} is not in {layout.SUMS}; expected only files of the build")
    return there
