"""Tar shards, WebDataset's layout: listed by their headers alone, read by ranges."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from atlas.errors import ImageError, JobError, SourceError
from atlas.images.labels import from_values, unlabelled
from atlas.images.sources import NO_COLUMNS, Columns, Part, Source, is_image, text
from atlas.store.locations import filesystem, is_remote

_BLOCK = 512
_LABEL_LIMIT = 1 << 16
_LOCAL_WINDOW = 1 << 12
_REMOTE_WINDOW = 1 << 16
_READ_WINDOW = 4 << 20
_GAP = 1 << 16


@dataclass(frozen=True)
class Member:
    """A regular file of a tar: its name, and where its bytes are."""

    name: str
    offset: int
    length: int


class _Window:
    """Reads at any place of a file; neighbouring small reads cost one read of the file."""

    def __init__(self, stream: Any, size: int) -> None:
        self._stream = stream
        self._size = size
        self._start = 0
        self._bytes = b""
        self.end = int(stream.size())

    def read(self, offset: int, length: int) -> bytes:
        at = offset - self._start
        if at < 0 or at + length > len(self._bytes):
            self._stream.seek(offset)
            self._bytes = self._stream.read(max(length, self._size))
            self._start, at = offset, 0
        return self._bytes[at : at + length]


def list_shard(source: Source, name: str, columns: Columns = NO_COLUMNS) -> Part:
    """The images of one shard: of each sample (files in a row of one name up to the first dot) the image.

    The class is the sample's `.cls`, or `label` or `cls` of its `.json`: a number, a word, or a list of these; or what
    `columns` names. Raises `SourceError` for a damaged header.
    """
    path = f"{source.root}/{name}"
    where, inside = filesystem(path)
    prefix = source.prefix(name)
    keys, offsets, lengths, labels = [], [], [], []
    others: dict[str, None] = {}
    try:
        with where.open_input_file(inside) as stream:
            window = _Window(stream, _REMOTE_WINDOW if is_remote(path) else _LOCAL_WINDOW)
            for image, label in _samples(window, path, columns, others):
                keys.append(text(prefix + image.name))
                offsets.append(image.offset)
                lengths.append(image.length)
                labels.append(label)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({' '.join(str(error).split())[:300]})") from None
    return Part(
        "tar",
        path,
        pa.chunked_array([keys], pa.string()),
        from_values(labels),
        pa.array(offsets, pa.int64()),
        pa.array(lengths, pa.int64()),
        note=unlabelled(path, "`.cls`, and no `label` or `cls` in a `.json`", list(others))
        if all(label is None for label in labels)
        else None,
    )


Label = int | str | list[int | str] | None


def _samples(window: _Window, path: str, columns: Columns, others: dict[str, None]) -> Iterator[tuple[Member, Label]]:
    """Each sample's image and label. `others` takes the names of what else may be a label."""
    current, image, label = "", None, None
    for member in members(window, path):
        folder, _, base = member.name.rpartition("/")
        stem, _, ending = base.partition(".")
        if base.startswith("."):
            continue
        sample = f"{folder}/{stem}"
        if sample != current:
            if image is not None:
                yield image, label
            current, image, label = sample, None, None
        if is_image(base) and columns.image in (None, ending):
            # A sample may hold a mask, too (name.seg.png): the image is the one with the plain ending.
            if image is None or ("." not in ending and image.name.rpartition("/")[2].count(".") > 1):
                image = member
        elif member.length <= _LABEL_LIMIT and not is_image(base):
            if ending == "json":
                label = _of_json(window.read(member.offset, member.length), label, columns.label, others)
            elif ending == (columns.label or "cls"):
                label = _of_text(window.read(member.offset, member.length))
            else:
                others[ending] = None
    if image is not None:
        yield image, label


