"""Whether a folder is what its SHA256SUMS and its tables say: law 7, the reader never trusts the folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from atlas import tables
from atlas.errors import FolderError
from atlas.store import layout, seal
from atlas.store.files import Folder

_BLOCK = 1 << 20


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, read in bounded memory."""
    with path.open("rb", buffering=0) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sums(folder: Folder) -> dict[str, str]:
    """Checksum of each file, by path. Raises `FolderError` for a path that leads out of the folder."""
    found = seal.read_sums(folder)
    for path in found:
        parts = PurePosixPath(path).parts
        if path.startswith("/") or ".." in parts or not parts or "\0" in path:
            raise FolderError(f"{layout.SUMS} names {path!r}; expected a path inside the folder")
    return found


def sums_in(root: Path) -> dict[str, str]:
    """As `sums`, of a folder on this machine."""
    return sums(Folder(str(root)))


def is_picture(path: str) -> bool:
    return path.startswith(f"{layout.PICTURES}/")


def check(root: Path, expected: dict[str, str], paths: Iterable[str]) -> None:
    """Compares files with their checksums. Raises `FolderError` naming the first that is missing or differs."""
    for path in paths:
        problem = compare(root, path, expected.get(path))
        if problem:
            raise FolderError(problem)


def compare(root: Path, path: str, expected: str | None) -> str | None:
    """What is wrong with a file, in a line; null where it is what `expected` says."""
    if expected is None:
        return f"{path} is not in {layout.SUMS}; build the atlas again"
    target = root / path
    led = [folder for folder in Path(path).parents if (root / folder).is_symlink() and folder.parts]
    if led:
        return f"{led[0]} is a symbolic link; expected a folder inside the atlas"
    if target.is_symlink() or not target.is_file():
        return f"{path} is missing; copy the atlas again"
    found = sha256(target)
    if found != expected:
        return f"{path} is damaged: SHA-256 {found[:12]}, expected {expected[:12]}; copy the atlas again"
    return None


def needed(expected: dict[str, str], root: Path) -> list[str]:
    """Files that must be right before an atlas is served: all but the packs and the state of the fold."""
    there = [path for path in expected if not is_picture(path) and not path.startswith(layout.STATE)]
    base = tables.of_part(None)
    absent = [name for name in (layout.ATLAS, *(t.path for t in base if t.required)) if name not in expected]
    if absent:
        raise FolderError(f"{absent[0]} is not in {layout.SUMS}; build the atlas again")
    for table in base:
        here = [table.path, *(f"{table.path}/{each}" for each in _names(root / table.path))]
        loose = [path for path in here if (root / path).is_file() and path not in expected]
        if loose:
            raise FolderError(f"{loose[0]} is not in {layout.SUMS}; expected only files of the build")
    return there


def _names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
