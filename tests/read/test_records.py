"""Records by group in a temporary file, against a plain dictionary of lists."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import FolderError
from atlas.read.records import Records, Words, ahead

PAIR = np.dtype([("a", "<i8"), ("b", "<f4")])


def rows(values: list[int]) -> np.ndarray:
    made = np.empty(len(values), PAIR)
    made["a"] = values
    made["b"] = np.array(values) / 2
    return made


@given(st.permutations(range(8)), st.lists(st.integers(0, 5), min_size=8, max_size=8), st.integers(1, 7))
def test_groups_come_back_whatever_the_batches(order: list[int], counts: list[int], step: int) -> None:
    groups = np.repeat(order, [counts[g] for g in order])
    values = list(range(len(groups)))
    records = Records(PAIR, 8, "test")
    for start in range(0, len(groups), step):
        records.append(groups[start : start + step], rows(values[start : start + step]))
    for group in range(8):
        expected = [v for v, g in zip(values, groups, strict=True) if g == group]
        assert records.of(group)["a"].tolist() == expected
        assert records.count(group) == len(expected)
    if values:
        assert records.group_of(np.arange(len(values))).tolist() == groups.tolist()
        assert records.span(0, len(values)).tolist() == rows(values).tolist()
    records.close()


def test_rows_that_are_apart_are_refused() -> None:
    for batches in ([[0, 1, 0]], [[0, 1], [0]], [[0], [1], [0]]):
        records = Records(PAIR, 2, "test")
        *before, last = batches
        for batch in before:
            records.append(np.array(batch), rows(batch))
        with pytest.raises(FolderError, match="apart"):
            records.append(np.array(last), rows(last))


def test_a_spool_without_room_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEURON_ATLAS_SPOOL", "/nowhere/at/all")
    with pytest.raises(FolderError, match="NEURON_ATLAS_SPOOL"):
        Records(PAIR, 1, "test")


@given(st.lists(st.lists(st.sampled_from(["a", "b", None, "", "猫"]), max_size=6), max_size=4))
def test_words_come_back(columns: list[list[str | None]]) -> None:
    words = Words()
    for column in columns:
        numbers = words.encode(pa.array(column, pa.string()), np.uint8)
        assert [words.texts[n] for n in numbers] == column
    assert len(set(words.texts)) == len(words.texts)


def test_reading_ahead_changes_nothing() -> None:
    assert list(ahead(iter(range(1, 40)))) == list(range(1, 40))
    assert list(ahead([])) == []

    def failing() -> object:
        yield 1
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(ahead(failing()))  # type: ignore[arg-type]
