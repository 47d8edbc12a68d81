"""The parts of a sealed atlas: each checked, opened beside the base, and left out by name where it is not sound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from atlas import tables
from atlas.errors import AtlasError, NotFoundError
from atlas.read import bounds, source, verify
from atlas.read.pictures import Packs
from atlas.read.rows import Rows, Things, laid, note
from atlas.store import parts
from atlas.store.files import Folder
from atlas.tables import Table

State = Literal["sealed", "begun", "damaged"]


@dataclass
class Part:
    """A part beside the base. `why`: what is wrong with a damaged one, which is left out."""

    name: str
    folder: Folder
    state: State
    about: dict[str, Any]
    why: str | None = None
    tables: tuple[Table, ...] = field(default=())

    @property
    def kind(self) -> str:
        """Which part it is: NAME without @AS."""
        return self.name.partition("@")[0]

    def damage(self, why: str) -> None:
        """Leaves it out from here on."""
        self.state, self.why, self.tables = "damaged", why, ()


def find(folder: Folder, digest: str) -> list[Part]:
    """The parts of the atlas with that digest, by name; reads `part.json` alone."""
    found = []
    for each in parts.listed(folder, digest):
        part = Part(each.name, each.folder, each.state, each.about, each.why)
        if part.state == "sealed":
            known = tables.of_part(part.kind)
            part.tables = tuple(table for table in known if _has(part.folder, table))
            if not known:
                part.damage(f"this version knows no part {part.kind!r}; use the release that made it")
            for problem in _sizes(part):
                part.damage(problem)
        found.append(part)
    return found


def _sizes(part: Part) -> Iterator[str]:
    """What is wrong with the sizes of its tables, and with where it leads."""
    if part.folder.is_link(""):
        yield f"{part.name} is a symbolic link; expected a folder inside the atlas"
    else:
        yield from bounds.of_tables(part.folder, part.tables)


def check(part: Part) -> None:
    """Compares a sealed part's tables with its SHA256SUMS; one that differs is left out."""
    if part.state != "sealed":
        return
    try:
        expected = verify.sums(part.folder)
        verify.check(part.folder, expected, [path for path in expected if not verify.is_picture(path)])
        loose = [table.path for table in part.tables if not table.files and table.path not in expected]
        if loose:
            part.damage(f"{loose[0]} is not in SHA256SUMS; add the part again")
    except (AtlasError, OSError) as error:
        part.damage(str(error))


class Parts:
    """The sealed parts of an atlas laid out: rows by thing, and pictures."""

    def __init__(self, found: list[Part], things: Things) -> None:
        self.all = {part.name: part for part in found}
        self._rows: dict[str, dict[str, Rows]] = {}  # table, part
        self._packs: dict[str, Packs] = {}
        for part in found:
            if part.state == "sealed":
                try:
                    self._open(part, things)
                except AtlasError as error:
                    part.damage(str(error))
                except Exception as error:  # a part of any contents must not stop the base
                    part.damage(f"its tables cannot be read ({type(error).__name__}); add it again")

    def _open(self, part: Part, things: Things) -> None:
        packs = Packs(part.folder)
        laid_out: dict[str, Rows] = {}
        for table in part.tables:
            if table.files:
                continue
            if table.of == "atlas":
                for batch in source.batches(part.folder, table.name):
                    note(table, batch, packs)
            else:
                laid_out[table.name] = laid(table, part.folder, packs, things)
        packs.check_sizes()
        packs.seal()
        self._packs[part.name] = packs
        for name, rows in laid_out.items():
            self._rows.setdefault(name, {})[part.name] = rows

    def sealed(self, table: str | None = None) -> list[Part]:
        """Parts that are served, by name; those with a table."""
        return [
            part
            for part in self.all.values()
            if part.state == "sealed" and (table is None or any(each.name == table for each in part.tables))
        ]

    def get(self, name: str) -> Part:
        """Raises `NotFoundError`."""
        if name not in self.all:
            raise NotFoundError(f"part {name!r}: no such part; expected one of those …/parts lists")
        return self.all[name]

    def rows(self, table: str, at: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Rows of a parts' table of what `at` names, each with its `part`. Raises `NotFoundError`."""
        of = self._rows.get(table)
        if of is None:
            return []
        return [
            {"part": name, **row}
            for name, rows in of.items()
            if self.all[name].state == "sealed"
            for row in rows.of(at)
        ]

    def table(self, name: str) -> pa.Table:
        """A parts' table as a whole, over all parts that have it, with a column `part`."""
        columns = tables.BY_NAME[name].columns
        found = [
            source.read(part.folder, name).add_column(0, "part", pa.array([part.name] * n, pa.string()))
            for part in self.sealed(name)
            for n in [_count(part.folder, name)]
        ]
        empty = columns.empty_table().add_column(0, "part", pa.array([], pa.string()))
        return pa.concat_tables(found) if found else empty

    def packs(self, name: str) -> Packs:
        """The pictures of a part. Raises `NotFoundError` for one that is not served."""
        part = self.get(name)
        if part.state != "sealed":
            raise NotFoundError(f"part {name!r} is not served: {part.why or 'it is begun, but not sealed'}")
        return self._packs[name]

    def close(self) -> None:
        for packs in self._packs.values():
            packs.close()


def _count(folder: Folder, name: str) -> int:
    file = source.opened(folder, name)
    return int(file.metadata.num_rows) if file else 0


def _has(folder: Folder, table: Table) -> bool:
    return bool(folder.names(table.path)) if table.files else folder.exists(table.path)
