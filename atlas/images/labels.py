"""Classes: from folder names, numbers and words in several sources to one list of class indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from atlas.errors import SourceError
from atlas.store.locations import filesystem, is_remote

_INT32 = 2**31


@dataclass(frozen=True)
class Labels:
    """What a source says of its images' classes. `numbers` int64 (N,), -1 for none.

    Without `names` a number is the class index. With them it is an index into `names`: of which the order counts
    (`ordered`: the class names in a Parquet file's metadata), or not (class folders, words). Of images with a list of
    classes each, `lengths` (N,) says how many of the `numbers`, one image's after another's, are its own; -1: it has no
    list, which is another thing than an empty one.
    """

    numbers: NDArray[np.int64]
    names: tuple[str, ...] = ()
    ordered: bool = False
    lengths: NDArray[np.int64] | None = None

    @property
    def words(self) -> bool:
        """Whether the class index follows from the union of all names."""
        return bool(self.names) and not self.ordered


def from_values(values: Sequence[int | str | list[int | str] | None]) -> Labels:
    """Labels of an image each: numbers if all of them are, else words; lists of these if there is one list."""
    if any(isinstance(value, list) for value in values):
        lists = [value if isinstance(value, list) or value is None else [value] for value in values]
        lengths = np.array([-1 if each is None else len(each) for each in lists], np.int64)
        return replace(_single([value for each in lists if each for value in each]), lengths=lengths)
    return _single([value for value in values if not isinstance(value, list)])


def _single(values: Sequence[int | str | None]) -> Labels:
    if all(value is None or isinstance(value, int) for value in values):
        return Labels(np.array([-1 if value is None else _number(int(value)) for value in values], np.int64))
    words = sorted({str(value) for value in values if value is not None}, key=str.encode)
    place = {word: number for number, word in enumerate(words)}
    return Labels(np.array([-1 if v is None else place[str(v)] for v in values], np.int64), tuple(words))


def _number(value: int) -> int:
    return value if 0 <= value < _INT32 else -1


def unlabelled(path: str, expected: str, others: Sequence[str]) -> str | None:
    """What is said of a container without labels that has other columns which may hold them; None without any."""
    if not others:
        return None
    named = ", ".join(others[:8]) + (", …" if len(others) > 8 else "")
    return f"{path}: no {expected}, so its images have no class; --label-column may name one of {named}"


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


def of_network(names: Sequence[str], every: Sequence[Labels]) -> ClassNames | None:
    """The class names that a network comes with, as an order for these labels; None where they are other words."""
    there = {name for labels in every for name in labels.names}
    largest = max((int(labels.numbers.max(initial=-1)) for labels in every if not labels.names), default=-1)
    if not names or not there <= set(names) or largest >= len(names):
        return None
    return ClassNames({name: number for number, name in enumerate(names)}, tuple(names), False)


def resolve(every: Sequence[Labels], given: ClassNames | None) -> tuple[tuple[str, ...], list[pa.Array]]:
    """The readable class names by index, and the class ids of each source's images: int32, null for none; of images
    with several classes lists of them, ascending.

    The order is that of the class-names file, else of the Parquet metadata, else the names' bytes. Raises
    `SourceError` where names and numbers meet without a common order, or single classes and lists of them.
    """
    if any(labels.lengths is not None for labels in every) and any(
        labels.lengths is None and (labels.numbers >= 0).any() for labels in every
    ):
        raise SourceError("some sources give an image one class, others a list; give all of them as lists")
    classes, ids = _resolved(every, given)
    lengths = [labels.lengths for labels in every]
    return classes, [each if of is None else _lists(each, of) for each, of in zip(ids, lengths, strict=True)]


def _lists(ids: pa.Array, lengths: NDArray[np.int64]) -> pa.Array:
    """Lists of classes: each once, ascending; those that are none are left out."""
    of = np.repeat(np.arange(len(lengths)), np.maximum(lengths, 0))
    kept = ids.is_valid().to_numpy(zero_copy_only=False)
    pairs = np.unique(np.stack([of[kept], ids.drop_null().to_numpy()], 1), axis=0)
    counts = np.bincount(pairs[:, 0], minlength=len(lengths))
    offsets = pa.array(np.append(0, np.cumsum(counts)), pa.int32())
    values = pa.array(pairs[:, 1], pa.int32())
    return pa.ListArray.from_arrays(offsets, values, mask=pa.array(lengths < 0))


def _resolved(every: Sequence[Labels], given: ClassNames | None) -> tuple[tuple[str, ...], list[pa.Array]]:
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
