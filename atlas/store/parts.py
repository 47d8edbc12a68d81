"""Parts of a sealed atlas: `parts/NAME/`, each with its own tables, pictures and seal, bound to the base by its digest.

    parts/NAME/part.json      name, part, version, base, settings, summary, created, timings, versions, digest
    parts/NAME/SHA256SUMS     every other file; written last
    parts/NAME/work/          what a part that is not sealed yet keeps; gone once it is sealed

NAME is the part's own name, or NAME@AS where there may be several. Nothing is ever written into the base.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from atlas.errors import FolderError, SettingsError
from atlas.store import layout, seal, stated
from atlas.store.files import Folder

PARTS = "parts"
ABOUT = "part.json"
_NAME = re.compile(r"[a-z][a-z_]*(@[A-Za-z0-9._-]{1,64})?")
State = Literal["begun", "sealed", "damaged"]


@dataclass(frozen=True)
class Part:
    """A part as the folder has it. `why`: what is wrong with a damaged one. `about`: part.json of a sealed one."""

    name: str
    folder: Folder
    state: State
    about: dict[str, Any]
    why: str | None = None

    @property
    def part(self) -> str:
        """Which part it is: NAME without @AS."""
        return self.name.partition("@")[0]

    def table(self, name: str) -> pa.Table:
        """A one-file table of the part."""
        with self.folder.open(layout.table(name)) as stream:
            return pq.read_table(stream)

    def picture(self, value: Mapping[str, Any]) -> bytes:
        """The image file that a value of a picture column names."""
        return self.folder.range(layout.pack_path(value["pack"]), value["offset"], value["length"])


def named(part: str, as_name: str | None = None) -> str:
    """NAME or NAME@AS. Raises `SettingsError` for an AS that is no name of a folder."""
    name = f"{part}@{as_name}" if as_name else part
    if not _NAME.fullmatch(name):
        raise SettingsError(f"--as {as_name!r}: expected 1 to 64 letters, digits, dots, dashes or underscores")
    return name


def folder_of(base: Folder, name: str) -> Folder:
    """Where a part lies."""
    return base.sub(f"{PARTS}/{name}")


def listed(base: Folder, digest: str) -> list[Part]:
    """All parts of the atlas with that digest, by name: sealed, begun, or damaged with the reason. Reads no table."""
    names = sorted({path.partition("/")[0] for path in base.names(PARTS, recursive=True) if "/" in path})
    return [look(base, digest, name) for name in names if _NAME.fullmatch(name)]


def look(base: Folder, digest: str, name: str) -> Part:
    """One part; `begun` where it has no seal yet."""
    folder = folder_of(base, name)
    if not folder.exists(layout.SUMS):
        return Part(name, folder, "begun", {})
    try:
        about = stated.read(folder, ABOUT)
        stated.check(about, ABOUT, stated.OF_PART, stated.MAYBE_OF_PART)
        sums = seal.read_sums(folder)
    except (OSError, FolderError) as error:
        return Part(name, folder, "damaged", {}, f"{ABOUT} or {layout.SUMS} cannot be read ({error})")
    return Part(name, folder, *_judged(folder, name, digest, about, sums))


def _judged(
    folder: Folder, name: str, digest: str, about: dict[str, Any], sums: Mapping[str, str]
) -> tuple[State, dict[str, Any], str | None]:
    why = None
    if sums.get(ABOUT) != hashlib.sha256(folder.get(ABOUT)).hexdigest():
        why = f"{ABOUT} is not what {layout.SUMS} says"
    elif about.get("name") != name:
        why = f"is the part {about.get('name')!r}; its folder has another name"
    elif about.get("base") != digest:
        why = f"was made from another atlas ({str(about.get('base'))[:12]}, this one is {digest[:12]}); add it again"
    return ("damaged", about, why) if why else ("sealed", about, None)


def digest_of(folder: Folder, about: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """The digest over tables, pictures, base and settings, and the checksum of each file but part.json."""
    contents, sums = seal.digest_and_sums(folder)
    sums.pop(ABOUT, None)
    bound = {"base": about["base"], "part": about["part"], "version": about["version"]}
    text = json.dumps(bound | {"settings": about["settings"]["identity"]}, sort_keys=True)
    return hashlib.sha256(f"{contents}\n{text}\n".encode()).hexdigest(), sums


def seal_part(folder: Folder, about: Mapping[str, Any]) -> str:
    """Writes part.json with the digest, then SHA256SUMS: from here on the folder is a part. Gives the digest."""
    digest, sums = digest_of(folder, about)
    body = json.dumps({**about, "digest": digest}, indent=1, ensure_ascii=False).encode() + b"\n"
    folder.put(ABOUT, body)
    sums[ABOUT] = hashlib.sha256(body).hexdigest()
    folder.put(layout.SUMS, "".join(f"{sums[path]}  {path}\n" for path in sorted(sums)).encode())
    return digest


def problems(part: Part) -> list[str]:
    """What is wrong with a sealed part's files: missing, changed, too many, or another digest. Reads all of them."""
    if part.state == "damaged":
        return [str(part.why)]
    expected = seal.read_sums(part.folder)
    there = {path: seal.sha256(part.folder, path) for path in seal.contents(part.folder)}
    found = [f"{path} is missing; add the part again" for path in sorted(expected.keys() - there.keys())]
    found += [f"{path} is not in {layout.SUMS}; remove it" for path in sorted(there.keys() - expected.keys())]
    changed = [path for path in sorted(expected.keys() & there.keys()) if expected[path] != there[path]]
    found += [f"{path} is damaged: SHA-256 {there[path][:12]}, expected {expected[path][:12]}" for path in changed]
    if not found and (digest := digest_of(part.folder, part.about)[0]) != part.about["digest"]:
        found.append(f"{ABOUT}: digest {str(part.about['digest'])[:12]}, but the contents give {digest[:12]}")
    return found
