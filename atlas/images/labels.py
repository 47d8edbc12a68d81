"""Classes: from folder names, numbers and words in several sources to one list of class indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from atlas.errors import SourceError
from atlas.store.files import filesystem, is_remote

_INT32 = 2**31


@dataclass(frozen=True)
class Labels:
    """What a source says of its images' classes. `numbers` int64 (N,), -1 for none.

    Without `names` a number is the class index. With them it is an index into `names`: of which the order counts
    (`ordered`: the class names in a Parquet file's metadata), or not (class folders, words).
    """

    numbers: NDArray[np.int64]
    names: tuple[str, ...] = ()
    ordered: bool = False

    @property
    def words(self) -> bool:
        """Whether the class index follows from the union of all names."""
        return bool(self.names) and not self.ordered


def from_values(values: Sequence[int | str | None]) -> Labels:
    """Labels of single values: numbers if all of them are, else words."""
    if all(value is None or isinstance(value, int) for value in values):
        return Labels(np.array([-1 if value is None else _number(int(value)) for value in values], np.int64))
    words = sorted({str(value) for value in values if value is not None}, key=str.encode)
    place = {word: number for number, word in enumerate(words)}
    return Labels(np.array([-1 if v is None else place[str(v)] for v in values], np.int64), tuple(words))


def _number(value: int) -> int:
    return value if 0 <= value < _INT32 else -1


@dataclass(frozen=True)
class ClassNames:
    """A file of class names: what a folder or a label is called there, and the readable names, by class index."""

    index: dict[str, int]
    readable: tuple[str, ...]
    numbered: bool


def read_class_names(path: str) -> ClassNames:
    """Reads a TSV: folder or number, readable name (else the first again). Raises `SourceError`."""
    try:
        if is_remote(path):
            where, inside = filesystem(path)
            with where.open_input_stream(inside) as stream:
                text = bytes(stream.read()).decode("utf-8-sig")
        else:
            text = Path(path).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"--class-names {path}: cannot be read ({error}); expected a TSV in UTF-8") from None
    rows = [line.split("\t") for line in text.splitlines() if line.strip()]
    if not rows:
        raise SourceError(f"--class-names {path}: no rows; expected a folder name or number, a tab, a readable name")
    index: dict[str, int] = {}
    for number, row in enumerate(rows):
        if index.setdefault(row[0].strip(), number) != number:
            raise SourceError(f"--class-names {path}: {row[0]!r} comes twice; expected each class once")
    readable = tuple((row[1] if len(row) > 1 and row[1].strip() else row[0]).strip() for row in rows)
    return ClassNames(index, readable, all(key.isascii() and key.isdigit() for key in index))


def resolve(every: Sequence[Labels], given: ClassNames | None) -> tuple[tuple[str, ...], list[pa.Array]]:
    """The readable class names by index, and the class ids of each source's images (int32, null for none).

    The order is that of the class-names file, else of the Parquet metadata, else the names' bytes. Raises
    `SourceError` where names and numbers meet without a common order.
    """
    if given is not None:
        return given.readable, [_given_ids(labels, given) for labels in every]
    ordered = {labels.names for labels in every if labels.ordered}
    if len(ordered) > 1:
        raise SourceError("sources disagree on the class names in their metadata; give --class-names FILE.tsv")
    words = {name for labels in every if labels.words for name in labels.names}
    if ordered:
        classes = ordered.pop()
    elif words:
        classes = tuple(sorted(words, key=_bytes))
        if any(not labels.names and (labels.numbers >= 0).any() for labels in every):
            raise SourceError("some sources name their classes, others number them; give --class-names FILE.tsv")
    else:
        largest = max((int(labels.numbers.max(initial=-1)) for labels in every), default=-1)
        classes = tuple(str(number) for number in range(min(largest + 1, 1 << 20)))
    place = {name: number for number, name in enumerate(classes)}
    return classes, [
        _look_up(labels.numbers, [place.get(name, -1) for name in labels.names])
        if labels.words
        else _ids(np.where(labels.numbers < len(classes), labels.numbers, -1))
        for labels in every
    ]


def _given_ids(labels: Labels, given: ClassNames) -> pa.Array:
    if labels.names:
        table = [given.index.get(name, -1) for name in labels.names]
        if labels.words or max(table, default=-1) >= 0:
            return _look_up(labels.numbers, table)
    elif given.numbered:
        found = {number: given.index.get(str(number), -1) for number in np.unique(labels.numbers).tolist()}
        return _ids(np.array([found[number] for number in labels.numbers.tolist()], np.int64))
    return _ids(np.where(labels.numbers < len(given.readable), labels.numbers, -1))


def _look_up(numbers: NDArray[np.int64], table: list[int]) -> pa.Array:
    return _ids(np.append(np.array(table, np.int64), -1)[numbers])  # the last serves -1


def _ids(numbers: NDArray[np.int64]) -> pa.Array:
    return pa.array(numbers.astype(np.int32), pa.int32(), mask=numbers < 0)


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
