"""What `--images` can name: a folder of images, tar shards, Parquet files; on a disk or in a bucket. Listing only."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs

from atlas.errors import SourceError
from atlas.images.labels import Labels
from atlas.store.locations import filesystem, is_remote

_ENDINGS = "jpg jpeg jpe jfif png gif webp bmp dib tif tiff ppm pgm pbm pnm avif jp2"
ENDINGS = frozenset(f".{ending}" for ending in _ENDINGS.split(" "))
"""Endings, in any case, of the names that are listed as images."""

Kind = Literal["folder", "file", "tar", "parquet"]
_WILD = re.compile(r"[*?\[]")
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Part:
    """The images of one container in order: a folder, a shard, a Parquet file.

    `path` is absolute, or a URL. Of a folder an image's file is `path/key`, or where its name is not UTF-8 what
    `odd` says for its row. `offsets` and `lengths` (int64 (N,)): bytes of a tar member; the row in a Parquet file.
    """

    kind: Kind
    path: str
    keys: pa.ChunkedArray
    labels: Labels
    offsets: pa.Array | None = None
    lengths: pa.Array | None = None
    odd: dict[int, bytes] = field(default_factory=dict)
    note: str | None = None
    """What is to be said of it before anything starts."""


@dataclass(frozen=True)
class Columns:
    """Where images and labels are, if not where they usually are: columns of Parquet files; of a shard the ending of a
    sample's file, of a label also a key of its .json."""

    image: str | None = None
    label: str | None = None


NO_COLUMNS = Columns()


@dataclass(frozen=True)
class Source:
    """One source as given, and the files it stands for: those of `names` are relative to `root`."""

    given: str
    kind: Kind
    root: str
    names: tuple[str, ...] = ()

    def prefix(self, name: str) -> str:
        """What tells the images of one file of the source from those of another."""
        return f"{name}/" if len(self.names) > 1 else ""


def is_image(name: str) -> bool:
    """Whether a file of this name (without its folder) is listed as an image."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in ENDINGS  # noqa: PTH122


def text(name: str) -> str:
    """A file name as text; bytes that are not UTF-8 as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def find(given: str) -> Source:
    """What a source is. Raises `SourceError` if there is nothing to list, `OSError` if it cannot be reached."""
    if _WILD.search(given) and (is_remote(given) or not Path(given).exists()):
        return _glob(given)
    where, path = filesystem(given)
    info = where.get_file_info(path)
    root = given.rstrip("/") if is_remote(given) else path
    if info.type == fs.FileType.File:
        folder, _, name = root.rpartition("/")
        kind = "folder" if is_image(name) else _container(name)
        if kind is None:
            raise SourceError(f"{given}: expected a folder, an image, *.tar shards or *.parquet")
        return Source(given, kind, folder, (name,))
    if info.type != fs.FileType.Directory:
        raise SourceError(f"{given}: no such folder or file; expected a folder, an image, *.tar shards or *.parquet")
    return _folder_source(given, root)


def _container(name: str) -> Kind | None:
    lower = name.lower()
    return "tar" if lower.endswith(".tar") else "parquet" if lower.endswith((".parquet", ".pq")) else None


def _glob(given: str) -> Source:
    """Files that a pattern matches; `*` does not cross a `/`."""
    parts = given.split("/")
    first = next(number for number, part in enumerate(parts) if _WILD.search(part))
    root, pattern = "/".join(parts[:first]), "/".join(parts[first:])
    if is_remote(given):
        names = _match_bucket(root, parts[first:])
    else:
        root = str(Path(root or ("/" if given.startswith("/") else ".")).absolute())
        names = glob.glob(pattern, root_dir=root)  # noqa: PTH207
    kinds = {_container(name) for name in names}
    if not names:
        raise SourceError(f"{given}: no file matches the pattern")
    kind = kinds.pop()
    if kinds or kind is None:
        raise SourceError(f"{given}: expected a pattern that matches *.tar only, or *.parquet only")
    return Source(given, kind, root, tuple(sorted(names, key=os.fsencode)))


def _match_bucket(root: str, patterns: Sequence[str]) -> list[str]:
    where, path = filesystem(root)
    found = [""]
    for depth, pattern in enumerate(patterns, 1):
        wanted = fs.FileType.File if depth == len(patterns) else fs.FileType.Directory
        found = [
            f"{above}/{info.base_name}".lstrip("/")
            for above in found
            for info in where.get_file_info(fs.FileSelector(f"{path}/{above}".rstrip("/")))
            if info.type == wanted and fnmatch.fnmatchcase(info.base_name, pattern)
        ]
    return found


