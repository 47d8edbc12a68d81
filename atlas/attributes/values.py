"""Every image with what is known of it: right or wrong, loss, a column an attribute; in DuckDB, once.

Measured properties are those that the scan kept, so of the images of the response sample; width, height and aspect are
known of every image, and so is what a user's table says. Images without a class or a prediction take no part. A value
that is nan or infinite counts as none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa

from atlas.errors import InputError
from atlas.images import properties
from atlas.tables.attributes import ANGLES

Kind = Literal["number", "angle", "words"]
ALL = "(all)"
"""The attribute that every image shares."""
LOSS_UNIT = 2.0**-24
"""Losses are whole multiples of it: their sums are exact, whatever the order."""
MEMORY = "1400MB"
_STORED = ("width", "height", "aspect")
_READERS = {".parquet": "read_parquet", ".csv": "read_csv", ".tsv": "read_csv"}
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_FRACTIONS = ("FLOAT", "DOUBLE")


@dataclass(frozen=True)
class Attribute:
    """A column of `judged`. `turns`: how often an angle's values repeat in a turn (2: an edge has no front)."""

    name: str
    column: str
    kind: Kind
    turns: int = 1


@dataclass(frozen=True)
class Judged:
    """The table `judged` (image_id, class_id, correct, loss, answer, a column an attribute) of a connection.

    `answered`: whether people's answers are there. `unmatched`: rows of the user's table that name no image.
    """

    connection: duckdb.DuckDBPyConnection
    attributes: tuple[Attribute, ...]
    answered: bool
    unmatched: int


@contextmanager
def judged(
    images: pa.Table,
    measured: pa.Table | None,
    table: str | None = None,
    human: str | None = None,
    classes: Sequence[str] = (),
    threads: int = 2,
) -> Iterator[Judged]:
    """The table of images for one run.

    `images`: image_id, class_id, class_ids, predicted, loss, width, height, and where there is a `table` source and
    key; `measured`: image_id and a column a property. `human`: the table's column with people's answers, by number or
    by a name of `classes`. Raises `InputError` for a table that does not fit.
    """
    with closing(duckdb.connect(config={"threads": threads, "memory_limit": MEMORY})) as connection:
        connection.register("images", images)
        columns = ["images.image_id", *_JUDGED]
        attributes = [Attribute(name, f"a{i}", "number") for i, name in enumerate(_STORED)]
        width, height = "images.width::DOUBLE", "images.height::DOUBLE"
        values = [f"{width} AS a0", f"{height} AS a1", f"{width} / {height} AS a2"]
        joins = ""
        if measured is not None:
            connection.register("measured", measured)
            joins += " LEFT JOIN measured USING (image_id)"
            for name in (name for name in properties.NAMES if name not in _STORED):
                turns = ANGLES.get(name)
                attributes.append(Attribute(name, f"a{len(attributes)}", "angle" if turns else "number", turns or 1))
                values.append(f"{_finite(f'measured.{_quoted(name)}')} AS {attributes[-1].column}")
        unmatched, answer = 0, "NULL::INTEGER"
        if table is not None:
            found = _table(connection, table, human, {a.name for a in attributes}, len(attributes))
            attributes += found.attributes
            values += found.values
            joins += " LEFT JOIN named USING (image_id)"
            unmatched = found.unmatched
            if human is not None:
                answer = _answer(connection, table, human, classes)
        columns += [f"{answer} AS answer", *values]
        connection.execute(
            f"CREATE TEMP TABLE judged AS SELECT {', '.join(columns)} FROM images{joins} WHERE images.predicted "
            "IS NOT NULL AND (images.class_id IS NOT NULL OR len(images.class_ids) > 0)"
        )
        yield Judged(connection, tuple(attributes), human is not None, unmatched)


_JUDGED = (
    "coalesce(images.class_id, images.class_ids[1]) AS class_id",
    "images.predicted AS predicted",
    "coalesce(images.predicted = images.class_id, list_contains(images.class_ids, images.predicted)) AS correct",
    "images.class_ids AS class_ids",
    f"try_cast(round(images.loss::DOUBLE / {LOSS_UNIT!r}) AS BIGINT) AS loss",
)


@dataclass(frozen=True)
class _Found:
    attributes: list[Attribute]
    values: list[str]
    unmatched: int


