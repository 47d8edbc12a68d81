"""Rows of fixed size by group, in a file without a name: one read a group, and next to no memory.

What the service is asked for is one neuron at a time, in any order; Parquet is read a row group at a time. So tables
are laid out once, when an atlas is opened, as fixed-size records in temporary files (in NEURON_ATLAS_SPOOL, or the
system's temporary folder), which vanish with the process.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from atlas.errors import FolderError

Array = npt.NDArray[Any]
T = TypeVar("T")


def scratch() -> int:
    """Descriptor of a temporary file without a name. Raises `FolderError` where there is no room for one."""
    where = os.environ.get("NEURON_ATLAS_SPOOL") or None
    try:
        with tempfile.TemporaryFile(dir=where, prefix="neuron-atlas-") as file:
            return os.dup(file.fileno())
    except OSError as error:
        raise FolderError(
            f"temporary files cannot be made ({error.strerror}); set NEURON_ATLAS_SPOOL to a folder with room"
        ) from None


def ahead(batches: Iterable[T]) -> Iterator[T]:
    """The same batches, the next one being read while one is worked on."""
    source = iter(batches)
    with ThreadPoolExecutor(1) as pool:
        coming: Future[T | None] = pool.submit(next, source, None)
        for number in count():
            batch = coming.result()
            if batch is None:
                return
            coming = pool.submit(next, source, None)
            yield batch
            if number % 16 == 0:
                give_back()


def give_back() -> None:
    """Hands memory that is no longer used back to the machine, where the allocators can."""
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


class Records:
    """Records of one type, grouped by a number from 0 to `groups` - 1. Append all, then read."""

    def __init__(self, dtype: np.dtype[Any], groups: int, table: str) -> None:
        self.dtype = dtype
        self.total = 0
        self._table = table
        self._first: Array = np.zeros(groups, np.int64)
        self._count: Array = np.zeros(groups, np.uint32)
        self._order: tuple[Array, Array] | None = None
        self._file = scratch()
        self._closing = weakref.finalize(self, os.close, self._file)

    def append(self, group: Array, rows: Array) -> None:
        """Adds rows, `group[i]` the group of row i. The rows of a group must follow one another.

        Raises `FolderError` where they do not, or the disk is full.
        """
        if len(rows) == 0:
            return
        starts = np.concatenate([[0], np.flatnonzero(np.diff(group)) + 1])
        counts = np.diff(np.concatenate([starts, [len(group)]]))
        ids = group[starts]
        first = self.total + starts
        there = self._count[ids] > 0
        apart = there & (self._first[ids] + self._count[ids] != first)
        if apart.any() or ((ids[1:] <= ids[:-1]).any() and len(np.unique(ids)) != len(ids)):
            raise FolderError(f"{self._table}: rows that belong together are apart; expected them one after another")
        self._first[ids] = np.where(there, self._first[ids], first)
        self._count[ids] += counts.astype(np.uint32)
        self.total += len(rows)
        try:
            body = np.ascontiguousarray(rows).view(np.uint8).data
            while len(body):
                body = body[os.write(self._file, body) :]
        except OSError as error:
            raise FolderError(
                f"{self._table}: no room for temporary files ({error.strerror}); set NEURON_ATLAS_SPOOL"
            ) from None

    def of(self, group: int) -> Array:
        """The records of a group, in the order they were added."""
        return self.span(int(self._first[group]), int(self._count[group]))

    def span(self, first: int, count: int) -> Array:
        """`count` records from number `first` on, counted over all groups in the order they were added."""
        size = self.dtype.itemsize
        return np.frombuffer(os.pread(self._file, count * size, first * size), self.dtype)

    def count(self, group: int) -> int:
        """Number of records of a group."""
        return int(self._count[group])

    def first(self, group: int) -> int:
        """Number of the first record of a group, counted over all."""
        return int(self._first[group])

    def group_of(self, numbers: Array) -> Array:
        """Groups of records by their numbers, counted over all."""
        if self._order is None:
            order = np.argsort(self._first, kind="stable")
            order = order[self._count[order] > 0]
            self._order = order, self._first[order]
        order, first = self._order
        return np.asarray(order[np.searchsorted(first, numbers, "right") - 1])

    def close(self) -> None:
        self._closing()


class Words:
    """Few texts, each with a number."""

    def __init__(self) -> None:
        self.texts: list[str | None] = [None]
        self._numbers: dict[str | None, int] = {None: 0}

    def number(self, text: str | None) -> int:
        if text not in self._numbers:
            self._numbers[text] = len(self.texts)
            self.texts.append(text)
        return self._numbers[text]

    def known(self, text: str | None) -> int | None:
        """Number of a text that is there."""
        return self._numbers.get(text)

    def encode(self, column: Any, dtype: type) -> Array:
        """Numbers of a column of texts; null is 0. Raises `FolderError` where there are too many for `dtype`."""
        encoded = column.dictionary_encode()
        if hasattr(encoded, "combine_chunks"):
            encoded = encoded.combine_chunks()
        numbers = np.array([self.number(text) for text in encoded.dictionary.to_pylist()] + [0], dtype=np.int64)
        if len(self.texts) > np.iinfo(dtype).max:
            raise FolderError(f"{len(self.texts)} different texts in a column of names; expected few")
        indices = encoded.indices.fill_null(len(numbers) - 1).to_numpy(zero_copy_only=False)
        return np.asarray(numbers.astype(dtype)[indices])
