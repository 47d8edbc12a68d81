"""The section of a table that has none of its own: its rows of the thing, as they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.views.speaker import Speaker
from api.views.view import Section
from atlas.tables import Table

SHOWN = 100
"""Rows that are told at most; all are in the table."""


@closed
class TableRows(TypedDict):
    """Rows of a table that belong to one thing."""

    about: Annotated[str, doc("what a row says", "the maps before it that drive a neuron most")]
    columns: Annotated[list[str], doc("columns, without those that name the thing", ["part", "rank", "contribution"])]
    items: Annotated[list[dict[str, Any]], doc("rows, at most 100; a picture as its address, or why there is none", [])]
    total: Annotated[int, doc("rows there are", 1)]


def section(table: Table) -> Section:
    """The section of a table of the registry."""

    def build(say: Speaker, at: Mapping[str, Any]) -> TableRows | None:
        rows = say.rows(table.name, at)
        if not rows:
            return None
        names = ["part", *(name for name in table.columns.names if name not in at)]
        if all("@" not in (row["part"] or "") for row in rows):
            names.remove("part")
        items = [{name: _value(say, table, row, name) for name in names} for row in rows[:SHOWN]]
        return {"about": table.meaning, "columns": names, "items": items, "total": len(rows)}

    title = table.name.replace("_", " ").capitalize()
    assert table.of != "atlas"
    return Section(
        table.name, table.of, title, TableRows, build, "sections/rows.html", part=table.part, table=table.name
    )


def _value(say: Speaker, table: Table, row: Mapping[str, Any], name: str) -> Any:
    value = row[name]
    if name in table.pictures:
        return say.cell(value, row["part"])
    if isinstance(value, bytes):
        return value.hex()
    return None if isinstance(value, float) and not math.isfinite(value) else value
