"""Ranges of files in a bucket, for somebody who waits: bounded in time, several at once, kept in the cache."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, TypeVar

from pyarrow import fs

from atlas.errors import StoreError
from atlas.store.held import cache
from atlas.store.locations import tried

PIECE = 8 << 20
"""Bytes of one request at most."""
_AT_ONCE = 8
_ATTEMPTS = 3
_FILES = 128
T = TypeVar("T")


class Remote:
    """Files under `root` of a file system whose requests end after seconds.

    Raises `StoreError` where the store fails three times, `FileNotFoundError` for a file that there is not.
    """

    def __init__(self, system: Any, root: str, location: str) -> None:
        self._fs, self._root, self._location = system, root, location
        self._open: dict[str, Any] = {}
        self._lock = threading.Lock()

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def sizes(self, path: str = "") -> dict[str, int]:
        """Bytes of each file under a folder, by path below the root: one listing. Of a file: its own, under ``""``."""

        def look() -> dict[str, int]:
            info = self._fs.get_file_info(self._path(path))
            if info.type == fs.FileType.File:
                return {path: int(info.size)}
            selector = fs.FileSelector(self._path(path), recursive=True, allow_not_found=True)
            start = len(self._root) + 1
            found = self._fs.get_file_info(selector)
            return {each.path[start:]: int(each.size) for each in found if each.type == fs.FileType.File}

        return self._tried(look)

    def range(self, path: str, offset: int, length: int) -> bytes:
        """Bytes of a file; fewer where it ends. One request, and one more when a file is first asked for its size."""
        return self._tried(lambda: bytes(self._file(path).read_at(length, offset)))

    def cached(self, path: str, offset: int, length: int) -> bytes:
        """As `range`, kept in this process's cache."""
        name = f"{self._location}\0{path}\0{offset}\0{length}"
        return cache(os.getpid()).piece(name, lambda: self.range(path, offset, length))

    def fetch(self, path: str, offset: int, size: int, stream: IO[bytes]) -> None:
        """Copies a stretch of a file into a stream, by several requests at once."""
        starts = range(offset, offset + size, PIECE)

        def piece(start: int) -> bytes:
            body = self.range(path, start, min(PIECE, offset + size - start))
            if len(body) != min(PIECE, offset + size - start):
                raise StoreError(f"{self._location}/{path}: is shorter than it was listed; try again")
            return body

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for at in range(0, len(starts), _AT_ONCE):
                for body in pool.map(piece, starts[at : at + _AT_ONCE]):
                    stream.write(body)

    def _file(self, path: str) -> Any:
        with self._lock:
            there = self._open.get(path)
        if there is not None:
            return there
        opened = self._fs.open_input_file(self._path(path))
        with self._lock:
            if len(self._open) >= _FILES:
                self._open.pop(next(iter(self._open)))
            return self._open.setdefault(path, opened)

    def _tried(self, action: Callable[[], T]) -> T:
        try:
            return tried(action, _ATTEMPTS)
        except FileNotFoundError:
            raise
        except OSError as error:
            said = " ".join(str(error).split())[:200]
            raise StoreError(f"{self._location}: the store does not answer ({said}); try again later") from None
