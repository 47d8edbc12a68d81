"""Concepts: what can be said of an image. Classes, any table of the user's, the measured properties, sizes."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.arrays import Doubles, Flags
from atlas.errors import SettingsError

FIFTH = 0.2
_TIED = 0.3
"""A property whose outer fifth would hold more images than this, because values are equal, has no such fifth."""
ENDS = {
    "brightness": ("dark", "bright"),
    "contrast": ("low contrast", "high contrast"),
    "colourfulness": ("colourless", "colourful"),
    "edge_density": ("few edges", "many edges"),
    "spatial_frequency": ("blurred", "finely structured"),
    "aspect": ("tall", "wide"),
    "size": ("small image", "large image"),
}
"""Properties with the names of their lowest and highest fifth; size is width times height as stored."""
SECTORS = {
    "hue": (2 * math.pi, ("red", "yellow", "green", "cyan", "blue", "magenta")),
    "edge_orientation": (math.pi, ("horizontal", "falling diagonal", "vertical", "rising diagonal")),
}
"""Angles: the whole turn, and the names of equal sectors, the first around 0."""


@dataclass(frozen=True)
class Concepts:
    """Concepts of images: `flags` (images, concepts), names, and of which kind each is (class, table, property).

    `same` (name, name): concepts that hold for the images of an earlier one, which stands for them.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    flags: Flags
    same: tuple[tuple[str, str], ...] = ()

    def take(self, kept: Flags) -> Concepts:
        """Some of the concepts."""
        at = np.flatnonzero(kept).tolist()
        return Concepts(
            tuple(self.names[i] for i in at), tuple(self.kinds[i] for i in at), self.flags[:, kept], self.same
        )


def joined(parts: Iterable[Concepts]) -> Concepts:
    """Concepts one after the other; a name that stands already gets its kind behind it, and its number if need be."""
    names: list[str] = []
    kinds: list[str] = []
    flags = []
    for part in parts:
        flags.append(part.flags)
        for name, kind in zip(part.names, part.kinds, strict=True):
            names.append(_free(name, kind, set(names)))
            kinds.append(kind)
    return Concepts(tuple(names), tuple(kinds), np.concatenate(flags, 1))