def _folder_source(given: str, root: str) -> Source:
    """A folder: of images if there is any, else of shards or Parquet files."""
    containers: dict[Kind, list[str]] = {"tar": [], "parquet": []}
    for _, names in walk(root):
        for name in names:
            base = name.rpartition("/")[2]
            if is_image(base):
                return Source(given, "folder", root)
            kind = _container(base)
            if kind is not None:
                containers[kind].append(name)
    found = [(kind, names) for kind, names in containers.items() if names]
    if not found:
        raise SourceError(f"{given}: no images; expected class folders of images, *.tar shards or *.parquet in it")
    if len(found) > 1:
        raise SourceError(f"{given}: holds *.tar and *.parquet; name one kind by a quoted pattern, '{given}/*.tar'")
    kind, names = found[0]
    return Source(given, kind, root, tuple(sorted(names, key=os.fsencode)))


def walk(root: str) -> Iterator[tuple[str, list[str]]]:
    """Files below `root` by first folder ("" for those right in it), hidden ones left out: paths relative to `root`.

    Names that are not UTF-8 hold surrogates, as in `os.fsdecode`. Links are followed, but never round in a circle.
    """
    if is_remote(root):
        yield from _walk_bucket(root)
        return
    stack: list[tuple[str, tuple[tuple[int, int], ...]]] = [("", ())]
    while stack:
        inside, above = stack.pop()
        names = []
        folders = []
        with os.scandir(os.path.join(root, inside)) as entries:  # noqa: PTH118
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = f"{inside}{entry.name}"
                kind = _kind_of(entry)
                if kind == "folder":
                    folders.append(path)
                elif kind == "file":
                    names.append(path)
        if names:
            yield inside.partition("/")[0], names
        for path in folders:
            status = os.stat(os.path.join(root, path))  # noqa: PTH116, PTH118
            identity = (status.st_dev, status.st_ino)
            if identity not in above:
                stack.append((f"{path}/", (*above, identity)))


def _kind_of(entry: os.DirEntry[str]) -> Literal["folder", "file"] | None:
    """What an entry is; a link that leads nowhere, or to itself, counts as a file, which cannot be read later."""
    try:
        if entry.is_dir():
            return "folder"
        lost = entry.is_symlink() and not os.path.exists(entry.path)  # noqa: PTH110
        return "file" if entry.is_file() or lost else None
    except OSError:  # a link round in a circle, or through a folder that may not be searched
        return "file"


def _walk_bucket(root: str) -> Iterator[tuple[str, list[str]]]:
    # One listing a first folder, so that a bucket of millions of files is never held at once.
    where, path = filesystem(root)
    start = len(path) + 1
    top = where.get_file_info(fs.FileSelector(path))
    names = [info.path[start:] for info in top if info.type == fs.FileType.File]
    if names:
        yield "", [name for name in names if not name.startswith(".")]
    for folder in sorted(info.path for info in top if info.type == fs.FileType.Directory):
        below = where.get_file_info(fs.FileSelector(folder, recursive=True))
        found = (info.path[start:] for info in below if info.type == fs.FileType.File)
        kept = [name for name in found if not any(part.startswith(".") for part in PurePosixPath(name).parts)]
        if kept:
            yield folder[start:], kept


def list_folder(source: Source) -> Part:
    """The images of a folder, by the bytes of their paths; the first folder of a path is the image's class. Of a single
    image, whose source names it, that one, without a class."""
    paths: list[pa.Array] = []
    numbers: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
    names: dict[str, int] = {}
    for folder, found in [("", list(source.names))] if source.names else walk(source.root):
        images = [name for name in found if is_image(name.rpartition("/")[2])]
        if not images:
            continue
        number = names.setdefault(text(folder), len(names)) if folder else -1
        paths.append(pa.array([os.fsencode(name) for name in images], pa.large_binary()))
        numbers.append(np.full(len(images), number, np.int64))
    together = pa.concat_arrays(paths) if paths else pa.array([], pa.large_binary())
    order = pc.sort_indices(together)
    together = together.take(order)
    labels = Labels(np.concatenate([*numbers, np.empty(0, np.int64)])[order.to_numpy()], tuple(names))
    keys, odd = _keys(together, source.root)
    return Part("folder", source.root, keys, labels, odd=odd)


def _keys(paths: pa.Array, root: str) -> tuple[pa.ChunkedArray, dict[int, bytes]]:
    """Paths as text, and the whole paths of those that are not UTF-8."""
    chunks, odd = [], {}
    for start in range(0, len(paths), _CHUNK):
        piece = paths.slice(start, _CHUNK)
        try:
            chunks.append(piece.cast(pa.large_string()).cast(pa.string()))
        except pa.ArrowInvalid:
            names = []
            for row, raw in enumerate(piece.to_pylist(), start):
                names.append(raw.decode("utf-8", "backslashreplace"))
                if not _is_utf8(raw):
                    odd[row] = os.fsencode(root) + b"/" + raw
            chunks.append(pa.array(names, pa.string()))
    return pa.chunked_array(chunks, pa.string()), odd


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
