"""Where the bytes of an atlas's file lie on this machine's disk: in a file of its own, inside a packed one, or in the
bounded cache of what was read from a bucket."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

from atlas.errors import InputError, StoreError

CACHE_BYTES = "NEURON_ATLAS_CACHE_BYTES"
_DEFAULT = 20 << 30
_OPEN = 128  # files that are open at a time


@dataclass(frozen=True)
class Held:
    """`size` bytes of `file` from `offset` on are one file of an atlas."""

    file: Path
    offset: int
    size: int


class Section(io.RawIOBase):
    """A file of an atlas, read where it lies."""

    def __init__(self, held: Held) -> None:
        super().__init__()
        self._held, self._at = held, 0
        self._file = os.open(held.file, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._held.size}[whence])
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._held.size - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        body = os.pread(self._file, wanted, self._held.offset + self._at) if wanted else b""
        self._at += len(body)
        return body

    def close(self) -> None:
        if not self.closed:
            os.close(self._file)
        super().close()


class Files:
    """Files kept open, so that a picture is one `pread`; a file that is a link is not opened."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[Path, int] = OrderedDict()
        self._closing = weakref.finalize(self, _close, self._open)

    def read(self, file: Path, offset: int, length: int) -> bytes:
        """Bytes of a file; fewer where it ends. Raises `OSError`."""
        with self._lock:
            descriptor = self._open.get(file)
            if descriptor is None:
                flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
                descriptor = self._open[file] = os.open(file, flags)
                while len(self._open) > _OPEN:
                    os.close(self._open.popitem(last=False)[1])
            else:
                self._open.move_to_end(file)
            return os.pread(descriptor, length, offset)

    def close(self) -> None:
        with self._lock:
            _close(self._open)


def _close(files: OrderedDict[Path, int]) -> None:
    while files:
        os.close(files.popitem()[1])


class Cache:
    """Files and pieces of files from buckets, at most `bound` bytes in all; what was used longest ago goes first.

    It vanishes with the process. Whole files are kept as long as their atlas is open: their number is that of its
    tables. Raises `StoreError` where these alone are larger than the bound.
    """

    def __init__(self, bound: int) -> None:
        self.bound, self.used = bound, 0
        self._lock = threading.Lock()
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._kept: dict[str, int] = {}
        self._making: dict[str, threading.Lock] = {}
        where = os.environ.get("NEURON_ATLAS_SPOOL") or None
        self.folder = Path(tempfile.mkdtemp(prefix="neuron-atlas-cache-", dir=where))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def _file(self, name: str) -> Path:
        return self.folder / hashlib.sha256(name.encode()).hexdigest()

    def whole(self, name: str, size: int, fetch: Callable[[Any], None]) -> Path:
        """The file of that name, which `fetch` writes into a stream where it is not there yet."""
        file = self._file(name)
        with self._one(name):
            with self._lock:
                if name in self._kept:
                    return file
                self._room(size, name)
                self._kept[name] = size
                self.used += size
            try:
                part = file.with_suffix(".part")
                with part.open("wb") as stream:
                    fetch(stream)
                if part.stat().st_size != size:
                    raise StoreError(f"{name}: {part.stat().st_size} bytes came, expected {size}; try again")
                part.replace(file)
            except BaseException:
                with self._lock:
                    self.used -= self._kept.pop(name)
                part.unlink(missing_ok=True)
                raise
        return file

    def piece(self, name: str, fetch: Callable[[], bytes]) -> bytes:
        """A piece of a file, fetched once however many ask for it at the same time."""
        file = self._file(name)
        with self._one(name):
            with self._lock:
                there = name in self._sizes
                if there:
                    self._sizes.move_to_end(name)
                    body = file.read_bytes()
            if there:
                return body
            body = fetch()
            if len(body) <= self.bound // 4:
                with self._lock:
                    if self._fits(len(body)):
                        file.write_bytes(body)
                        self._sizes[name] = len(body)
                        self.used += len(body)
        return body

    def _fits(self, size: int) -> bool:
        """Makes room, where there can be."""
        while self.used + size > self.bound and self._sizes:
            name, freed = self._sizes.popitem(last=False)
            self._file(name).unlink(missing_ok=True)
            self.used -= freed
        return self.used + size <= self.bound

    def _room(self, size: int, name: str) -> None:
        if not self._fits(size):
            raise StoreError(
                f"{name}: {size:,} bytes do not fit into the cache of {self.bound:,} bytes beside {self.used:,} "
                f"in use; set {CACHE_BYTES} to more"
            )

    def _one(self, name: str) -> threading.Lock:
        with self._lock:
            if len(self._making) > 4096:
                self._making = {key: lock for key, lock in self._making.items() if lock.locked()}
            return self._making.setdefault(name, threading.Lock())


@lru_cache(maxsize=1)
def cache(_process: int) -> Cache:
    """The cache of this process, of NEURON_ATLAS_CACHE_BYTES (20 GiB) at most."""
    said = os.environ.get(CACHE_BYTES, str(_DEFAULT))
    if not said.isdigit() or int(said) < 1 << 20:
        raise InputError(f"{CACHE_BYTES}={said!r}: expected a number of bytes, 1048576 or more")
    return Cache(int(said))


class Handler(fs.FileSystemHandler):  # type: ignore[misc]
    """Files that `held` knows, as a pyarrow file system: what DuckDB and Parquet readers take. It writes nothing."""

    def __init__(self, sizes: Callable[[], dict[str, int]], held: Callable[[str], Held], name: str) -> None:
        self._sizes, self._held, self._name = sizes, held, name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handler) and self._name == other._name

    def __hash__(self) -> int:
        return hash(self._name)

    def get_type_name(self) -> str:
        return "atlas"

    def normalize_path(self, path: str) -> str:
        return path.strip("/")

    def _info(self, path: str) -> Any:
        clean, sizes = path.strip("/"), self._sizes()
        if clean in sizes:
            return fs.FileInfo(path, fs.FileType.File, size=sizes[clean])
        inside = not clean or any(name.startswith(f"{clean}/") for name in sizes)
        return fs.FileInfo(path, fs.FileType.Directory if inside else fs.FileType.NotFound)

    def get_file_info(self, paths: list[str]) -> list[Any]:
        return [self._info(path) for path in paths]

    def get_file_info_selector(self, selector: Any) -> list[Any]:
        base, sizes = selector.base_dir.strip("/"), self._sizes()
        start = f"{base}/" if base else ""
        below = [name for name in sizes if name.startswith(start)]
        chosen = below if selector.recursive else [name for name in below if "/" not in name[len(start) :]]
        return [fs.FileInfo(name, fs.FileType.File, size=sizes[name]) for name in chosen]

    def open_input_file(self, path: str) -> Any:
        return pa.PythonFile(Section(self._held(path.strip("/"))), mode="r")

    open_input_stream = open_input_file

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise OSError(f"{self._name}: can only be read")

    open_output_stream = open_append_stream = create_dir = delete_dir = delete_dir_contents = _refuse
    delete_root_dir_contents = delete_file = move = copy_file = _refuse