def _free(name: str, kind: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    stem, name = name, f"{name} ({kind})"
    number = 2
    while name in taken:
        name, number = f"{stem} ({kind} {number})", number + 1
    return name


def distinct(concepts: Concepts) -> Concepts:
    """Of concepts that hold for the same images the first."""
    first: dict[bytes, int] = {}
    kept = np.zeros(len(concepts.names), bool)
    same = list(concepts.same)
    for at, name in enumerate(concepts.names):
        extent = np.packbits(concepts.flags[:, at]).tobytes()
        if extent in first:
            same.append((concepts.names[first[extent]], name))
        else:
            first[extent], kept[at] = at, True
    taken = concepts.take(kept)
    return Concepts(taken.names, taken.kinds, taken.flags, tuple(same))


def common(concepts: Concepts, halves: Sequence[np.ndarray], least: int) -> Concepts:
    """Concepts that hold for at least `least` images of each half, and do not hold for as many."""
    kept = np.ones(len(concepts.names), bool)
    for half in halves:
        held = concepts.flags[half].sum(0)
        kept &= (held >= least) & (held <= len(half) - least)
    return concepts.take(kept)


def classes(labels: Sequence[Sequence[int]], names: dict[int, str]) -> Concepts:
    """A concept a class, of the classes of each image (none, one or several)."""
    ids = sorted({label for row in labels for label in row})
    place = {label: at for at, label in enumerate(ids)}
    flags = np.zeros((len(labels), len(ids)), bool)
    for image, row in enumerate(labels):
        for label in row:
            flags[image, place[label]] = True
    return joined(
        Concepts((names.get(label) or f"class {label}",), ("class",), flags[:, place[label], None]) for label in ids
    ) if ids else Concepts((), (), flags)  # fmt: skip


def read(path: Path) -> list[tuple[str, str, str]]:
    """Rows (subject, concept, identity) of a table: TSV, CSV or Parquet, the first two or three columns.

    The identity tells concepts of one name apart; without a third column it is the name. Raises `SettingsError`.
    """
    try:
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            rows = [tuple(map(str, row.values())) for row in table.to_pylist()]
        else:
            with path.open(newline="", encoding="utf-8") as stream:
                rows = [
                    tuple(row) for row in csv.reader(stream, delimiter="," if path.suffix == ".csv" else "\t") if row
                ]
    except (OSError, UnicodeDecodeError, pa.ArrowException, csv.Error) as error:
        raise SettingsError(f"{path}: expected a table of concepts (TSV, CSV or Parquet): {error}") from None
    for number, row in enumerate(rows):
        if len(row) < 2:
            raise SettingsError(
                f"{path}: row {number + 1}: expected a class folder or image key and a concept, got {row}"
            )
    return [(row[0], row[1], row[2] if len(row) > 2 else row[1]) for row in rows]


def of_table(rows: Sequence[tuple[str, str, str]], keys: Sequence[str], aliases: Sequence[Sequence[str]], source: str
) -> Concepts:  # fmt: skip
    """Concepts of a user's table. A subject is an image's key, a folder that the key lies in, or one of the image's
    `aliases` (its classes' names and numbers); subjects of other images count for nothing.

    Raises `SettingsError` where no subject is known.
    """
    subjects: dict[str, list[int]] = {}
    for image, key in enumerate(keys):
        folders = [str(folder) for folder in PurePosixPath(key).parents if str(folder) != "."]
        for subject in {key, *folders, *(name for folder in folders for name in folder.split("/")), *aliases[image]}:
            subjects.setdefault(subject, []).append(image)
    identities = list(dict.fromkeys((identity, name) for _, name, identity in rows))
    place = {identity: at for at, identity in enumerate(identities)}
    flags = np.zeros((len(keys), len(identities)), bool)
    known = 0
    for subject, name, identity in rows:
        if subject in subjects:
            known += 1
            flags[subjects[subject], place[identity, name]] = True
    if not known:
        raise SettingsError(
            f"{source}: expected class folders or image keys, such as {keys[0]!r}, in the first column; "
            f"found {rows[0][0]!r}" if rows and keys else f"{source}: expected rows of subject and concept, found none"
        )  # fmt: skip
    times: dict[str, int] = {}
    for _, name in identities:
        times[name] = times.get(name, 0) + 1
    names = [name if times[name] == 1 else f"{name} ({identity})" for identity, name in identities]
    held = np.asarray(flags.any(0))
    return Concepts(tuple(names), ("table",) * len(names), flags).take(held)


def of_properties(measured: dict[str, Doubles]) -> Concepts:
    """The outer fifths of measured properties, and the sectors of angles; nan where a property is undefined."""
    names: list[str] = []
    flags: list[Flags] = []
    for name, values in measured.items():
        if name in ENDS:
            for end, word in zip((1, -1), ENDS[name], strict=True):
                flag = _outer(end * values)
                if flag is not None:
                    names.append(word)
                    flags.append(flag)
        elif name in SECTORS:
            turn, words = SECTORS[name]
            with np.errstate(invalid="ignore"):
                sector = np.floor(np.mod(values / turn * len(words) + 0.5, len(words)))
            names += words
            flags += [sector == at for at in range(len(words))]
    columns = np.stack(flags, 1) if flags else np.zeros((len(next(iter(measured.values()), ())), 0), bool)
    return Concepts(tuple(names), ("property",) * len(names), columns)


def _outer(values: Doubles) -> Flags | None:
    """The lowest fifth of the known values; None where ties make it much larger."""
    known = np.isfinite(values)
    if not known.any():
        return None
    edge = np.quantile(values[known], FIFTH, method="inverted_cdf")
    flag = np.zeros(len(values), bool)
    flag[known] = values[known] <= edge
    return flag if flag.sum() <= _TIED * known.sum() else None
