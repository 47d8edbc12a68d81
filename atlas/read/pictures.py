"""Pictures of an atlas: which there are, and their bytes, checked against their crc32 whenever they are read."""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atlas.errors import FolderError, NotFoundError, PictureError
from atlas.read.records import Array, Records, Words
from atlas.store import layout

_PACK = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.tar")
_BLOCK = 256  # places a read
_ENTRY = np.dtype([("offset", "<i8"), ("length", "<u4"), ("crc32", "<u4")])
_MAGIC = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"))


class Place(NamedTuple):
    """Where a picture lies, or `why` there is none (then `pack` is null)."""

    pack: str | None
    offset: int
    length: int
    why: str | None
    seed: float | None
    scale: float | None


def nowhere(why: str | None) -> Place:
    """A picture that is not there."""
    return Place(None, 0, 0, why or "not there", None, None)


class Columns(NamedTuple):
    """A picture column as arrays; `pack` and `why` are numbers of words, 0 for null."""

    pack: Array
    offset: Array
    length: Array
    crc32: Array
    why: Array
    seed: Array
    scale: Array


class Packs:
    """The packs of an atlas. While it is being opened, `note` takes in every picture column; then `seal`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / layout.PICTURES
        self.packs = Words()
        self.whys = Words()
        self.whys.number("not there")  # 1: a picture that is missing without a reason
        self._keys: list[Array] = []
        self._rests: list[Array] = []
        self._ends: Array = np.zeros(1, np.int64)
        self._files: dict[str, int] = {}

    def columns(self, column: Any, *, seeded: bool = True) -> Columns:
        """Takes a picture column apart, and notes its pictures. Raises `FolderError` for a place that cannot be."""
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        child = dict(zip(column.type.names, column.flatten(), strict=True))
        pack = self.packs.encode(child["pack"], np.uint16)

        def numbers(name: str, kind: str, empty: float) -> Array:
            values = child[name]
            values = values.fill_null(empty) if values.null_count else values
            return np.asarray(values.to_numpy(zero_copy_only=False)).astype(kind, copy=False)

        offset, length = numbers("offset", "<i8", 0), numbers("length", "<i8", 0)
        if len(offset) and (offset.min() < 0 or length.min() < 0 or length.max() >= 2**31):
            raise FolderError("a picture column has a negative or huge offset or length")
        crc32 = numbers("crc32", "<u4", 0)
        why = self.whys.encode(child["why"], np.uint16)
        seed = numbers("seed", "<f4", np.nan) if seeded else offset
        scale = numbers("scale", "<f4", np.nan) if seeded else offset
        self._note(pack, offset, length, crc32)
        return Columns(pack, offset, length.astype("<u4"), crc32, why, seed, scale)

    def _note(self, pack: Array, offset: Array, length: Array, crc32: Array) -> None:
        there = np.flatnonzero(pack)
        if len(there) == 0:
            return
        pack, offset, length = pack[there], offset[there], length[there]
        if offset.max() >= 1 << 47:
            raise FolderError("a picture column has an offset beyond any pack")
        rest = np.empty(len(there), [("length", "<u4"), ("crc32", "<u4")])
        rest["length"], rest["crc32"] = length, crc32[there]
        self._keys.append(pack.astype(np.int64) << 47 | offset)
        self._rests.append(rest)
        names = len(self.packs.texts)
        if len(self._ends) < names:
            self._ends = np.concatenate([self._ends, np.zeros(names - len(self._ends), np.int64)])
        np.maximum.at(self._ends, pack, offset + length)

    def check_sizes(self) -> None:
        """Raises `FolderError` for a pack that is absent, or too short for its pictures."""
        for name, end in zip(self.packs.texts[1:], self._ends[1:].tolist(), strict=True):
            if name is None or not _PACK.fullmatch(name):
                raise FolderError(f"pack {name!r}: expected the name of a *.tar file")
            path = self._folder / name
            if path.is_symlink() or not path.is_file():
                raise FolderError(f"{layout.pack_path(name)} is missing; copy the atlas again")
            size = path.stat().st_size
            if size < end:
                raise FolderError(
                    f"{layout.pack_path(name)} has {size} bytes, expected at least {end}; copy the atlas again"
                )

    def seal(self) -> None:
        """Sorts the places that were noted; from here on pictures can be read."""
        keys = np.concatenate(self._keys) if self._keys else np.empty(0, np.int64)
        rests = np.concatenate(self._rests) if self._rests else np.empty(0, [("length", "<u4"), ("crc32", "<u4")])
        self._keys, self._rests = [], []
        order = np.argsort(keys)
        self._index = Records(_ENTRY, len(self.packs.texts), "pictures")
        self._sparse: dict[int, Array] = {}
        for start in range(0, len(order), 1 << 18):
            chosen = order[start : start + (1 << 18)]
            rows = np.empty(len(chosen), _ENTRY)
            key = keys[chosen]
            rows["offset"] = key & ((1 << 47) - 1)
            rows["length"], rows["crc32"] = rests["length"][chosen], rests["crc32"][chosen]
            self._index.append(key >> 47, rows)
        self._index.seal()
        ordered = keys[order]
        for number in range(1, len(self.packs.texts)):
            first, count = self._index.first(number), self._index.count(number)
            self._sparse[number] = ordered[first : first + count : _BLOCK] & ((1 << 47) - 1)

    def place(self, columns: Columns, row: int) -> Place:
        """The picture in one row."""
        pack = self.packs.texts[int(columns.pack[row])]
        if pack is None:
            return nowhere(self.whys.texts[int(columns.why[row])])
        seed, scale = float(columns.seed[row]), float(columns.scale[row])
        return Place(pack, int(columns.offset[row]), int(columns.length[row]), None, none(seed), none(scale))

    def read(self, pack: str, offset: int, length: int) -> tuple[bytes, str]:
        """Bytes of a picture and its media type.

        Raises `NotFoundError` where no table names this picture, `PictureError` where its bytes are not what the
        tables say.
        """
        crc32 = self._crc32(pack, offset, length)
        if crc32 is None:
            raise NotFoundError(f"picture {pack}/{offset}-{length}: no such picture; expected one that a table names")
        try:
            body = os.pread(self._open(pack), length, offset)
        except OSError as error:
            raise PictureError(f"picture {pack}/{offset}-{length} cannot be read ({error.strerror})") from None
        if len(body) != length or zlib.crc32(body) != crc32:
            raise PictureError(f"picture {pack}/{offset}-{length} is damaged: its crc32 is not what the tables say")
        for magic, kind in _MAGIC:
            if body.startswith(magic):
                return body, kind
        if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
            return body, "image/webp"
        raise PictureError(f"picture {pack}/{offset}-{length}: expected PNG, JPEG or WebP")

    def _crc32(self, pack: str, offset: int, length: int) -> int | None:
        number = self.packs.known(pack)
        if number is None:
            return None
        block = int(np.searchsorted(self._sparse[number], offset, "right")) - 1
        if block < 0:
            return None
        first = self._index.first(number)
        count = min(_BLOCK, self._index.count(number) - block * _BLOCK)
        rows = self._index.span(first + block * _BLOCK, count)
        at = int(np.searchsorted(rows["offset"], offset))
        if at == len(rows) or rows["offset"][at] != offset or rows["length"][at] != length:
            return None
        return int(rows["crc32"][at])

    def _open(self, pack: str) -> int:
        descriptor = self._files.get(pack)
        if descriptor is None:
            flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
            descriptor = self._files[pack] = os.open(self._folder / pack, flags)
        return descriptor

    def names(self) -> list[str]:
        """Names of the packs that tables point into."""
        return [name for name in self.packs.texts[1:] if name is not None]

    def close(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()
        self._index.close()


def none(value: float) -> float | None:
    """The value, or null where it is not a number."""
    return value if value == value else None


def count_there(column: Any) -> int:
    """How many pictures of a picture column there are."""
    return int(pc.sum(pc.is_valid(pc.struct_field(column, "pack"))).as_py() or 0)
