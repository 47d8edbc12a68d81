"""True boxes from a table, ImageNet's XML folders, or ImageNet's CSV, by the key of the image."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from atlas.errors import SettingsError
from atlas.types import Box

EDGES = ("left", "top", "right", "bottom")
Boxes = dict[str, list[Box]]
_MOST = 1 << 22
"""Bytes of an XML file that is read."""


def read_boxes(path: str) -> Boxes:
    """Boxes by key, half open, in pixels of the image as stored. Raises `SettingsError` in one line.

    A folder: Pascal VOC's XML, as ImageNet ships it, at any depth, where pixels count from 1 and the last one is in the
    box. `*.parquet`: columns key, left, top, right, bottom. Else text with a head: those columns, divided by tabs or
    commas; or ImageNet's `ImageId,PredictionString` (`n01440764 xmin ymin xmax ymax …`), counted as its XML.
    """
    where = Path(path)
    try:
        if where.is_dir():
            pairs = _of_xml(where)
        elif where.suffix == ".parquet":
            pairs = _of_parquet(where)
        else:
            pairs = _of_text(where)
        found: Boxes = {}
        for key, box in pairs:
            if (
                not all(map(math.isfinite, (box.left, box.top, box.right, box.bottom)))
                or min(box.width, box.height) <= 0
            ):
                raise SettingsError(f"--boxes {path}: the box of {key} is empty or not finite ({box}); mend or drop it")
            found.setdefault(key, []).append(box)
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise SettingsError(
            f"--boxes {path}: cannot be read ({error}); expected key, left, top, right, bottom"
        ) from None
    if not found:
        raise SettingsError(f"--boxes {path}: holds no boxes; expected columns key, left, top, right, bottom")
    return found


def match(boxes: Mapping[str, Sequence[Box]], keys: Iterable[str]) -> dict[str, list[Box]]:
    """The boxes of each of `keys` (names of images within their source): by the key itself, or else by the file's name
    without folder and ending, where only one image has it."""
    by_name: dict[str, list[str]] = {}
    known = list(keys)
    for key in known:
        by_name.setdefault(_bare(key), []).append(key)
    found: dict[str, list[Box]] = {}
    exact = set(known)
    for key, some in boxes.items():
        there = [key] if key in exact else by_name.get(_bare(key), [])
        if len(there) == 1:
            found.setdefault(there[0], []).extend(some)
    return found


def _bare(key: str) -> str:
    return PurePosixPath(key).stem


def _of_xml(folder: Path) -> Iterator[tuple[str, Box]]:
    for path in sorted(folder.rglob("*.xml")):
        if path.stat().st_size > _MOST:
            raise ValueError(f"{path} is larger than {_MOST} bytes")
        text = path.read_text("utf-8")
        if "<!ENTITY" in text or "<!DOCTYPE" in text:
            raise ValueError(f"{path} declares a document type, which boxes do not need")
        for each in ElementTree.fromstring(text).iter("bndbox"):
            edges = [float(each.findtext(name) or "nan") for name in ("xmin", "ymin", "xmax", "ymax")]
            yield path.stem, _counted_from_one(edges)


def _counted_from_one(edges: Sequence[float]) -> Box:
    left, top, right, bottom = edges
    return Box(max(left - 1, 0.0), max(top - 1, 0.0), right, bottom)


def _of_parquet(path: Path) -> Iterator[tuple[str, Box]]:
    from pyarrow import ArrowInvalid
    from pyarrow import parquet as pq

    try:
        rows = pq.read_table(path, columns=["key", *EDGES]).to_pylist()
    except ArrowInvalid as error:
        raise ValueError(str(error).splitlines()[0]) from None
    for row in rows:
        yield str(row["key"]), Box(*(float(row[edge]) for edge in EDGES))


def _of_text(path: Path) -> Iterator[tuple[str, Box]]:
    with path.open(encoding="utf-8", newline="") as stream:
        first = stream.readline()
        stream.seek(0)
        rows = csv.DictReader(stream, delimiter="\t" if "\t" in first else ",")
        names = set(rows.fieldnames or ())
        if {"ImageId", "PredictionString"} <= names:
            yield from _of_imagenet(rows)
            return
        if not {"key", *EDGES} <= names:
            raise ValueError(f"its columns are {', '.join(rows.fieldnames or ())}")
        for row in rows:
            yield row["key"], Box(*(float(row[edge]) for edge in EDGES))


def _of_imagenet(rows: Iterable[Mapping[str, str]]) -> Iterator[tuple[str, Box]]:
    for row in rows:
        words = row["PredictionString"].split()
        if len(words) % 5:
            raise ValueError(f"the boxes of {row['ImageId']} are not class and four numbers each")
        for start in range(0, len(words), 5):
            yield row["ImageId"], _counted_from_one([float(word) for word in words[start + 1 : start + 5]])
