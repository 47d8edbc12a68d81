"""Which images there are, in what order, of which class; and their bytes, read in that order."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from atlas.errors import ImageError, JobError, SourceError
from atlas.images.labels import of_network, read_class_names, resolve
from atlas.images.parquet import list_rows, read_rows, row_groups
from atlas.images.shards import list_shard, read_members
from atlas.images.sources import NO_COLUMNS, Columns, Part, Source, find, list_folder, text
from atlas.store.locations import filesystem, is_remote

_WORD = pa.dictionary(pa.int32(), pa.string())
MANIFEST = pa.schema(
    [
        pa.field("image_id", pa.int64(), nullable=False),
        pa.field("source", _WORD, nullable=False),  # as given
        pa.field("key", pa.string(), nullable=False),  # names the image within its source
        pa.field("class_id", pa.int32()),
        pa.field("class_ids", pa.list_(pa.int32())),  # of images with a list of classes
        pa.field("kind", _WORD, nullable=False),  # folder, file, tar or parquet: how the next three are meant
        pa.field("path", pa.dictionary(pa.int32(), pa.binary()), nullable=False),  # of the folder, or of the file
        pa.field("offset", pa.int64()),  # first byte in the tar; row in the Parquet file
        pa.field("length", pa.int64()),  # bytes in the tar
        pa.field("column", _WORD),  # of the Parquet file, where it was asked for
    ]
)
"""Columns of a manifest. What the digest covers is key, classes and length: not where the images lie."""

_LISTED_AT_ONCE = 8
_READ_AT_ONCE = 8
_ROWS = 1024
_DIGEST_ROWS = 1 << 16
_LOST = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}


@dataclass(frozen=True)
class Manifest:
    """All images listed: a table of `MANIFEST`; readable class names by class index; SHA-256 of what was listed.

    `several`: images have lists of classes. `by_network`: the classes are those that the network names. `notes`: what
    is to be said before anything starts.
    """

    table: pa.Table
    classes: tuple[str, ...]
    digest: str
    several: bool = False
    by_network: bool = False
    notes: tuple[str, ...] = ()


def list_images(
    sources: Sequence[str],
    class_names: str | None = None,
    limit: int | None = None,
    columns: Columns = NO_COLUMNS,
    network_names: Sequence[str] = (),
) -> Manifest:
    """Lists the images of all sources in order; `limit` keeps the first so many. Nothing is decoded.

    `columns`: where images and labels are. `network_names`: names of classes that the network comes with: their order
    counts where there is no file `class_names` and the images' classes are among them.
    Raises `SourceError`: a source that is missing, unreadable, or holds no image; classes that do not fit together.
    """
    given = read_class_names(class_names) if class_names else None
    found: list[tuple[Source, Part]] = []
    for each in sources:
        enough = limit is not None and _count(found) >= limit
        try:
            source = find(each)
            parts = [(source, part) for part in _parts(source, limit, _count(found), columns)]
        except (OSError, UnicodeError) as error:
            raise SourceError(f"{text(each)}: cannot be read ({' '.join(str(error).split())[:300]})") from None
        if not _count(parts) and not enough:
            raise SourceError(f"{each}: no images; expected names that end in .jpg, .png, … or rows of images")
        found += parts
    every = [part.labels for _, part in found]
    by_network = None if given else of_network(network_names, every)
    classes, ids = resolve(every, given or by_network)
    several = any(labels.lengths is not None for labels in every)
    tables = [_table(*each, class_ids, columns.image) for each, class_ids in zip(found, ids, strict=True)]
    table = pa.concat_tables(tables).slice(0, limit)
    table = table.append_column(MANIFEST.field("image_id"), pa.array(np.arange(table.num_rows)))
    table = table.select(MANIFEST.names).unify_dictionaries().cast(MANIFEST)
    notes = [part.note for _, part in found if part.note][:1]
    if network_names and not given and not by_network:
        notes.append(_other_names(network_names, classes))
    digest = digest_of_rows(table, classes)
    return Manifest(table, classes, digest, several, by_network is not None, tuple(notes))


def _other_names(network: Sequence[str], classes: Sequence[str]) -> str:
    return (
        f"the network calls its classes {', '.join(network[:3])}, …, the images' are {', '.join(classes[:3])}, …: "
        "predictions are compared by number; --class-names FILE.tsv, or the network's names as folders, set that right"
    )


def _count(parts: Sequence[tuple[Source, Part]]) -> int:
    return sum(len(part.keys) for _, part in parts)


def _parts(source: Source, limit: int | None, before: int, columns: Columns) -> Iterator[Part]:
    """The containers of a source, listed a few at a time; past the limit none, unless their words name classes."""
    if source.kind == "folder":
        for flag, column in (("--image-column", columns.image), ("--label-column", columns.label)):
            if column is not None:
                raise SourceError(f"{flag} {column}: {source.given} is a folder of images, which has no columns")
        yield list_folder(source)
        return
    listing = list_shard if source.kind == "tar" else list_rows
    count, words = before, False
    with ThreadPoolExecutor(_LISTED_AT_ONCE) as pool:
        for start in range(0, len(source.names), _LISTED_AT_ONCE):
            if limit is not None and count >= limit and not words:
                return
            names = source.names[start : start + _LISTED_AT_ONCE]
            for part in pool.map(lambda name: listing(source, name, columns), names):
                count += len(part.keys)
                words = words or part.labels.words
                yield part


def _constant(value: Any, kind: pa.DataType, count: int) -> pa.Array:
    codes = pa.array(np.zeros(count, np.int32))
    return pa.DictionaryArray.from_arrays(codes, pa.array([value], kind.value_type))


def _table(source: Source, part: Part, class_ids: pa.Array, column: str | None) -> pa.Table:
    count = len(part.keys)
    several = pa.types.is_list(class_ids.type)
    nothing = pa.nulls(count, pa.int64())
    paths, kinds = [os.fsencode(part.path), *part.odd.values()], ["folder", "file"] if part.odd else [part.kind]
    codes, odd = np.zeros(count, np.int32), np.zeros(count, np.int32)
    for number, row in enumerate(part.odd, 1):
        codes[row], odd[row] = number, 1
    return pa.table(
        {
            "source": _constant(text(source.given), _WORD, count),
            "key": part.keys,
            "class_id": pa.nulls(count, pa.int32()) if several else class_ids,
            "class_ids": class_ids if several else pa.nulls(count, pa.list_(pa.int32())),
            "kind": pa.DictionaryArray.from_arrays(pa.array(odd), pa.array(kinds)),
            "path": pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(paths, pa.binary())),
            "offset": nothing if part.offsets is None else part.offsets,
            "length": nothing if part.lengths is None else part.lengths,
            "column": pa.nulls(count, _WORD) if column is None else _constant(column, _WORD, count),
        }
    )


def digest_of_rows(table: pa.Table, classes: Sequence[str]) -> str:
    """SHA-256 over keys, class ids, lengths and class names, however the table is chunked."""
    sha = hashlib.sha256()
    for start in range(0, table.num_rows, _DIGEST_ROWS):
        rows = table.slice(start, _DIGEST_ROWS)
        keys = [key.encode() for key in rows["key"].to_pylist()]
        sha.update(np.array([len(key) for key in keys], "<i8").tobytes())
        sha.update(b"".join(keys))
        for name in ("class_id", "length"):
            sha.update(rows[name].fill_null(-1).to_numpy().astype("<i8").tobytes())
        lists = rows["class_ids"].combine_chunks()
        if lists.null_count < len(lists):
            for values in (lists.value_lengths().fill_null(-1), lists.flatten()):
                sha.update(values.to_numpy().astype("<i8").tobytes())
    sha.update("\0".join(classes).encode("utf-8", "surrogateescape"))
    return sha.hexdigest()


def read_image(row: Mapping[str, Any]) -> bytes:
    """The bytes of one image, by its row of the manifest. Raises `ImageError`; otherwise as `read_images`."""
    table = pa.table({field.name: pa.array([row[field.name]]).cast(field.type) for field in MANIFEST})
    for _, body in read_images(table):
        if isinstance(body, ImageError):
            raise body
        return body
    raise AssertionError("one row gives one image")


def read_images(rows: pa.Table) -> Iterator[tuple[int, bytes | ImageError]]:
    """(image_id, bytes) of rows of a manifest, in order; an `ImageError` instead of bytes where one image fails.

    Neighbours in a tar share a read; rising rows of a Parquet file one pass over their row group. What fails for
    other reasons than one image (a bucket out of reach, a shard that is gone) is raised: it is worth another try.
    """
    for start in range(0, rows.num_rows, _ROWS):
        batch = rows.slice(start, _ROWS).to_pylist()
        for (kind, path, column), group in groupby(batch, key=lambda row: (row["kind"], row["path"], row["column"])):
            part = list(group)
            where = os.fsdecode(path)
            if kind == "tar":
                bodies = read_members(where, [(row["offset"], row["length"]) for row in part])
            elif kind == "parquet":
                bodies = read_rows(where, [row["offset"] for row in part], column)
            elif kind == "file":
                bodies = (_read_local(where, os.path.dirname(where)) for _ in part)  # noqa: PTH120
            else:
                bodies = _read_folder(where, [row["key"] for row in part])
            yield from zip((row["image_id"] for row in part), bodies, strict=True)


def stretches(rows: pa.Table, size: int) -> Iterator[tuple[int, int]]:
    """Cuts rows of a manifest into stretches [start, stop) of about `size` that are as cheap to read apart as together.

    A row group of a Parquet file stays whole; files, and members of a tar, can be told apart anywhere.
    """
    for start, stop, kind, path in _runs(rows):
        if kind == "parquet":
            wanted = rows.column("offset")[start:stop].to_numpy()
            cuts = np.flatnonzero(np.diff(row_groups(os.fsdecode(path), wanted))) + 1
            edges = [0, *cuts.tolist(), stop - start]
        else:
            edges = [*range(0, stop - start, size), stop - start]
        yield from ((start + a, start + b) for a, b in pairwise(edges))


def _runs(rows: pa.Table) -> Iterator[tuple[int, int, str, bytes]]:
    start = 0
    kinds, paths = rows.column("kind").to_pylist(), rows.column("path").to_pylist()
    for (kind, path), group in groupby(zip(kinds, paths, strict=True)):
        stop = start + sum(1 for _ in group)
        yield start, stop, kind, path
        start = stop


def _read_folder(root: str, keys: Sequence[str]) -> Iterator[bytes | ImageError]:
    if not is_remote(root):
        for key in keys:
            yield _read_local(f"{root}/{key}", root)
        return
    where, inside = filesystem(root)
    with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
        for start in range(0, len(keys), _READ_AT_ONCE):
            some = keys[start : start + _READ_AT_ONCE]
            yield from pool.map(lambda key: _read_remote(where, f"{inside}/{key}"), some)


def _read_local(path: str, root: str) -> bytes | ImageError:
    try:
        with open(path, "rb") as stream:  # noqa: PTH123
            return stream.read()
    except OSError as error:
        if error.errno not in _LOST:
            raise
        if not os.path.isdir(root):  # noqa: PTH112
            raise JobError(f"{root}: the folder is gone; put it back, then run the same command again") from None
        return ImageError("missing", os.strerror(error.errno))


def _read_remote(where: Any, path: str) -> bytes | ImageError:
    try:
        with where.open_input_stream(path) as stream:
            return bytes(stream.read())
    except FileNotFoundError:
        return ImageError("missing", "no such file in the bucket")
