"""Pictures of an atlas: which there are, and their bytes, checked against their crc32 whenever they are read."""

from __future__ import annotations

import re
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from atlas.errors import FolderError, NotFoundError, PictureError
from atlas.read.records import Array, Records, Words, give_back
from atlas.store import layout
from atlas.store.files import Folder

_PACK = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.tar")
_BLOCK = 256  # places a read
_ENTRY = np.dtype([("offset", "<i8"), ("length", "<u4"), ("crc32", "<u4")])
_REST = np.dtype([("length", "<u4"), ("crc32", "<u4")])
_WHERE = (("offset", "<i8"), ("length", "<i8"), ("crc32", "<u4"))
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
    """A picture column as arrays. `pack` and `why` are numbers of words."""

    why: Array
    """An element a row of the table; 0 where there is a picture."""
    row: Array
    """Rows that have a picture; what follows has an element for each of these."""
    pack: Array
    offset: Array
    length: Array
    seed: Array
    scale: Array


class Packs:
    """The packs of an atlas. While it is being opened, `note` takes in every picture column; then `seal`."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self.packs = Words()
        self.whys = Words()
        self.whys.number("not there")  # 1: a picture that is missing without a reason
        self._keys: list[Array] = []
        self._rests: list[Array] = []
        self._ends: Array = np.zeros(1, np.int64)
        self._sparse: dict[int, Array] = {}
        self._sealing: Future[None]

    def columns(self, column: Any) -> Columns:
        """Takes a picture column apart, and notes its pictures. Raises `FolderError` for a place that cannot be."""
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        child = dict(zip(column.type.names, column.flatten(), strict=True))
        mask = child["pack"].is_valid()
        row = np.flatnonzero(mask.to_numpy(zero_copy_only=False))
        if len(row) == len(column):
            why: Array = np.zeros(len(column), np.uint16)
        else:
            why = np.maximum(self.whys.encode(child["why"], np.uint16), 1)
            why[row] = 0
            child = {name: values.filter(mask) for name, values in child.items() if name != "why"}
        pack = self.packs.encode(child["pack"], np.uint16)
        offset, length, crc32 = (_numbers(child[name], kind, 0) for name, kind in _WHERE)
        if len(row) and (offset.min() < 0 or length.min() < 0 or length.max() >= 2**31 or offset.max() >= 1 << 47):
            raise FolderError("a picture column has an offset or a length that no pack has")
        self._note(pack, offset, length, crc32)
        seed, scale = (_numbers(child[name], "<f4", np.nan) for name in ("seed", "scale"))
        return Columns(why, row, pack, offset, length.astype("<u4"), seed, scale)

    def _note(self, pack: Array, offset: Array, length: Array, crc32: Array) -> None:
        if len(pack) == 0:
            return
        rest = np.empty(len(pack), _REST)
        rest["length"], rest["crc32"] = length, crc32
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
            size = self._folder.plain_size(layout.pack_path(name))
            if size is None:
                raise FolderError(f"{layout.pack_path(name)} is missing; copy the atlas again")
            if size < end:
                raise FolderError(
                    f"{layout.pack_path(name)} has {size} bytes, expected at least {end}; copy the atlas again"
                )

    def seal(self) -> None:
        """Begins to sort the places that were noted, beside what else is done; the first picture waits for it."""
        with_one = ThreadPoolExecutor(1, thread_name_prefix="sort-pictures")
        self._sealing = with_one.submit(self._sort)
        with_one.shutdown(wait=False)

    def _sort(self) -> None:
        keys = np.concatenate([np.empty(0, np.int64), *self._keys])
        self._keys.clear()
        order = np.argsort(keys)
        rests = np.concatenate([np.empty(0, _REST), *self._rests])
        self._rests.clear()
        self._index = Records(_ENTRY, len(self.packs.texts), "pictures")
        low = (1 << 47) - 1
        for start in range(0, len(order), 1 << 18):
            chosen = order[start : start + (1 << 18)]
            key, rest = keys[chosen], rests[chosen]
            rows = np.empty(len(chosen), _ENTRY)
            rows["offset"], rows["length"], rows["crc32"] = key & low, rest["length"], rest["crc32"]
            self._index.append(key >> 47, rows)
        for number in range(1, len(self.packs.texts)):
            first, count = self._index.first(number), self._index.count(number)
            self._sparse[number] = keys[order[first : first + count : _BLOCK]] & low
        del keys, order, rests
        give_back()

    def places(self, column: Any) -> list[Place]:
        """The picture in each row of a small column."""
        columns = self.columns(column)
        found = [nowhere(self.whys.texts[why]) for why in columns.why.tolist()]
        rest = (columns.pack, columns.offset, columns.length, columns.seed, columns.scale)
        for row, pack, offset, length, seed, scale in zip(columns.row, *rest, strict=True):
            name = self.packs.texts[pack]
            found[row] = Place(name, int(offset), int(length), None, none(float(seed)), none(float(scale)))
        return found

    def read(self, pack: str, offset: int, length: int) -> tuple[bytes, str]:
        """Bytes of a picture and its media type.

        Raises `NotFoundError` where no table names this picture, `PictureError` where its bytes are not what the
        tables say.
        """
        crc32 = self._crc32(pack, offset, length)
        if crc32 is None:
            raise NotFoundError(f"picture {pack}/{offset}-{length}: no such picture; expected one that a table names")
        try:
            body = self._folder.range(layout.pack_path(pack), offset, length)
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
        self._sealing.result()
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

    def names(self) -> list[str]:
        """Names of the packs that tables point into."""
        return [name for name in self.packs.texts[1:] if name is not None]

    def close(self) -> None:
        self._sealing.result()
        self._folder.release()
        self._index.close()


def none(value: float) -> float | None:
    """The value, or null where it is not a number."""
    return value if value == value else None


def _numbers(values: Any, kind: str, empty: float) -> Array:
    values = values.fill_null(empty) if values.null_count else values
    return np.asarray(values.to_numpy(zero_copy_only=False)).astype(kind, copy=False)
