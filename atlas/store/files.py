"""The one door to a folder: on a disk, packed into one file, or in a bucket. Put, get, list, and read where it lies.

A packed file is a folder that can only be read, and so is what `hf://` names. `put` is atomic: a reader sees the whole
file or none. Locally that is a write beside the target, then a rename; an object store's put is atomic by itself.
"""

from __future__ import annotations

import copy
import errno
import io
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import pyarrow as pa
from pyarrow import fs

from atlas.errors import InputError, JobError
from atlas.store import packed
from atlas.store.held import Files, Handler, Held, Section, cache
from atlas.store.locations import ATTEMPTS, HUB, filesystem, inside, is_remote, tried
from atlas.store.remote import Remote

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PART = ".part"
T = TypeVar("T")
PACKED = ".tar"
"""How the name of a packed file ends."""


class _Patient(io.RawIOBase):
    """A bucket's file whose reads are tried again: the client gives up on a refusal longer than what was asked for."""

    def __init__(self, stream: Any, tried: Callable[[Callable[[], bytes]], bytes]) -> None:
        super().__init__()
        self._stream, self._tried = stream, tried

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._stream.seek(offset, whence))

    def tell(self) -> int:
        return int(self._stream.tell())

    def read(self, size: int = -1) -> bytes:
        begin = self.tell()

        def read() -> bytes:
            self._stream.seek(begin)
            return bytes(self._stream.read(None if size < 0 else size))

        return self._tried(read)


class _Passing(io.RawIOBase):
    """A bucket's file, read once by large ranges that are not kept."""

    def __init__(self, folder: Folder, path: str) -> None:
        super().__init__()
        self._far, (self._at, left, self._path) = folder._far, folder._remote_place(path)
        self._begin, self._end = self._at, self._at + left

    def tell(self) -> int:
        return self._at - self._begin

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        body = self._far.range(self._path, self._at, min(len(into), self._end - self._at))
        into[: len(body)] = body
        self._at += len(body)
        return len(body)


