"""How much of a folder may be read: what an atlas says of its own size, and the bytes that are there, bound it.

A stranger's table can have a hundred million rows in two megabytes, or hold a gigabyte in one compressed page. Only
footers are read here, so this comes before any table is laid out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from atlas import tables
from atlas.errors import FolderError
from atlas.read import source
from atlas.store import layout
from atlas.store.files import Folder
from atlas.tables import Table

ROWS = 100_000
ROWS_A_BYTE = 2.0
"""A table has at most `ROWS` rows and so many more a byte of its file; those that were built have below 0.2 a byte."""
SPACE = 64 << 20
SPACE_A_BYTE = 64
"""Likewise the bytes that it fills uncompressed; those that were built fill below 2 a byte."""

COUNTED = {
    "images": "images",
    "quarantined": "quarantine",
    "layers": "layers",
    "neurons": "neurons",
    "examples": "examples",
}
"""What atlas.json counts, and the table whose rows these are."""


def check(folder: Folder, about: Mapping[str, Any]) -> None:
    """Raises `FolderError` for the first thing that is wrong with the sizes of an atlas."""
    for problem in problems(folder, about):
        raise FolderError(problem)


def problems(folder: Folder, about: Mapping[str, Any]) -> Iterator[str]:
    """All that is wrong with the sizes of an atlas, a line each: of its tables, and of what it counts."""
    wrong = list(of_tables(folder, tables.of_part(None)))
    yield from wrong
    counts = about["counts"]
    for name in ("images", "layers", "neurons"):
        if not counts[name]:
            yield f"{layout.ATLAS} counts no {name}; expected some"
    if counts["images"] + counts["quarantined"] != about["data"]["count"]:
        yield (
            f"{counts['images']} images scanned and {counts['quarantined']} in quarantine, "
            f"but {about['data']['count']} were listed"
        )
    if wrong:
        return
    for name, table in COUNTED.items():
        rows = _rows(folder, tables.BY_NAME[table])
        if rows is not None and rows != counts[name]:
            yield f"{table}.parquet has {rows} rows, {layout.ATLAS} says {counts[name]}; copy the atlas again"


def of_tables(folder: Folder, known: Sequence[Table]) -> Iterator[str]:
    """What is wrong with the sizes of tables of an atlas, or of a part; and with where the folder leads."""
    for path in (layout.PICTURES, "parts", "state", *(table.path for table in known if table.files)):
        if folder.is_link(path):
            yield f"{path} is a symbolic link; expected a folder inside the atlas"
            return
    for table in known:
        for path in source.paths(folder, table):
            wrong = _wrong(folder, path)
            if wrong is not None:
                yield wrong


def _wrong(folder: Folder, path: str) -> str | None:
    """What is wrong with the size of one file of a table."""
    if folder.is_link(path):
        return f"{path} is a symbolic link; expected a file"
    try:
        found = pq.read_metadata(folder.input(path))
        size = folder.held(path).size
    except (pa.ArrowException, OSError, ValueError):
        return None  # its checksum says why, or whoever reads it
    groups = [found.row_group(number) for number in range(found.num_row_groups)]
    rows, space = sum(group.num_rows for group in groups), sum(group.total_byte_size for group in groups)
    if rows != found.num_rows or min((group.num_rows for group in groups), default=0) < 0:
        return f"{path} says {found.num_rows} rows, its row groups {rows}; copy the atlas again"
    if rows > ROWS + ROWS_A_BYTE * size:
        return f"{path} has {rows:,} rows in {size:,} bytes; expected at most {int(ROWS + ROWS_A_BYTE * size):,}"
    if space > SPACE + SPACE_A_BYTE * size or space < 0:
        return f"{path} fills {space:,} bytes uncompressed; expected at most {SPACE + SPACE_A_BYTE * size:,}"
    return None


def _rows(folder: Folder, table: Table) -> int | None:
    """Rows that a table says it has; null where it is missing or cannot be read: others say so."""
    try:
        found = [int(pq.read_metadata(folder.input(path)).num_rows) for path in source.paths(folder, table)]
        return sum(found) if found else None
    except (pa.ArrowException, OSError, ValueError):
        return None
