"""The atlases that are served, under their names; one that fails its verification is listed with the reason."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

from typing_extensions import TypedDict

from api.http.described import closed, doc
from atlas.errors import AtlasError, NotFoundError
from atlas.read import verify
from atlas.read.catalog import Atlas, Store
from atlas.read.parts import Part

RESERVED = ("api", "metrics", "static", "livez", "favicon.ico", "robots.txt")
"""First parts of paths that are not names of atlases."""


@closed
class Verification(TypedDict):
    """What was verified of a folder, and what is still being."""

    tables: Annotated[str, doc("tables and index against SHA256SUMS: verified, failed", "verified")]
    sizes: Annotated[str, doc("packs of pictures by size: verified, failed", "verified")]
    packs: Annotated[str, doc("packs by checksum, in the background: running, verified, failed", "running")]
    packs_done: Annotated[int, doc("packs whose checksum was verified", 3)]
    packs_total: Annotated[int, doc("packs of pictures", 12)]
    failed: Annotated[list[str], doc("packs that are not what SHA256SUMS says; a part's with parts/NAME/ before", [])]
    parts: Annotated[dict[str, str], doc("part -> verified, begun, or what is wrong with it", {"words": "verified"})]


class Shelf:
    """One atlas that is served, or the reason why it is not."""

    def __init__(self, name: str, atlas: Atlas | None, store: Store | None, reason: str | None) -> None:
        self.name = name
        self._atlas = atlas
        self._store = store
        self.reason = reason
        self.verification: Verification | None = None
        if atlas is not None and store is not None:
            total = len(_packs_of(atlas)) + sum(len(_packs_of(part)) for part in _sealed(atlas))
            self.verification = {
                "tables": "verified",
                "sizes": "verified",
                "packs": "running" if total else "verified",
                "packs_done": 0,
                "packs_total": total,
                "failed": [],
                "parts": {part.name: _state(part) for part in atlas.parts},
            }

    @property
    def available(self) -> bool:
        return self.reason is None

    @property
    def atlas(self) -> Atlas:
        """Raises `NotFoundError` where it is unavailable."""
        if self._atlas is None or self._store is None:
            raise NotFoundError(f"atlas {self.name!r} is unavailable: {self.reason}")
        return self._atlas

    @property
    def store(self) -> Store:
        """Raises `NotFoundError` where it is unavailable."""
        if self._store is None:
            raise NotFoundError(f"atlas {self.name!r} is unavailable: {self.reason}")
        return self._store

    @staticmethod
    def _verify_under(of: Atlas | Part, prefix: str, state: Verification, stop: threading.Event) -> None:
        expected = verify.sums(of.folder)
        for path in _packs_of(of):
            if stop.is_set():
                return
            if verify.compare(of.folder, path, expected.get(path)):
                state["failed"].append(prefix + path)
            state["packs_done"] += 1

    def changed(self) -> None:
        """Notes that its tables are not what they were when they were verified."""
        if self.verification is not None:
            self.verification["tables"] = "failed"

    def verify_packs(self, stop: threading.Event) -> None:
        """Compares the packs with their checksums, one after another."""
        state = self.verification
        if state is None or self._atlas is None:
            return
        try:
            self._verify_under(self._atlas, "", state, stop)
            for part in _sealed(self._atlas):
                self._verify_under(part, f"parts/{part.name}/", state, stop)
        except (AtlasError, OSError):
            state["failed"].append("SHA256SUMS")
        if stop.is_set():
            return
        state["packs"] = "failed" if state["failed"] else "verified"


def _packs_of(of: Atlas | Part) -> list[str]:
    return sorted(path for path in verify.sums(of.folder) if verify.is_picture(path))


def _sealed(atlas: Atlas) -> list[Part]:
    return [part for part in atlas.parts if part.state == "sealed"]


def _state(part: Part) -> str:
    return "verified" if part.state == "sealed" else part.state if part.why is None else f"left out: {part.why}"


class Library:
    """All atlases of a process."""

    def __init__(self, folders: Sequence[str | Path]) -> None:
        self.shelves: dict[str, Shelf] = {}
        for folder in folders:
            shelf = _open(str(folder), self._free)
            self.shelves[shelf.name] = shelf
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def _free(self, name: str) -> str:
        """The name, with a number behind it where it is taken."""
        free, number = name, 2
        while free in self.shelves or free in RESERVED:
            free, number = f"{name}-{number}", number + 1
        return free

    def get(self, name: str) -> Shelf:
        """Raises `NotFoundError`."""
        try:
            return self.shelves[name]
        except KeyError:
            raise NotFoundError(f"atlas {name!r}: no such atlas; expected one of those /api/v1/atlases lists") from None

    def start(self) -> None:
        """Begins to verify packs in the background."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._verify, name="verify-packs", daemon=True)
            self._thread.start()

    def _verify(self) -> None:
        for shelf in self.shelves.values():
            shelf.verify_packs(self._stop)

    def stop(self) -> None:
        """Ends the verification in the background."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)


def _open(folder: str, free: object) -> Shelf:
    name = "atlas" if "://" in folder else Path(folder).resolve().name or "atlas"
    try:
        atlas = Atlas(folder, verify=False)
        name = atlas.name
        return Shelf(_named(name, free), atlas, _checked(atlas), None)
    except AtlasError as error:
        reason = str(error).replace(folder, name).replace(str(Path(folder).absolute()), name)
    except Exception as error:  # a folder of any contents must not stop the others
        reason = f"its tables cannot be read ({type(error).__name__}); build it again"
    return Shelf(_named(name, free), None, None, reason)


def _checked(atlas: Atlas) -> Store:
    """The atlas laid out, while its files are compared with their checksums. Raises `FolderError`."""
    with ThreadPoolExecutor(1) as pool:
        verified = pool.submit(atlas.check)
        try:
            store = atlas.store
        finally:
            verified.result()  # what is damaged may also fail to be laid out: this says why
    atlas.prepare()
    return store


def _named(name: str, free: object) -> str:
    assert callable(free)
    return str(free(name))
