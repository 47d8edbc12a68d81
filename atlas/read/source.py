"""Reading the tables of an atlas or of a part as the registry has them: an absent optional table is an empty one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from atlas import tables
from atlas.errors import FolderError
from atlas.store.files import Folder
from atlas.tables import Table

ROWS = 65_536
"""Rows of a batch."""


def paths(folder: Folder, table: Table) -> list[str]:
    """The files of a table that are there, relative to the folder, in the order of their names."""
    if not table.files:
        return [table.path] if folder.exists(table.path) else []
    return [] if folder.exists(table.path) else [f"{table.path}/{name}" for name in folder.names(table.path)]


def opened(folder: Folder, name: str, *, dictionary: Sequence[str] = ()) -> pq.ParquetFile | None:
    """The file of a one-file table; null where an optional one is absent.

    Raises `FolderError` where a required one is absent, or it has not the columns of the registry.
    """
    table = tables.BY_NAME[name]
    there = _there(folder, table.path)
    if not folder.exists(table.path):
        if there or table.required:
            raise FolderError(f"{table.path} is missing; copy the atlas again")
        return None
    try:
        file = pq.ParquetFile(folder.input(table.path), read_dictionary=list(dictionary))
        fit(table, pq.read_schema(folder.input(table.path)) if dictionary else file.schema_arrow)
    except (pa.ArrowException, OSError) as error:
        raise FolderError(f"{table.path} cannot be read ({_line(error)}); copy the atlas again") from None
    return file


@lru_cache(maxsize=4096)
def _there(folder: Folder, path: str) -> bool:
    """Whether a file was there when it was first looked for: one that vanishes later is no absent table."""
    return folder.exists(path)


def fit(table: Table, schema: pa.Schema) -> None:
    """Raises `FolderError` where a table lacks a column of the registry, or has it in another type."""
    for column in table.columns:
        at = schema.get_field_index(column.name)
        if at < 0:
            raise FolderError(f"{table.path} has no column {column.name!r}; build it again with this version")
        if not _same(schema.field(at).type, column.type):
            raise FolderError(f"{table.path}: {column.name} is {schema.field(at).type}, expected {column.type}")


def _same(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a type is the one of the registry; a list may be of fixed size, and of half floats."""
    if pa.types.is_list(wanted):
        listed = pa.types.is_list(found) or pa.types.is_fixed_size_list(found)
        half = pa.types.is_floating(wanted.value_type) and listed and pa.types.is_floating(found.value_type)
        return bool(listed and (half or _same(found.value_type, wanted.value_type)))
    if pa.types.is_struct(wanted):
        return bool(
            pa.types.is_struct(found)
            and found.num_fields == wanted.num_fields
            and all(
                a.name == b.name and _same(a.type, b.type) for a, b in zip(found.fields, wanted.fields, strict=True)
            )
        )
    return bool(found == wanted)


def batches(
    folder: Folder, name: str, *, columns: Sequence[str] | None = None, dictionary: Sequence[str] = (), rows: int = ROWS
) -> Iterator[pa.RecordBatch]:
    """The rows of a one-file table, some at a time. Raises `FolderError`."""
    file = opened(folder, name, dictionary=dictionary)
    if file is not None:
        table = tables.BY_NAME[name]
        wanted = [field.name for field in table.columns] if columns is None else list(columns)
        yield from _sound(table, file.iter_batches(rows, columns=wanted), file.metadata.num_rows)


def _sound(table: Table, batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The batches, each looked at first. Raises `FolderError` where a file is not what its footer says."""
    found = 0
    try:
        for batch in batches:
            check(table, batch)
            found += len(batch)
            yield batch
    except (pa.ArrowException, OSError) as error:
        raise FolderError(f"{table.path} cannot be read ({_line(error)}); copy the atlas again") from None
    if found != rows:
        raise FolderError(f"{table.path} says {rows} rows, and has {found}; copy the atlas again")


def check(table: Table, rows: pa.RecordBatch | pa.Table) -> None:
    """Raises `FolderError` for a text that is none, or a null where the registry has none."""
    rows.validate(full=True)
    for name in rows.schema.names:
        if rows.column(name).null_count and not table.columns.field(name).nullable:
            raise FolderError(f"{table.path}: {name} is null in some rows; expected a value in each")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def read(folder: Folder, name: str, *, columns: Sequence[str] | None = None, filters: Any = None) -> pa.Table:
    """A whole one-file table, or some of its columns and rows. Raises `FolderError`."""
    wanted = [field.name for field in tables.BY_NAME[name].columns] if columns is None else list(columns)
    table = tables.BY_NAME[name]
    if opened(folder, name) is None:
        return table.columns.empty_table().select(wanted)
    try:
        found = pq.read_table(folder.input(table.path), columns=wanted, filters=filters)
        check(table, found)
    except (pa.ArrowException, OSError) as error:
        raise FolderError(f"{table.path} cannot be read ({_line(error)}); copy the atlas again") from None
    return found
