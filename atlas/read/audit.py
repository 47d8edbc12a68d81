"""`neuron-atlas verify`: everything that a sealed folder says of itself, checked against itself.

Checksums of all files; the digest; counts; every reference from one table to another; the order of ranks; the bytes of
every picture.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from atlas.errors import AtlasError
from atlas.read.catalog import Atlas
from atlas.read.records import Array, Words
from atlas.read.verify import compare, sums
from atlas.store import layout, schema, seal
from atlas.store.files import Folder

SHOWN = 20
"""Problems that are printed; the rest are counted."""

_NEURON = "layer, channel"
_REFERENCES = (
    ("layers", "layer", "neurons", "layer"),
    ("neurons", "layer", "layers", "layer"),
    ("examples", _NEURON, "neurons", _NEURON),
    ("examples", "image_id", "images", "image_id"),
    ("examples", "duplicate_of AS image_id", "images", "image_id"),
    ("classes", _NEURON, "neurons", _NEURON),
    ("responses", "image_id", "images", "image_id"),
    ("codes", "image_id", "images", "image_id"),
    ("images", "image_id", "codes", "image_id"),
    ("map", "image_id", "images", "image_id"),
    ("similar", _NEURON, "neurons", _NEURON),
    ("similar", "other_layer AS layer, other_channel AS channel", "neurons", _NEURON),
    ("near_misses", _NEURON, "neurons", _NEURON),
    ("near_misses", "image_id", "images", "image_id"),
    ("properties", _NEURON, "neurons", _NEURON),
    ("filters", _NEURON, "neurons", _NEURON),
    ("sanity", "layer", "layers", "layer"),
)
"""Table, columns, and the table and columns in which each of their values must be found; null refers to nothing."""

_RULES = {
    "images and quarantine overlap": "SELECT image_id FROM images JOIN quarantine USING (image_id)",
    "an image_id is there twice": "SELECT image_id FROM images GROUP BY ALL HAVING count(*) > 1",
    "a neuron is there twice": "SELECT layer, channel FROM neurons GROUP BY ALL HAVING count(*) > 1",
    "a layer has other neurons than channels": (
        "SELECT layer, channels, n FROM layers JOIN "
        "(SELECT layer, count(*) AS n, max(channel) + 1 AS last FROM neurons GROUP BY layer) USING (layer) "
        "WHERE n <> channels OR last <> channels"
    ),
    "ranks do not run from 0": (
        "SELECT layer, channel, side FROM examples GROUP BY ALL "
        "HAVING min(rank) <> 0 OR max(rank) <> count(*) - 1 OR count(DISTINCT rank) <> count(*)"
    ),
    "an image is twice on a side": (
        "SELECT layer, channel, side, image_id FROM examples GROUP BY ALL HAVING count(*) > 1"
    ),
    "ranks are not in the order of responses": (
        "SELECT layer, channel, side, rank FROM (SELECT *, lag(response) OVER w AS r, lag(image_id) OVER w AS i "
        "FROM examples WINDOW w AS (PARTITION BY layer, channel, side ORDER BY rank)) WHERE "
        "CASE WHEN side = 'min' THEN r > response ELSE r < response END OR (r = response AND i > image_id)"
    ),
    "the first example is not the neuron's extreme": (
        "SELECT layer, channel, side FROM examples JOIN neurons USING (layer, channel) WHERE rank = 0 AND "
        "((side = 'max' AND response <> neurons.max) OR (side = 'min' AND response <> neurons.min))"
    ),
    "a side without examples does not say why": (
        "SELECT n.layer, n.channel FROM neurons n WHERE why_max IS NULL AND NOT EXISTS (SELECT 1 FROM examples e "
        "WHERE e.layer = n.layer AND e.channel = n.channel AND e.side = 'max')"
    ),
    "a histogram does not count every image": (
        "SELECT layer, channel FROM neurons WHERE list_sum(list_transform(histogram, lambda b: b.count)) <> images"
    ),
    "a field is empty": (
        "SELECT layer, channel, side, rank FROM examples WHERE field_left >= field_right OR field_top >= field_bottom"
    ),
}
"""What is wrong where the query has a row."""


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
        return "\n".join([f"{self.location}: NOT sound; checked {checked}", *self.problems[:SHOWN], *more])


def audit(location: str) -> Report:
    """Checks all of a sealed atlas. Raises `FolderError` where the folder is no sealed atlas at all."""
    folder = Folder(location)
    report = Report(location)
    about = seal.read_about(folder)
    _check_files(folder, report)
    if not report.ok:
        return report  # tables that are damaged may not be read
    opened = Atlas(location, verify=False)
    _check_counts(opened, about, report)
    _check_tables(opened, report)
    _check_pictures(opened.root, report)
    digest, _ = seal.digest_and_sums(folder)
    if digest != about["digest"]:
        report.problems.append(f"{layout.ATLAS}: digest {about['digest'][:12]}, but the contents give {digest[:12]}")
    try:
        opened.neighbours(opened.query("SELECT min(image_id) FROM images").fetchall()[0][0], 1)
    except AtlasError as error:
        report.problems.append(str(error))
    return report


def _check_files(folder: Folder, report: Report) -> None:
    expected = sums(folder)
    root = folder.local("")
    there = {*seal.contents(folder), layout.ATLAS}
    report.files = len(expected)
    report.problems += [f"{path} is not in {layout.SUMS}; remove it" for path in sorted(there - expected.keys())]
    found = (compare(root, path, expected[path]) for path in sorted(expected))
    report.problems += [problem for problem in found if problem]


def _check_counts(opened: Atlas, about: dict[str, Any], report: Report) -> None:
    counts = about["counts"]
    tables = {
        "images": "images",
        "quarantined": "quarantine",
        "layers": "layers",
        "neurons": "neurons",
        "examples": "examples",
    }
    for name, table in tables.items():
        found = opened.query(f"SELECT count(*) FROM {table}").fetchall()[0][0]
        report.rows += found
        if found != counts[name]:
            report.problems.append(f"{table}.parquet has {found} rows, {layout.ATLAS} says {counts[name]}")
    if counts["images"] + counts["quarantined"] != about["data"]["count"]:
        report.problems.append(
            f"{counts['images']} images scanned and {counts['quarantined']} in quarantine, "
            f"but {about['data']['count']} were listed"
        )


def _check_tables(opened: Atlas, report: Report) -> None:
    for table, columns, other, keys in _REFERENCES:
        sql = (
            f'SELECT DISTINCT {columns} FROM "{table}" WHERE {columns.split(" AS ")[0].split(", ")[0]} IS NOT NULL '
            f'EXCEPT SELECT {keys} FROM "{other}"'
        )
        for row in opened.query(sql).limit(SHOWN).fetchall():
            report.problems.append(f"{table}: {columns} {row} is not in {other}")
    for what, sql in _RULES.items():
        for row in opened.query(sql).limit(SHOWN).fetchall():
            report.problems.append(f"{what}: {row}")


def _check_pictures(root: Path, report: Report) -> None:
    """Reads every picture, a pack after another, and compares its crc32."""
    words = Words()
    places = np.concatenate([np.empty(0, _PLACE), *_places(root, words, report)])
    places = places[np.lexsort((places["crc32"], places["length"], places["offset"], places["pack"]))]
    if len(places):
        places = places[np.concatenate([[True], places[1:] != places[:-1]])]
    for number, name in enumerate(words.texts):
        mine = places[np.searchsorted(places["pack"], number) : np.searchsorted(places["pack"], number, "right")]
        if name is None or len(mine) == 0:
            continue
        path = root / layout.pack_path(name)
        if "/" in name or not path.is_file():
            report.problems.append(f"{layout.pack_path(name)} is missing, and {len(mine)} pictures with it")
            continue
        with path.open("rb") as stream:
            for _, offset, length, crc32 in mine.tolist():
                report.pictures += 1
                if not _right(stream, offset, length, crc32):
                    report.problems.append(f"{name} at {offset}: other bytes than its row says")


def _right(stream: IO[bytes], offset: int, length: int, crc32: int) -> bool:
    if offset < 0 or length < 0:
        return False
    stream.seek(offset)
    body = stream.read(length)
    return len(body) == length and zlib.crc32(body) == crc32


_PLACE = np.dtype([("pack", "<u4"), ("offset", "<i8"), ("length", "<i8"), ("crc32", "<u4")])


def _places(root: Path, words: Words, report: Report) -> Iterator[Array]:
    """Where the pictures of every table lie; packs by their numbers among `words`."""
    for table, to in schema.SCHEMAS.items():
        columns = [f.name for f in to if f.type == schema.PICTURE]
        if not columns:
            continue
        for batch in pq.ParquetFile(root / layout.table(table)).iter_batches(65_536, columns=columns):
            for column in columns:
                child = dict(zip(schema.PICTURE.names, batch.column(column).flatten(), strict=True))
                mask = child["pack"].is_valid()
                silent = pc.and_not(child["why"].is_null(), mask).true_count
                if silent:
                    report.problems.append(f"{table}.{column}: {silent} rows with neither a picture nor a reason")
                rows = np.empty(mask.true_count, _PLACE)
                rows["pack"] = words.encode(child["pack"].filter(mask), np.int32)
                for name in ("offset", "length", "crc32"):
                    rows[name] = child[name].filter(mask).to_numpy(zero_copy_only=False)
                yield rows
