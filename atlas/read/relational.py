"""The tables of an atlas and of its parts under their names in DuckDB, which then reaches no file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from atlas import tables
from atlas.errors import SettingsError
from atlas.read.parts import Part
from atlas.store.files import Folder
from atlas.tables import Table

MEMORY = "2GB"
"""What one query may take, where NEURON_ATLAS_MEMORY does not say otherwise; beyond it, it is refused."""


def connection(folder: Folder, parts: Iterable[Part] = ()) -> Any:
    """A connection with the base's tables by name; an absent one is empty.

    A part's tables stand in a schema of its name (`"compare@b".matches`), and under their bare names as the union over
    parts, with a column `part`.
    """
    opened = _opened()
    for table in tables.of_part(None):
        opened.register(table.name, _relation(folder, table))
    sealed = [part for part in parts if part.state == "sealed"]
    for part in sealed:
        opened.execute(f"CREATE SCHEMA {quoted(part.name)}")
        for table in part.tables:
            _view(opened, f"{quoted(part.name)}.{quoted(table.name)}", part, table)
    for table in tables.TABLES:
        if table.part is not None:
            _union(opened, table, [part for part in sealed if table in part.tables])
    return _locked(opened)


def of_part(folder: Folder, part: Part) -> Any:
    """A connection with the base's tables and one part's, all under their bare names."""
    opened = _opened()
    for table in tables.of_part(None):
        opened.register(table.name, _relation(folder, table))
    for table in tables.of_part(part.kind):
        opened.register(table.name, _relation(part.folder, table))
    return _locked(opened)


def _opened() -> Any:
    import duckdb

    limit = os.environ.get("NEURON_ATLAS_MEMORY", MEMORY)
    spool = Path(os.environ.get("NEURON_ATLAS_SPOOL") or tempfile.gettempdir()) / f"neuron-atlas-{os.getpid()}"
    try:
        return duckdb.connect(":memory:", config={"threads": 2, "memory_limit": limit, "temp_directory": str(spool)})
    except duckdb.Error:
        raise SettingsError(f"--memory (or NEURON_ATLAS_MEMORY) {limit!r}: expected a size, as 2GB or 500MB") from None


def _locked(opened: Any) -> Any:
    """No file can be read or written by a query from here on."""
    opened.execute("SET enable_external_access = false")
    opened.execute("SET lock_configuration = true")
    return opened


def _relation(folder: Folder, table: Table) -> Any:
    """What DuckDB reads for a table."""
    import pyarrow.dataset as ds

    system, root = folder.reading
    inside = f"{root}/" if root else ""
    paths = [f"{table.path}/{name}" for name in folder.names(table.path)] if table.files else [table.path]
    if not all(map(folder.exists, paths)) or not paths:
        return table.columns.empty_table()
    # The files of a table may have vectors of other sizes, so they are read as lists of any length.
    files = [inside + path for path in paths]
    return ds.dataset(files, format="parquet", filesystem=system, schema=table.columns if table.files else None)


def _view(opened: Any, name: str, part: Part, table: Table) -> None:
    whole = f"{part.name}/{table.name}"
    opened.register(whole, _relation(part.folder, table))
    opened.execute(f"CREATE VIEW {name} AS SELECT * FROM {quoted(whole)}")


def _union(opened: Any, table: Table, parts: list[Part]) -> None:
    if not parts:
        import pyarrow as pa

        empty = table.columns.empty_table().add_column(0, "part", pa.array([], pa.string()))
        opened.register(table.name, empty)
        return
    each = [
        f"SELECT {text(part.name)} AS part, * FROM {quoted(part.name)}.{quoted(table.name)}" for part in parts
    ]  # fmt: skip
    opened.execute(f"CREATE VIEW {quoted(table.name)} AS {' UNION ALL BY NAME '.join(each)}")


def quoted(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A string in SQL."""
    return "'" + value.replace("'", "''") + "'"
