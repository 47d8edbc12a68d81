"""Sealing an atlas: its digest over contents, the checksums of its files, and the reading of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from atlas.errors import FolderError, FormatError
from atlas.store import layout, stated
from atlas.store.files import Folder

CHUNK = 1 << 22
_PATHS = ("source",)
"""Columns that say where the images lay: outside the digest."""


def sha256(folder: Folder, path: str) -> str:
    """SHA-256 of a file's bytes, read in bounded memory."""
    with folder.open(path) as stream:
        return sha256_of(stream)


def sha256_of(stream: Any) -> str:
    """SHA-256 of what a stream still has, read in bounded memory."""
    hasher = hashlib.sha256()
    while body := stream.read(CHUNK):
        hasher.update(body)
    return hasher.hexdigest()


def seal(folder: Folder, about: dict[str, Any]) -> dict[str, Any]:
    """Writes `atlas.json` with the digest, then SHA256SUMS over every file: from here on the folder is an atlas."""
    digest, sums = digest_and_sums(folder)
    about = {**about, "digest": digest}
    body = json.dumps(about, indent=1, ensure_ascii=False, sort_keys=False).encode()
    folder.put(layout.ATLAS, body + b"\n")
    sums[layout.ATLAS] = hashlib.sha256(body + b"\n").hexdigest()
    lines = "".join(f"{sums[path]}  {path}\n" for path in sorted(sums))
    folder.put(layout.SUMS, lines.encode())
    return about


def contents(folder: Folder) -> list[str]:
    """Files of the atlas: all but the sums, the work of the build, `atlas.json`, and parts, which have their own."""
    names = folder.names(recursive=True)
    apart = (f"{layout.WORK}/", "parts/")
    return [n for n in names if not n.startswith(apart) and n not in (layout.SUMS, layout.ATLAS, *layout.BESIDE)]


def digest_and_sums(folder: Folder) -> tuple[str, dict[str, str]]:
    """The digest over contents, and the checksum of each file."""
    sums = {path: sha256(folder, path) for path in contents(folder)}
    hasher = hashlib.sha256()
    for path in sorted(sums):
        inside = _table_digest(folder, path) if path.endswith(".parquet") else sums[path]
        if path.startswith(f"{layout.PICTURES}/") or path.endswith(".parquet"):
            hasher.update(f"{path} {inside}\n".encode())
    return hasher.hexdigest(), sums


def _table_digest(folder: Folder, path: str) -> str:
    """SHA-256 over the values of a table, whatever its row groups and compression."""
    hasher = hashlib.sha256()
    with folder.open(path) as stream:
        file = pq.ParquetFile(stream)
        names = [name for name in file.schema_arrow.names if name not in _PATHS]
        hasher.update(str([file.schema_arrow.field(name).remove_metadata() for name in names]).encode())
        for batch in _rebatched(file, names, 16_384):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, batch.schema) as writer:
                writer.write_batch(batch)
            hasher.update(sink.getvalue())
    return hasher.hexdigest()


def _rebatched(file: pq.ParquetFile, names: list[str], rows: int) -> Iterator[pa.RecordBatch]:
    """Batches of exactly `rows` rows, so that the split into row groups does not show."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in file.iter_batches(rows, columns=names):
        waiting.append(batch)
        count += len(batch)
        while count >= rows:
            table = pa.Table.from_batches(waiting).combine_chunks()
            yield table.slice(0, rows).combine_chunks().to_batches()[0]
            waiting = table.slice(rows).to_batches()
            count -= rows
    if count:
        yield pa.Table.from_batches(waiting).combine_chunks().to_batches()[0]


def read_about(folder: Folder) -> dict[str, Any]:
    """The contents of `atlas.json`. Raises `FolderError` where the folder is not a sealed atlas of this format."""
    if not folder.exists(layout.SUMS):
        raise FolderError(f"{folder.location}: not a sealed atlas ({layout.SUMS} is missing); build it first")
    found = stated.read(folder, layout.ATLAS)
    version = found.get("format_version")
    if version != layout.FORMAT_VERSION:
        raise FormatError(
            f"{folder.location}: an atlas of format {str(version)[:20]}, expected {layout.FORMAT_VERSION}; "
            "build it again, or use the neuron-atlas that made it"
        )
    stated.check(found, f"{folder.location}/{layout.ATLAS}", stated.OF_ATLAS, stated.MAYBE_OF_ATLAS)
    return found


def read_sums(folder: Folder) -> dict[str, str]:
    """Checksum of each file, by path. Raises `FolderError`."""
    sums = {}
    body = stated.bounded(folder, layout.SUMS, stated.LARGEST_SUMS).removesuffix(b"\n")
    for number, line in enumerate(body.decode("utf-8", "replace").split("\n"), 1):
        digest, gap, path = line.partition("  ")
        if not gap or len(digest) != 64:
            raise FolderError(f"{folder.location}/{layout.SUMS} line {number}: expected a SHA-256, two spaces, a path")
        sums[path] = digest
    return sums
