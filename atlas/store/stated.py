"""`atlas.json` and `part.json` as a stranger may have written them: read whole, small, of the types that are relied on.

What an atlas says of itself bounds what is read of it (`atlas.read.bounds`), so it is checked before anything else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from atlas.errors import FolderError
from atlas.store.files import Folder

LARGEST = 8 << 20
"""Bytes of `atlas.json` and of `part.json`: classes by name are most of it."""
LARGEST_SUMS = 16 << 20
"""Bytes of SHA256SUMS: a line a file."""
DEEPEST = 16
MOST = 1 << 40
"""Images, neurons, examples: more than this is no count."""

_KINDS: dict[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str),
    "texts": lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
    "object": lambda value: isinstance(value, dict),
    "count": lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST,
    "share": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value),
    "numbers": lambda value: isinstance(value, dict) and all(_KINDS["share"](each) for each in value.values()),
}
OF_ATLAS = (
    ("name", "text"), ("digest", "text"), ("network", "object"), ("network.name", "text"), ("data", "object"),
    ("data.sources", "texts"), ("data.count", "count"), ("counts", "object"), ("counts.images", "count"),
    ("counts.quarantined", "count"), ("counts.layers", "count"), ("counts.neurons", "count"),
    ("counts.examples", "count"), ("settings", "object"),
)  # fmt: skip
"""What every atlas says, by place, and its kind."""
MAYBE_OF_ATLAS = (
    ("data.classes", "texts"), ("counts.dead", "count"), ("counts.sample", "count"), ("counts.classes", "count"),
    ("preprocessing", "object"), ("preprocessing.crop", "count"), ("settings.identity", "object"),
    ("accuracy", "object"), ("accuracy.top1", "share"), ("accuracy.top5", "share"), ("accuracy.images", "count"),
    ("index", "object"), ("index.dimensions", "count"), ("index.probes", "count"), ("index.recall_at_10", "share"),
    ("map", "object"), ("trust", "object"), ("trust.words", "texts"), ("compared", "object"),
    ("compared.axis", "texts"), ("timings", "numbers"), ("versions", "object"), ("created", "text"),
)  # fmt: skip
"""What an atlas may say, or leave null."""
OF_PART = (
    ("name", "text"), ("part", "text"), ("base", "text"), ("digest", "text"), ("settings", "object"),
    ("settings.identity", "object"), ("version", "count"),
)  # fmt: skip
MAYBE_OF_PART = (("summary", "object"), ("timings", "numbers"), ("versions", "object"), ("created", "text"))


def bounded(folder: Folder, path: str, largest: int) -> bytes:
    """All bytes of a small file. Raises `FolderError` for one that is too large, `OSError`."""
    size = folder.size(path)
    if size > largest:
        raise FolderError(
            f"{folder.location}/{path} has {size:,} bytes, expected at most {largest:,}; it is none of an atlas"
        )
    return folder.get(path)


def read(folder: Folder, path: str) -> dict[str, Any]:
    """The object in a JSON file. Raises `FolderError` for what is none, or has no end."""
    where = f"{folder.location}/{path}"
    try:
        about = json.loads(bounded(folder, path, LARGEST).decode())
        _walk(about, where, 0)
    except (OSError, ValueError, RecursionError) as error:
        raise FolderError(f"{where}: cannot be read ({str(error)[:200]}); copy it again") from None
    if not isinstance(about, dict):
        raise FolderError(f"{where}: cannot be read (expected an object); copy it again")
    return about


def _walk(value: Any, path: str, depth: int) -> None:
    """Raises `FolderError` for what no answer can say again: deep, of huge numbers, of halves of characters."""
    if depth > DEEPEST:
        raise FolderError(f"{path}: is nested deeper than {DEEPEST}; it is none of an atlas")
    if isinstance(value, dict):
        for name, each in value.items():
            name.encode()
            _walk(each, path, depth + 1)
    elif isinstance(value, list):
        for each in value:
            _walk(each, path, depth + 1)
    elif isinstance(value, str):
        value.encode()
    elif isinstance(value, int) and abs(value) >= 1 << 63:
        raise FolderError(f"{path}: has a number of more than 64 bits; it is none of an atlas")


def check(
    about: dict[str, Any], path: str, always: tuple[tuple[str, str], ...], maybe: tuple[tuple[str, str], ...]
) -> None:
    """Raises `FolderError` naming what is missing or of another kind."""
    for place, kind in (*always, *maybe):
        there, value = _at(about, place)
        needed = (place, kind) in always
        if (not there or value is None) and not needed:
            continue
        if not there:
            raise FolderError(f"{path}: does not say {place}; build it again")
        if not _KINDS[kind](value):
            shown = json.dumps(value)[:40] if isinstance(value, str | int | float | None) else type(value).__name__
            raise FolderError(f"{path}: {place} is {shown}, expected {_SAID[kind]}; copy the atlas again")


_SAID = {
    "text": "a text", "texts": "a list of texts", "object": "an object", "count": f"a whole number from 0 to {MOST}",
    "share": "a finite number", "numbers": "an object of finite numbers",
}  # fmt: skip


def _at(about: dict[str, Any], place: str) -> tuple[bool, Any]:
    value: Any = about
    for name in place.split("."):
        if not isinstance(value, dict) or name not in value:
            return False, None
        value = value[name]
    return True, value
