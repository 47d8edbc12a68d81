"""Rows of a table by the thing they belong to, laid out once: any table of the registry, one read a thing.

The rows go into a file without a name, in the order of their things; what stays in memory is where each begins.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from atlas.errors import NotFoundError
from atlas.read import source
from atlas.read.images import Images
from atlas.read.layers import Layers
from atlas.read.pictures import Packs
from atlas.read.records import Array, scratch
from atlas.store.files import Folder
from atlas.tables import Table

_BATCH = 4096  # rows that are read at once
_BY = {"layer": ("layer",), "neuron": ("layer", "channel"), "image": ("image_id",), "class": ("class_id",)}
"""Columns that say of what a row is."""


class Things:
    """The number of each layer, neuron, image or class, for tables that name them by their columns."""

    def __init__(self, layers: Layers, images: Images) -> None:
        self.layers = layers
        self.images = images

    def of(self, table: Table, batch: pa.RecordBatch) -> Array:
        """The number of each row's thing; -1 where it is of none. Raises `FolderError` for one that there is not."""
        names = _BY[table.of]
        there = batch.column(names[-1]).is_valid()
        found = np.full(len(batch), -1, np.int64)
        at = np.flatnonzero(there.to_numpy(zero_copy_only=False))
        named = [batch.column(name).filter(there) for name in names]
        if len(at) == 0:
            return found
        if table.of == "neuron":
            found[at] = self.layers.numbers(table.name, *named)
        elif table.of == "layer":
            found[at] = self.layers.positions(table.name, named[0])
        elif table.of == "image":
            found[at] = self.images.rows_of(named[0].to_numpy().astype(np.int64), table.name)
        else:
            found[at] = named[0].to_numpy()
        return found

    def number(self, table: Table, at: Mapping[str, Any]) -> int:
        """The number of the thing that `at` names by the table's columns. Raises `NotFoundError`."""
        if table.of == "neuron":
            return self.layers.number(at["layer"], at["channel"])
        if table.of == "layer":
            return self.layers.index(at["layer"])
        return self.images.row(at["image_id"]) if table.of == "image" else int(at["class_id"])


class Rows:
    """The rows of one table by thing."""

    def __init__(self, table: Table, batches: Iterable[pa.RecordBatch], things: Things) -> None:
        self.table = table
        self._things = things
        self._file = scratch()
        groups = [np.empty(0, np.int64)]
        try:
            with os.fdopen(os.dup(self._file), "wb") as stream, pa.ipc.new_file(stream, table.columns) as writer:
                for batch in batches:
                    groups.append(things.of(table, batch))
                    whole = pa.Table.from_batches([batch]).cast(table.columns)
                    for each in whole.to_batches(max_chunksize=_BATCH):
                        writer.write_batch(each)
            self._index(np.concatenate(groups))
            mapped = mmap.mmap(self._file, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(self._file)
        self._reader = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(mapped)))
        sizes = [self._reader.get_batch(i).num_rows for i in range(self._reader.num_record_batches)]
        self._starts = np.cumsum([0, *sizes])

    def _index(self, groups: Array) -> None:
        order = np.argsort(groups, kind="stable")
        self.keys, first, counts = np.unique(groups[order], return_index=True, return_counts=True)
        self._first, self._count = first, counts
        self._order = None if (order[1:] > order[:-1]).all() else order.astype(np.uint32)  # as they lie: no need of it
        self.count = len(groups)

    def of(self, at: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of what `at` names, in the table's order. Raises `NotFoundError` for what there is not."""
        number = self._things.number(self.table, at)
        place = int(np.searchsorted(self.keys, number))
        if place == len(self.keys) or self.keys[place] != number:
            return []
        first, count = int(self._first[place]), int(self._count[place])
        numbers = np.arange(first, first + count) if self._order is None else self._order[first : first + count]
        found: list[dict[str, Any]] = []
        for run in np.split(numbers, np.flatnonzero(np.diff(numbers.astype(np.int64)) != 1) + 1):
            found += self._span(int(run[0]), len(run))
        return found

    def _span(self, first: int, count: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while count:
            at = int(np.searchsorted(self._starts, first, "right")) - 1
            inside = first - int(self._starts[at])
            taken = min(count, int(self._starts[at + 1]) - first)
            found += self._reader.get_batch(at).slice(inside, taken).to_pylist()
            first, count = first + taken, count - taken
        return found

    def total(self, at: Mapping[str, Any]) -> int:
        """How many rows there are of what `at` names."""
        try:
            number = self._things.number(self.table, at)
        except NotFoundError:
            return 0
        place = int(np.searchsorted(self.keys, number))
        return int(self._count[place]) if place < len(self.keys) and self.keys[place] == number else 0


def laid(table: Table, folder: Folder, packs: Packs, things: Things) -> Rows:
    """The table of a folder, laid out; its pictures are noted in `packs`, so that they can be served."""

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in source.batches(folder, table.name):
            note(table, batch, packs)
            yield batch

    return Rows(table, batches(), things)


def note(table: Table, batch: pa.RecordBatch, packs: Packs) -> None:
    """Notes the pictures of some rows."""
    for name in table.pictures:
        packs.columns(batch.column(name))
