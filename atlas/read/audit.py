"""`neuron-atlas verify`: everything that a sealed folder says of itself, checked against itself.

Checksums of all files; the digest; counts; every reference from one table to another; the order of ranks; the bytes of
every picture.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.compute as pc

from atlas import tables
from atlas.errors import AtlasError, FolderError, FormatError
from atlas.read import bounds, parts, relational, source
from atlas.read.catalog import Atlas
from atlas.read.parts import Part
from atlas.read.records import Array, Words
from atlas.read.verify import compare, sums
from atlas.store import layout, seal
from atlas.store.files import Folder
from atlas.tables import Reference, Table
from atlas.tables.columns import PICTURE

SHOWN = 20
"""Problems that are printed; the rest are counted."""

Query = Callable[[str], Any]


@dataclass
class Report:
    """What `verify` found. `problems` is empty where all is well."""

    location: str
    files: int = 0
    rows: int = 0
    pictures: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        checked = f"{self.files} files, {self.rows:,} rows, {self.pictures:,} pictures"
        if self.ok:
            return f"{self.location}: sound; checked {checked}"
        more = [f"… and {len(self.problems) - SHOWN} more"] if len(self.problems) > SHOWN else []
        return "\n".join([f"{self.location}: NOT sound; checked {checked}", *map(_line, self.problems[:SHOWN]), *more])


def _line(problem: str) -> str:
    return " ".join(problem.split())


def audit(location: str) -> Report:
    """Checks all of a sealed atlas. Raises `FolderError` where the folder is no sealed atlas of this format at all."""
    folder = Folder(location)
    report = Report(location)
    try:
        about = seal.read_about(folder)
    except FormatError:
        raise
    except FolderError as error:
        if not folder.exists(layout.SUMS):
            raise
        report.problems.append(str(error))
        return report
    _check_files(folder, report)
    if not report.ok:
        return report  # tables that are damaged may not be read
    with _said(report):
        report.problems += bounds.problems(folder, about)
    if not report.ok:
        return report
    with _said(report):
        _check_contents(folder, about, report)
    return report


def _check_contents(folder: Folder, about: dict[str, Any], report: Report) -> None:
    opened = Atlas(folder.location, verify=False)
    for part in opened.parts:
        parts.check(part)  # one that is damaged is not read
    with _said(report):
        _check_tables(opened.query, tables.of_part(None), report)
    with _said(report):
        _check_pictures(opened.folder, tables.of_part(None), report)
    with _said(report):
        digest, _ = seal.digest_and_sums(folder)
        if digest != about["digest"]:
            said = str(about["digest"])
            report.problems.append(f"{layout.ATLAS}: digest {said[:12]}, but the contents give {digest[:12]}")
    for part in opened.parts:
        with _said(report, f"part {part.name}: "):
            _check_part(opened, part, report)
    sound = [part for part in opened.parts if part.state == "sealed"]
    with _said(report):
        opened.prepare()  # as the service would
        opened.neighbours(opened.query("SELECT min(image_id) FROM images").fetchall()[0][0], 1)
    for part in sound:
        if part.why is not None and not any(problem.startswith(f"part {part.name}: ") for problem in report.problems):
            report.problems.append(f"part {part.name}: {part.why}")


@contextmanager
def _said(report: Report, where: str = "") -> Iterator[None]:
    """What the block raises is a problem in a line: a folder of any contents must not stop the rest of the audit."""
    try:
        yield
    except AtlasError as error:
        report.problems.append(f"{where}{error}")
    except Exception as error:
        said = f"cannot be read ({type(error).__name__}: {_line(str(error))[:200]}); copy the atlas again"
        report.problems.append(where + said)


def _check_part(opened: Atlas, part: Part, report: Report) -> None:
    """Checks the tables and pictures of a sealed part; its files are checked by `atlas.store.parts.problems`."""
    if part.state == "begun":
        return
    inside = Report(part.name)
    if part.why is not None:
        inside.problems.append(part.why)
    else:
        connection = relational.of_part(opened.folder, part)
        _check_tables(connection.sql, tables.of_part(part.kind), inside)
        _check_pictures(part.folder, tables.of_part(part.kind), inside)
    report.rows += inside.rows
    report.pictures += inside.pictures
    report.problems += [f"part {part.name}: {problem}" for problem in inside.problems]


def _check_files(folder: Folder, report: Report) -> None:
    try:
        expected = sums(folder)
    except FolderError as error:
        report.problems.append(str(error))
        return
    there = {*seal.contents(folder), layout.ATLAS}
    report.files = len(expected)
    report.problems += [f"{path} is not in {layout.SUMS}; remove it" for path in sorted(there - expected.keys())]
    found = (compare(folder, path, expected[path]) for path in sorted(expected))
    report.problems += [problem for problem in found if problem]


def _check_tables(query: Query, checked: Sequence[Table], report: Report) -> None:
    """Keys, references and rules of tables, as the registry has them."""
    for table in checked:
        report.rows += query(f'SELECT count(*) FROM "{table.name}"').fetchall()[0][0]
        key = ", ".join(table.key)
        twice = f'SELECT {_columns(table.key)} FROM "{table.name}" GROUP BY ALL HAVING count(*) > 1'
        problems = [(twice, f"{table.name}: {key} {{}} is there twice")]
        problems += [
            (_dangling(table, to), f"{table.name}: {', '.join(to.columns)} {{}} is not in {to.to}")
            for to in table.references
        ]
        problems += [(rule.sql, f"{rule.what}: {{}}") for rule in table.rules]
        for sql, said in problems:
            report.problems += [said.format(row) for row in query(sql).limit(SHOWN).fetchall()]


def _columns(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _dangling(table: Table, reference: Reference) -> str:
    """What a table refers to and is not there; null refers to nothing."""
    there = " AND ".join(f'"{column}" IS NOT NULL' for column in reference.columns)
    return (
        f'SELECT DISTINCT {_columns(reference.columns)} FROM "{table.name}" WHERE {there} '
        f'EXCEPT SELECT {_columns(reference.keys)} FROM "{reference.to}"'
    )


def _check_pictures(folder: Folder, checked: Sequence[Table], report: Report) -> None:
    """Reads every picture, a pack after another, and compares its crc32."""
    words = Words()
    places = np.concatenate([np.empty(0, _PLACE), *_places(folder, checked, words, report)])
    places = places[np.lexsort((places["crc32"], places["length"], places["offset"], places["pack"]))]
    if len(places):
        places = places[np.concatenate([[True], places[1:] != places[:-1]])]
    for number, name in enumerate(words.texts):
        mine = places[np.searchsorted(places["pack"], number) : np.searchsorted(places["pack"], number, "right")]
        if name is None or len(mine) == 0:
            continue
        path = layout.pack_path(name)
        if "/" in name or folder.plain_size(path) is None:
            report.problems.append(f"{path} is missing, and {len(mine)} pictures with it")
            continue
        with folder.passing(path) as stream:
            for _, offset, length, crc32 in mine.tolist():
                report.pictures += 1
                if not _right(stream, offset, length, crc32):
                    report.problems.append(f"{name} at {offset}: other bytes than its row says")


def _right(stream: Any, offset: int, length: int, crc32: int) -> bool:
    if offset < 0 or length < 0 or length >= 1 << 31:
        return False
    if stream.seekable():
        stream.seek(offset)
    else:
        stream.read(offset - stream.tell())
    body = stream.read(length)
    return len(body) == length and zlib.crc32(body) == crc32


_PLACE = np.dtype([("pack", "<u4"), ("offset", "<i8"), ("length", "<i8"), ("crc32", "<u4")])


def _places(folder: Folder, checked: Sequence[Table], words: Words, report: Report) -> Iterator[Array]:
    """Where the pictures of every table lie; packs by their numbers among `words`."""
    for table in checked:
        if not table.pictures or not folder.exists(table.path):
            continue
        for batch in source.batches(folder, table.name, columns=table.pictures):
            for column in table.pictures:
                child = dict(zip(PICTURE.names, batch.column(column).flatten(), strict=True))
                mask = child["pack"].is_valid()
                silent = pc.and_not(child["why"].is_null(), mask).true_count
                if silent:
                    report.problems.append(f"{table.name}.{column}: {silent} rows with neither a picture nor a reason")
                rows = np.empty(mask.true_count, _PLACE)
                rows["pack"] = words.encode(child["pack"].filter(mask), np.int32)
                for name in ("offset", "length", "crc32"):
                    rows[name] = child[name].filter(mask).to_numpy(zero_copy_only=False)
                yield rows