class Folder:
    """Files under one location. Paths are relative, with `/`."""

    def __init__(self, location: str) -> None:
        self.location = location
        self.remote = is_remote(location)
        self._fs, self._root = filesystem(location)
        self._files = Files()
        self._at = self._root  # where a packed file lies
        self._packed = self._members() if self._root.endswith(PACKED) else None
        if self._packed is not None:
            self._fs, self._root = fs.PyFileSystem(Handler(self.sizes, self.held, location)), ""

    def __reduce__(self) -> tuple[type[Folder], tuple[str]]:
        return (Folder, (self.location,))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Folder) and self.location == other.location

    def __hash__(self) -> int:
        return hash(self.location)

    @property
    def name(self) -> str:
        """The last part of where it lies."""
        return self._at.rstrip("/").rpartition("/")[2].removesuffix(PACKED)

    # Reading where it lies: a sealed folder, which does not change

    def _members(self) -> dict[str, tuple[int, int]] | None:
        """Offset and size of each file of a packed one; null where there is no such file."""
        if self.remote:
            sizes = self._far.sizes()
            if "" not in sizes:
                return None
            return packed.members(lambda o, n: self._far.range("", o, n), sizes[""], self.location, headers=False)
        path = Path(self._at)
        if not path.is_file():
            return None
        return packed.members(lambda o, n: self._files.read(path, o, n), path.stat().st_size, self.location)

    @cached_property
    def _far(self) -> Remote:
        """The bucket, for somebody who waits."""
        return Remote(filesystem(self.location, patient=False)[0], self._at, self.location)

    def sizes(self) -> dict[str, int]:
        """Bytes of each file, by path, as they were when this was first asked."""
        return self._sizes

    @cached_property
    def _sizes(self) -> dict[str, int]:
        if self._packed is not None:
            return {path: size for path, (_, size) in self._packed.items()}
        if self.remote:
            return self._far.sizes()
        return {path: self.size(path) for path in self.names(recursive=True)}

    def held(self, path: str) -> Held:
        """Where a file's bytes lie on this machine; what is in a bucket is fetched first.

        Raises `FileNotFoundError` for what is no plain file, `StoreError` where a bucket does not answer.
        """
        if self._packed is not None and not self.remote:
            if path not in self._packed:
                raise FileNotFoundError(f"{self.location}/{path}")
            return Held(Path(self._at), *self._packed[path])
        if not self.remote:
            target = Path(self._path(path))
            if target.is_symlink() or not target.is_file():
                raise FileNotFoundError(f"{self.location}/{path}")
            return Held(target, 0, target.stat().st_size)
        offset, size, inside = self._remote_place(path)
        name = f"{self.location}\0{path}"
        return Held(cache(os.getpid()).whole(name, size, lambda s: self._far.fetch(inside, offset, size, s)), 0, size)

    def _remote_place(self, path: str) -> tuple[int, int, str]:
        """Offset and size of a file in a bucket, and the path of what it lies in."""
        if path not in self._sizes:
            raise FileNotFoundError(f"{self.location}/{path}")
        if self._packed is not None:
            return (*self._packed[path], "")
        return 0, self._sizes[path], path

    def range(self, path: str, offset: int, length: int) -> bytes:
        """Bytes of a file; fewer where it ends: one `pread`, or one request of a bucket, whose answer is kept.

        Raises `FileNotFoundError`, `OSError`, `StoreError`.
        """
        if not self.remote:
            held = Held(Path(self._path(path)), 0, offset + length) if self._packed is None else self.held(path)
            return self._files.read(held.file, held.offset + offset, max(0, min(length, held.size - offset)))
        start, size, inside = self._remote_place(path)
        return self._far.cached(inside, start + offset, max(0, min(length, size - offset)))

    def input(self, path: str) -> Any:
        """A file to seek and read, as pyarrow takes it, which the caller keeps. Raises as `held`."""
        held = self.held(path)
        if held.offset == 0 and self._packed is None:
            return fs.LocalFileSystem().open_input_file(str(held.file))
        return pa.PythonFile(Section(held), mode="r")

    def sub(self, path: str) -> Folder:
        """The folder of a part inside this one."""
        if self._packed is None:
            return Folder(inside(self.location, path))
        below = copy.copy(self)
        below.location = f"{self.location}/{path}"
        below._packed = {p.removeprefix(f"{path}/"): v for p, v in self._packed.items() if p.startswith(f"{path}/")}
        for name in ("_sizes", "reading"):
            below.__dict__.pop(name, None)
        below._fs = fs.PyFileSystem(Handler(below.sizes, below.held, below.location))
        return below

    def passing(self, path: str) -> Any:
        """A file to read once, from begin to end: what is in a bucket is not kept."""
        return self.input(path) if not self.remote else io.BufferedReader(_Passing(self, path), 8 << 20)

    def is_link(self, path: str) -> bool:
        """Whether a path is a symbolic link, which a sealed folder has not."""
        return not self.remote and self._packed is None and Path(self._path(path)).is_symlink()

    def plain_size(self, path: str) -> int | None:
        """Bytes of a plain file; null where there is none, or a link."""
        if self.remote or self._packed is not None:
            return self._sizes.get(path)
        target = Path(self._path(path))
        return None if target.is_symlink() or not target.is_file() else target.stat().st_size

    @cached_property
    def reading(self) -> tuple[Any, str]:
        """The file system, and the root in it, through which DuckDB reads tables where they are held."""
        if self.remote and self._packed is None:
            return fs.PyFileSystem(Handler(self.sizes, self.held, self.location)), ""
        return self._fs, self._root

    def release(self) -> None:
        """Closes the files that `range` keeps open."""
        self._files.close()

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}" if path and self._root else path or self._root

    def local(self, path: str) -> Path:
        """The path on this machine's disk. Raises `InputError` for a bucket."""
        if self.remote or self._packed is not None:
            raise InputError(f"{self.location}: expected a local folder; copy the atlas to a disk first")
        return Path(self._path(path))

    def exists(self, path: str) -> bool:
        return bool(self._fs.get_file_info(self._path(path)).type == fs.FileType.File)

    def size(self, path: str) -> int:
        """Bytes of a file. Raises `FileNotFoundError`."""
        info = self._fs.get_file_info(self._path(path))
        if info.type != fs.FileType.File:
            raise FileNotFoundError(f"{self.location}/{path}")
        return int(info.size)

    def get(self, path: str) -> bytes:
        """All bytes of a file. Raises `FileNotFoundError`."""

        def read() -> bytes:
            with self._fs.open_input_stream(self._path(path)) as stream:
                return bytes(stream.read())

        return self._tried(read)

    def _tried(self, action: Callable[[], T]) -> T:
        """The action, again where a bucket breaks off."""
        return tried(action, ATTEMPTS if self.remote else 1)

    @contextmanager
    def open(self, path: str) -> Iterator[Any]:
        """A file to seek and read, as pyarrow opens it."""
        with self._fs.open_input_file(self._path(path)) as stream:
            patient = self.remote and self._packed is None
            yield pa.PythonFile(_Patient(stream, self._tried), "r") if patient else stream

    def put(self, path: str, body: bytes) -> None:
        """Writes a whole file at once: it is there whole, or not at all. Raises `JobError` when the disk is full."""
        with self.writing(path) as stream:
            stream.write(body)

    @contextmanager
    def writing(self, path: str) -> Iterator[IO[bytes]]:
        """A stream whose bytes appear as `path` when the block ends, and never if it raises.

        Raises `JobError` when the disk is full.
        """
        if self._packed is not None or self.location.startswith(HUB):
            raise InputError(f"{self.location}: can only be read; copy the atlas to a disk or a bucket first")
        writing = self._remote_writing if self.remote else self._local_writing
        try:
            with writing(path) as stream:
                yield stream
        except OSError as error:
            if error.errno not in _FULL:
                raise
            where = tempfile.gettempdir() if self.remote else self._path(path)
            raise JobError(f"{where}: the disk is full; make room, then run the same command again to go on") from None

    @contextmanager
    def _local_writing(self, path: str) -> Iterator[IO[bytes]]:
        target = Path(self._path(path))
        part = target.with_name(f".{target.name[:100]}.{uuid.uuid4().hex}{_PART}")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    @contextmanager
    def _remote_writing(self, path: str) -> Iterator[IO[bytes]]:
        # Spooled to the local disk first: an upload that is closed by an exception would still appear.
        with tempfile.TemporaryFile() as spool:
            yield cast("IO[bytes]", spool)

            def upload() -> None:
                spool.seek(0)
                with self._fs.open_output_stream(self._path(path)) as stream:
                    shutil.copyfileobj(spool, stream, 1 << 20)

            self._tried(upload)

    def names(self, path: str = "", *, recursive: bool = False) -> list[str]:
        """Files under `path`, relative to it, sorted by their bytes; those being written are not among them."""
        return [name for name in self._names(path, recursive) if not name.endswith(_PART)]

    def _names(self, path: str, recursive: bool) -> list[str]:
        selector = fs.FileSelector(self._path(path), recursive=recursive, allow_not_found=True)
        start = len(self._path(path)) + 1 if self._path(path) else 0
        found = [i.path[start:] for i in self._fs.get_file_info(selector) if i.type == fs.FileType.File]
        return sorted(found, key=os.fsencode)

    def is_empty(self) -> bool:
        """Whether there is no file at the location yet; what killed writers left does not count.

        Raises `InputError` for a location that can never be written: a file, or a bucket that is not there.
        """
        if self.remote:
            bucket = self._root.partition("/")[0]
            try:
                missing = self._fs.get_file_info(bucket).type == fs.FileType.NotFound
            except OSError as error:
                line = " ".join(str(error).split())[:300]
                raise InputError(f"{self.location}: the bucket cannot be reached ({line})") from None
            if missing:
                raise InputError(f"{self.location}: there is no bucket {bucket}; make it first")
        if self._fs.get_file_info(self._root).type == fs.FileType.File:
            raise InputError(f"{self.location}: is a file; expected a folder, or the name of a new one")
        return not self.names(recursive=True)

    def sweep(self) -> int:
        """Removes what killed writers left, and counts it. Only while nobody writes."""
        left = [name for name in self._names("", True) if name.endswith(_PART)]
        for name in left:
            self.remove(name)
        return len(left)

    def prune(self) -> None:
        """Removes folders that hold no file; a bucket has none."""
        if self.remote:
            return
        root = self.local("")
        for path, _, _ in os.walk(root, topdown=False):
            if Path(path) != root:
                with suppress(OSError):  # it holds something
                    os.rmdir(path)  # noqa: PTH106

    def remove(self, path: str) -> None:
        """Removes a file, or a folder with all that is in it, if it is there."""
        info = self._fs.get_file_info(self._path(path))
        if info.type == fs.FileType.Directory:
            try:
                self._fs.delete_dir(self._path(path))
            except OSError:  # a file came into it meanwhile, as a lease does that is renewed
                self._fs.delete_dir(self._path(path))
        elif info.type == fs.FileType.File:
            self._fs.delete_file(self._path(path))