def _of_json(body: bytes, known: Label, wanted: str | None, others: dict[str, None]) -> Label:
    try:
        values = json.loads(body.decode("utf-8", "replace"))
    except ValueError:
        return known
    if not isinstance(values, dict):
        return known
    there = {key: value for key, value in values.items() if _is_label(value)}
    others.update(dict.fromkeys(there))
    if known is not None:
        return known
    return next((there[key] for key in ((wanted,) if wanted else ("label", "cls")) if key in there), None)


def _is_label(value: Any) -> bool:
    each = value if isinstance(value, list) else [value]
    return all(isinstance(one, int | str) and not isinstance(one, bool) for one in each)


def _of_text(body: bytes) -> Label:
    words = body.decode("utf-8", "replace").strip()
    try:
        return int(words)
    except ValueError:
        return words or None


def members(window: _Window, path: str) -> Iterator[Member]:
    """Regular files of a tar (ustar, GNU, pax). The last may be cut short. Raises `SourceError` for other damage."""
    at = 0
    override: dict[str, str] = {}
    while at < window.end:
        block = window.read(at, _BLOCK)
        if not block.strip(b"\0"):
            if at == 0:
                raise SourceError(f"{path}: expected a tar file; it begins with zeros")
            return
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            kind = "a compressed file: unpack it" if block[:2] in (b"\x1f\x8b", b"BZ", b"\xfd7") else "damaged"
            where = "it is" if at == 0 else f"the header at byte {at} is"
            raise SourceError(f"{path}: expected a tar file; {where} {kind}") from None
        body = at + _BLOCK
        size = int(override.get("size", info.size)) if info.isreg() else info.size
        if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            override |= _extended(info.type, window.read(body, min(size, 1 << 20)))
        elif info.type not in (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
            if info.isreg() and not info.issparse():
                yield Member(override.get("path", info.name).removeprefix("./"), body, size)
            override = {}
        has_body = info.isreg() or info.type in _WITH_BODY
        at = body + (-(-size // _BLOCK) * _BLOCK if has_body else 0)


_WITH_BODY = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_SPARSE,
)  # fmt: skip


def _extended(kind: bytes, body: bytes) -> dict[str, str]:
    """Name and size from a GNU long name or a pax header."""
    if kind == tarfile.GNUTYPE_LONGNAME:
        return {"path": body.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    found: dict[str, str] = {}
    while body:
        length, _, _ = body.partition(b" ")
        if not length.isdigit() or int(length) < len(length) + 2:
            break
        record, body = body[len(length) + 1 : int(length) - 1], body[int(length) :]
        name, _, value = record.partition(b"=")
        if name in (b"path", b"size"):
            found[name.decode()] = value.decode("utf-8", "surrogateescape")
    return found


def read_members(path: str, wanted: Sequence[tuple[int, int]]) -> Iterator[bytes | ImageError]:
    """Bytes at (offset, length) of one tar, in order; neighbours share a read. Raises `JobError` without the tar."""
    where, inside = filesystem(path)
    try:
        stream = where.open_input_file(inside)
    except FileNotFoundError:
        raise JobError(f"{path}: the shard is gone; put it back, then run the same command again") from None
    with stream:
        end = int(stream.size())
        start, held = 0, b""
        for number, (offset, length) in enumerate(wanted):
            if offset + length > end:
                yield ImageError("truncated", f"{max(end - offset, 0)} of {length} bytes are in the tar")
                continue
            if not start <= offset <= offset + length <= start + len(held):
                stream.seek(offset)
                start, held = offset, stream.read(_run(wanted, number, end) - offset)
            yield held[offset - start : offset - start + length]


def _run(wanted: Sequence[tuple[int, int]], number: int, end: int) -> int:
    """Where a read that begins with the member `number` ends, so that it serves the next ones, too."""
    start = wanted[number][0]
    stop = start + wanted[number][1]
    for offset, length in wanted[number + 1 :]:
        beyond = offset + length
        if not stop <= offset <= stop + _GAP or beyond > min(start + _READ_WINDOW, end):
            break
        stop = beyond
    return stop
