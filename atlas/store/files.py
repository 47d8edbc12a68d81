"""A folder on a disk or in a bucket: put, get and list are all that an atlas needs of it.

`put` is atomic: a reader sees the whole file or none. Locally that is a write beside the target, then a rename; an
object store's put is atomic by itself.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, TypeVar, cast
from urllib.parse import parse_qsl

import pyarrow as pa
from pyarrow import fs

from atlas.errors import InputError, JobError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PART = ".part"
T = TypeVar("T")
_CONNECT_SECONDS, _REQUEST_SECONDS, _ATTEMPTS = 10, 120, 5
_OPTIONS = {"endpoint_override", "scheme", "region"}


def is_remote(location: str) -> bool:
    """Whether `location` names a bucket rather than a local path."""
    return location.startswith("s3://")


def filesystem(location: str) -> tuple[fs.FileSystem, str]:
    """The file system of `location`, and the path in it.

    `s3://` takes its endpoint from AWS_ENDPOINT_URL, its region from AWS_REGION, and its credentials where AWS's own
    tools do; `?endpoint_override=…&scheme=…&region=…` at the end wins.
    """
    if not is_remote(location):
        return fs.LocalFileSystem(), str(Path(location).absolute())
    path, query = location.removeprefix("s3://"), ""
    before, mark, after = path.rpartition("?")
    if mark and after.partition("=")[0] in _OPTIONS:
        path, query = before, after
    path = path.rstrip("/")
    options = dict(parse_qsl(query))
    endpoint = options.get("endpoint_override") or os.environ.get("AWS_ENDPOINT_URL", "")
    scheme, _, host = endpoint.rstrip("/").rpartition("://")
    region = options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region is None:
        region = "us-east-1" if host else _region(path.partition("/")[0])
    return _bucket_system(host, options.get("scheme") or scheme or "https", region, os.getpid()), path


def inside(location: str, path: str) -> str:
    """The location of a folder inside another one; what a bucket's location says of its endpoint stays at the end."""
    before, mark, after = location.rpartition("?")
    if is_remote(location) and mark and after.partition("=")[0] in _OPTIONS:
        return f"{before.rstrip('/')}/{path}?{after}"
    return f"{location.rstrip('/')}/{path}"


@lru_cache(maxsize=64)
def _region(bucket: str) -> str:
    try:
        return str(fs.resolve_s3_region(bucket))
    except OSError:
        return "us-east-1"


@lru_cache(maxsize=16)
def _bucket_system(host: str, scheme: str, region: str, process: int) -> fs.FileSystem:
    """One client a process: connections are kept and shared by threads."""
    return fs.S3FileSystem(
        region=region,
        endpoint_override=host or None,
        scheme=scheme,
        allow_delayed_open=True,  # one put for a small file, instead of an upload in parts
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_REQUEST_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
    )


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


class Folder:
    """Files under one location. Paths are relative, with `/`."""

    def __init__(self, location: str) -> None:
        self.location = location
        self.remote = is_remote(location)
        self._fs, self._root = filesystem(location)

    def __reduce__(self) -> tuple[type[Folder], tuple[str]]:
        return (Folder, (self.location,))

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def local(self, path: str) -> Path:
        """The path on this machine's disk. Raises `InputError` for a bucket."""
        if self.remote:
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
        """The action, again where a bucket breaks off: its client tries requests again, but not bodies cut short."""
        for attempt in range(_ATTEMPTS if self.remote else 1):
            try:
                return action()
            except FileNotFoundError:
                raise
            except OSError:
                if attempt == _ATTEMPTS - 1 or not self.remote:
                    raise
                time.sleep(0.1 * 2**attempt)
        raise AssertionError("unreachable")

    @contextmanager
    def open(self, path: str) -> Iterator[Any]:
        """A file to seek and read, as pyarrow opens it."""
        with self._fs.open_input_file(self._path(path)) as stream:
            yield pa.PythonFile(_Patient(stream, self._tried), "r") if self.remote else stream

    def put(self, path: str, body: bytes) -> None:
        """Writes a whole file at once: it is there whole, or not at all. Raises `JobError` when the disk is full."""
        with self.writing(path) as stream:
            stream.write(body)

    @contextmanager
    def writing(self, path: str) -> Iterator[IO[bytes]]:
        """A stream whose bytes appear as `path` when the block ends, and never if it raises.

        Raises `JobError` when the disk is full.
        """
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
        start = len(self._path(path)) + 1
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
            self._fs.delete_dir(self._path(path))
        elif info.type == fs.FileType.File:
            self._fs.delete_file(self._path(path))
