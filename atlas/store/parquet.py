"""Tables as Parquet files, always by the schema, always in the same bytes for the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from atlas import tables
from atlas.store import layout
from atlas.store.files import Folder

ROW_GROUP = 32_768


def conform(table: pa.Table, to: pa.Schema) -> pa.Table:
    """The columns of `to`, in its order, types and metadata; a nullable column that is absent is null."""
    columns = [
        table.column(f.name).cast(f.type) if f.name in table.column_names else pa.nulls(len(table), f.type) for f in to
    ]
    return pa.table(columns, schema=to)


@contextmanager
def writing(folder: Folder, path: str, to: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A Parquet writer whose file appears whole when the block ends."""
    with folder.writing(path) as stream, pq.ParquetWriter(stream, to, compression="zstd") as writer:
        yield writer


def write(folder: Folder, name: str, table: pa.Table) -> None:
    """Writes the table `name` of the atlas. Raises `pyarrow.ArrowInvalid` where it does not fit the schema."""
    write_batches(folder, layout.table(name), tables.BY_NAME[name].columns, [table])


def write_batches(folder: Folder, path: str, to: pa.Schema, batches: Iterable[pa.Table]) -> None:
    """Writes tables one after another into one Parquet file."""
    with writing(folder, path, to) as writer:
        for table in batches:
            writer.write_table(conform(table, to), row_group_size=ROW_GROUP)


def read(folder: Folder, name: str, columns: list[str] | None = None) -> pa.Table:
    """Reads the table `name`. Raises `FileNotFoundError`."""
    with folder.open(layout.table(name)) as stream:
        return pq.read_table(stream, columns=columns)


def read_files(folder: Folder, name: str) -> Iterator[pa.Table]:
    """The files of a table that is a folder of files, in the order of their names."""
    for part in folder.names(name):
        with folder.open(f"{name}/{part}") as stream:
            yield pq.read_table(stream)
