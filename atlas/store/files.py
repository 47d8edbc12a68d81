"""A folder on a disk or in a bucket: put, get and list are all that an atlas needs of it.

`put` is atomic: a reader sees the whole file or none. Locally that is a write beside the target, then a rename; an
object store's put is atomic by itself.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qsl, urlsplit

from pyarrow import fs

from atlas.errors import InputError, JobError


def is_remote(location: str) -> bool:
    """Whether `location` names a bucket rather than a local path."""
    return location.startswith("s3://")


def filesystem(location: str) -> tuple[fs.FileSystem, str]:
    """The file system of `location`, and the path in it. `s3://` takes its endpoint from AWS_ENDPOINT_URL."""
    if not is_remote(location):
        return fs.LocalFileSystem(), str(Path(location).absolute())
    parts = urlsplit(location, allow_fragments=False)
    query = dict(parse_qsl(parts.query))
    endpoint = query.get("endpoint_override") or os.environ.get("AWS_ENDPOINT_URL", "")
    options: dict[str, Any] = {"region": query.get("region") or os.environ.get("AWS_DEFAULT_REGION", "us-east-1")}
    if endpoint:
        scheme, _, host = endpoint.rpartition("://")
        options |= {"endpoint_override": host, "scheme": scheme or "https"}
    return fs.S3FileSystem(**options), f"{parts.netloc}{parts.path}".rstrip("/")


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
        return self._fs.get_file_info(self._path(path)).type == fs.FileType.File

    def size(self, path: str) -> int:
        """Bytes of a file. Raises `FileNotFoundError`."""
        info = self._fs.get_file_info(self._path(path))
        if info.type != fs.FileType.File:
            raise FileNotFoundError(f"{self.location}/{path}")
        return int(info.size)

    def get(self, path: str) -> bytes:
        """All bytes of a file. Raises `FileNotFoundError`."""
        with self._fs.open_input_stream(self._path(path)) as stream:
            return bytes(stream.read())

    @contextmanager
    def open(self, path: str) -> Iterator[Any]:
        """A file to seek and read, as pyarrow opens it."""
        with self._fs.open_input_file(self._path(path)) as stream:
            yield stream

    def put(self, path: str, body: bytes) -> None:
        """Writes a whole file at once: it is there whole, or not at all. Raises `JobError` when the disk is full."""
        with self.writing(path) as stream:
            stream.write(body)

    @contextmanager
    def writing(self, path: str) -> Iterator[IO[bytes]]:
        """A stream whose bytes appear as `path` when the block ends, and never if it raises."""
        if self.remote:
            with self._remote_writing(path) as stream:
                yield stream
            return
        target = Path(self._path(path))
        part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(target)
        except OSError as error:
            part.unlink(missing_ok=True)
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise JobError(
                    f"{target}: the disk is full; make room, then run the same command again to go on"
                ) from None
            raise
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    @contextmanager
    def _remote_writing(self, path: str) -> Iterator[IO[bytes]]:
        # Spooled to the local disk first: an upload that is closed by an exception would still appear.
        import shutil
        import tempfile

        with tempfile.TemporaryFile() as spool:
            yield spool  # type: ignore[misc]
            spool.seek(0)
            with self._fs.open_output_stream(self._path(path)) as stream:
                shutil.copyfileobj(spool, stream, 1 << 20)

    def names(self, path: str = "", *, recursive: bool = False) -> list[str]:
        """Files under `path`, relative to it, sorted by their bytes; those being written are not among them."""
        selector = fs.FileSelector(self._path(path), recursive=recursive, allow_not_found=True)
        start = len(self._path(path)) + 1
        found = [i.path[start:] for i in self._fs.get_file_info(selector) if i.type == fs.FileType.File]
        return sorted((n for n in found if not n.endswith(".part")), key=os.fsencode)

    def is_empty(self) -> bool:
        """Whether there is nothing at the location yet."""
        selector = fs.FileSelector(self._root, allow_not_found=True)
        return not self._fs.get_file_info(selector)

    def remove(self, path: str) -> None:
        """Removes a file, or a folder with all that is in it, if it is there."""
        info = self._fs.get_file_info(self._path(path))
        if info.type == fs.FileType.Directory:
            self._fs.delete_dir(self._path(path))
        elif info.type == fs.FileType.File:
            self._fs.delete_file(self._path(path))
