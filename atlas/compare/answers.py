"""What two sides answer for the images that both hold: another atlas, or a table of answers."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.arrays import Flags, Ints
from atlas.compare import flips
from atlas.compare.flips import Classes
from atlas.compare.shared import shared
from atlas.errors import InputError, SettingsError


@dataclass(frozen=True)
class Answers:
    """Of shared images: image_id on either side (-1: none), what each side predicts (-1: a class that this side does
    not have), and the image's class (-1: none)."""

    image_id: Ints
    other_image_id: Ints
    predicted: Ints
    other_predicted: Ints
    class_id: Ints

    @property
    def flipped(self) -> Flags:
        """Which of them are answered differently."""
        return np.asarray(self.predicted != self.other_predicted)

    def table(self) -> pa.Table:
        """The rows of `flips`."""
        at = np.flatnonzero(self.flipped)
        columns = {
            name: pa.array(values[at], mask=(values[at] < 0) if name != "image_id" else None)
            for name, values in vars(self).items()
        }  # fmt: skip
        return pa.table(columns)

    def classes(self) -> tuple[Classes, pa.Table]:
        """What classes gained and lost, and the rows of `class_changes`."""
        found = flips.by_class(self.class_id, self.predicted == self.class_id, self.other_predicted == self.class_id)
        known = self.class_id >= 0
        place = np.searchsorted(found.class_id, self.class_id[known])
        agree = np.bincount(place, ~self.flipped[known], len(found.class_id)) / np.maximum(found.n, 1)
        return found, pa.table({**vars(found), "agreement": agree})


def of_atlases(images: pa.Table, others: pa.Table) -> Answers:
    """From the tables `images` of both; classes are the same where their names are. Raises `InputError`."""
    for side, table in (("this atlas", images), ("the other atlas", others)):
        if table.column("predicted").null_count == len(table):
            raise InputError(f"{side} has no predictions: expected networks with classes")
    rows, other_rows = shared(images.column("content").to_pylist(), others.column("content").to_pylist())
    a, b = images.take(pa.array(rows)), others.take(pa.array(other_rows))
    here, there = names(images), names(others)
    translate = _translation(here, there)
    other = np.array([translate(p) for p in _ints(b, "predicted").tolist()], np.int64)
    kept = _ints(a, "predicted") >= 0
    return Answers(
        _ints(a, "image_id")[kept], _ints(b, "image_id")[kept], _ints(a, "predicted")[kept], other[kept],
        _ints(a, "class_id")[kept],
    )  # fmt: skip


def of_table(images: pa.Table, path: str) -> Answers:
    """From a table of answers: key, and class by name or number. Raises `SettingsError`."""
    given = _read(Path(path))
    known = {name: class_id for class_id, name in names(images).items() if name}
    keys = images.column("key").to_pylist()
    predicted, label = _ints(images, "predicted"), _ints(images, "class_id")
    place = {key: row for row, key in enumerate(keys)}
    rows, answers = [], []
    for key, answer in given:
        if key in place and predicted[place[key]] >= 0:
            rows.append(place[key])
            answers.append(known.get(answer, int(answer) if answer.isdecimal() else -1))
    if not rows:
        raise SettingsError(f"--to {path}: expected keys of images, such as {keys[0] if keys else ''!r}; none is known")
    at = np.array(rows, np.int64)
    return Answers(
        _ints(images, "image_id")[at], np.full(len(at), -1, np.int64), predicted[at], np.array(answers, np.int64),
        label[at],
    )  # fmt: skip


def _read(path: Path) -> list[tuple[str, str]]:
    try:
        if path.suffix.lower() == ".parquet":
            rows = pq.read_table(path).to_pylist()
        else:
            with path.open(newline="", encoding="utf-8") as stream:
                rows = list(csv.DictReader(stream, delimiter="," if path.suffix.lower() == ".csv" else "\t"))
        return [(str(row["key"]), str(row["class"])) for row in rows if row["class"] is not None]
    except (OSError, UnicodeDecodeError, pa.ArrowException, csv.Error) as error:
        raise SettingsError(f"--to {path}: expected a table of answers: {error}") from None
    except KeyError as error:
        raise SettingsError(f"--to {path}: expected columns key and class; found no {error.args[0]}") from None


def names(images: pa.Table) -> dict[int, str | None]:
    """Names of the classes that images have."""
    pairs = zip(images.column("class_id").to_pylist(), images.column("class_name").to_pylist(), strict=True)
    return {class_id: name for class_id, name in pairs if class_id is not None}


def _translation(here: Mapping[int, str | None], there: Mapping[int, str | None]):  # type: ignore[no-untyped-def]
    """From a class number of the other atlas to one of this: by name where both have names, else the same number."""
    by_name = {name: class_id for class_id, name in here.items() if name}
    same = all(here[class_id] == there[class_id] for class_id in here.keys() & there.keys())
    if same or not by_name:
        return lambda class_id: class_id
    return lambda class_id: by_name.get(there.get(class_id) or "", -1)


def _ints(table: pa.Table, column: str) -> Ints:
    return np.asarray(table.column(column).cast(pa.int64()).fill_null(-1).to_numpy())


def agreement(classes: Classes, answers: Answers) -> dict[str, object]:
    """The figures that a person wants first."""
    n = len(answers.image_id)
    labelled = answers.class_id >= 0
    right = answers.predicted[labelled] == answers.class_id[labelled]
    other = answers.other_predicted[labelled] == answers.class_id[labelled]
    changed = classes.p <= 0.05
    return {
        "shared_images": n,
        "flips": int(answers.flipped.sum()),
        "accuracy": round(float(right.mean()), 6) if len(right) else None,
        "other_accuracy": round(float(other.mean()), 6) if len(other) else None,
        "classes_gained": int((changed & (classes.gained > classes.lost)).sum()),
        "classes_lost": int((changed & (classes.gained < classes.lost)).sum()),
    }


def groups(sizes: Sequence[tuple[str, int]], most: int) -> list[list[tuple[str, int, int]]]:
    """Neurons of layers (layer, first, last), together at most `most`, in the order of the layers."""
    found: list[list[tuple[str, int, int]]] = []
    room = 0
    for layer, size in sizes:
        first = 0
        while first < size:
            if not room:
                found.append([])
                room = most
            last = min(first + room, size)
            found[-1].append((layer, first, last))
            room -= last - first
            first = last
    return found