def _table(connection: duckdb.DuckDBPyConnection, path: str, human: str | None, taken: set[str], first: int) -> _Found:
    """Reads the user's table as `given`, and makes `named`: its rows with image_id."""
    types = _read(connection, path)
    for name in types:
        if name in taken or name == ALL:
            raise InputError(f"--table {path}: column {name!r} is the name of a measured property; rename the column")
    by: list[str] = [name for name in ("source", "key") if name in types]
    if "key" not in by:
        raise InputError(f"--table {path}: expected a column 'key' with the names of images; it has {', '.join(types)}")
    if human is not None and (human not in types or human in by):
        others = ", ".join(name for name in types if name not in by) or "none"
        raise InputError(f"--human {human}: expected a column of {path} besides its key: {others}")
    _check_keys(connection, path, by)
    attributes: list[Attribute] = []
    values: list[str] = []
    for name, kind in types.items():
        if name in by or name == human:
            continue
        number = kind.startswith("DECIMAL") or kind in (*_NUMBERS, *_FRACTIONS)
        own = f"named.{_quoted(name)}"
        attributes.append(Attribute(name, f"a{first + len(attributes)}", "number" if number else "words"))
        values.append(f"{_finite(f'{own}::DOUBLE') if number else f'{own}::VARCHAR'} AS {attributes[-1].column}")
    using = ", ".join(by)
    connection.execute(
        f"CREATE TEMP TABLE named AS SELECT image_id, given.* EXCLUDE ({using}) FROM given JOIN images USING ({using})"
    )
    rows, matched = _one(connection, "SELECT (SELECT count(*) FROM given), (SELECT count(*) FROM named)")
    if not matched:
        theirs = _one(connection, "SELECT key FROM given LIMIT 1")
        ours = _one(connection, "SELECT key FROM images LIMIT 1")
        example = f"it says {theirs[0]!r}, the atlas {ours[0]!r}" if theirs and ours else "one of them is empty"
        raise InputError(f"--table {path}: no key is an image's; {example}: give keys as images.parquet has them")
    return _Found(attributes, values, rows - matched)


def _read(connection: duckdb.DuckDBPyConnection, path: str) -> dict[str, str]:
    """Makes the view `given` of a file, and gives the type of each column."""
    reader = _READERS.get(Path(path).suffix.lower())
    if reader is None or not Path(path).is_file():
        raise InputError(f"--table {path}: expected a Parquet, CSV or TSV file on this machine")
    try:
        connection.execute(f"CREATE TEMP VIEW given AS SELECT * FROM {reader}({_text(path)})")
        described = connection.execute("DESCRIBE given").fetchall()
    except duckdb.Error as error:
        raise InputError(f"--table {path}: cannot be read ({str(error).splitlines()[0]})") from None
    return {str(name): str(kind) for name, kind, *_ in described}


def _check_keys(connection: duckdb.DuckDBPyConnection, path: str, by: list[str]) -> None:
    """Each row names one image, each image has one row."""
    using = ", ".join(by)
    twice = _one(connection, f"SELECT key FROM given GROUP BY {using} HAVING count(*) > 1 ORDER BY key LIMIT 1")
    if twice:
        raise InputError(f"--table {path}: key {twice[0]!r} is there twice; expected one row an image")
    twice = _one(
        connection,
        f"SELECT key FROM given JOIN images USING ({using}) GROUP BY {using} HAVING count(*) > 1 ORDER BY key LIMIT 1",
    )
    if twice:
        raise InputError(f"--table {path}: key {twice[0]!r} is in two sources; add a column 'source' to say which")


def _answer(connection: duckdb.DuckDBPyConnection, path: str, human: str, classes: Sequence[str]) -> str:
    """The expression of people's answers as numbers of classes, from numbers or names."""
    own = f"named.{_quoted(human)}"
    names = pa.table(
        {"name": pa.array(list(classes), pa.string()), "number": pa.array(range(len(classes)), pa.int32())}
    )
    connection.register("class_names", names)
    connection.execute(
        "CREATE TEMP TABLE answers AS SELECT name, min(number)::INTEGER AS number FROM class_names WHERE name <> '' "
        "GROUP BY name"
    )
    number = f"CASE WHEN try_cast({own} AS INTEGER) BETWEEN 0 AND {len(classes) - 1} THEN {own}::INTEGER END"
    meant = f"coalesce((SELECT number FROM answers WHERE name = {own}::VARCHAR), {number})"
    unknown = _one(
        connection,
        f"SELECT {own}::VARCHAR FROM named WHERE {own} IS NOT NULL AND {meant} IS NULL ORDER BY 1 LIMIT 1",
    )
    if unknown:
        raise InputError(
            f"--human {human}: {unknown[0]!r} in {path} is no class; expected a name, or 0 to {len(classes) - 1}"
        )
    return meant


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> Any:
    rows = connection.execute(sql).fetchall()
    return rows[0] if rows else None


def _finite(expression: str) -> str:
    return f"CASE WHEN isfinite({expression}) THEN {expression}::DOUBLE END"


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _text(value: str) -> str:
    escaped = value.replace("'", "''")
    return f"'{escaped}'"
