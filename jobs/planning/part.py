"""A part that is going to be made: of which atlas, under which name, with which options."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from atlas import options
from atlas.errors import SettingsError
from atlas.store import layout, seal
from atlas.store.files import Folder
from atlas.words import encoders


@dataclass(frozen=True)
class PartPlan:
    """A part. `base`: where its atlas lies; `digest`: the atlas's. `settings`: what its contents depend on."""

    name: str
    part: str
    version: int
    base: str
    digest: str
    options: Any
    settings: dict[str, Any]

    def identity(self) -> dict[str, Any]:
        """What makes two parts the same one, as plain JSON values."""
        return {"part": self.part, "version": self.version, "base": self.digest, **self.settings}


def settings_of(given: Any) -> dict[str, Any]:
    """What the contents of a part depend on: its options, and the contents of the files, atlases, encoders they name.

    Raises `SettingsError` where one cannot be read.
    """
    found = options.identity(given)
    for each in fields(given):
        value, kind = getattr(given, each.name), each.metadata["contents"]
        if kind and value is not None:
            found[each.name] = _contents(options.flag(each), str(value), kind)
    return found


def _contents(flag: str, place: str, kind: str) -> str:
    if kind == "encoder":
        return encoders.load(place).digest
    if kind == "atlas" or (kind == "either" and Folder(place).exists(layout.ATLAS)):
        return str(seal.read_about(Folder(place))["digest"])
    if Path(place).is_dir():
        return _of_folder(Path(place))
    parent, _, name = place.replace("\\", "/").rpartition("/")
    try:
        return seal.sha256(Folder(parent or ("/" if place.startswith("/") else ".")), name)
    except OSError as error:
        raise SettingsError(f"{flag} {place}: cannot be read ({' '.join(str(error).split())[:200]})") from None


def _of_folder(folder: Path) -> str:
    """SHA-256 over the names and contents of the files of a local folder."""
    hasher = hashlib.sha256()
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        body = hashlib.sha256(path.read_bytes()).hexdigest()
        hasher.update(f"{path.relative_to(folder).as_posix()} {body}\n".encode())
    return hasher.hexdigest()
