"""The index of words, against reading every row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from atlas.words.find import WordIndex
from atlas.words.formula import Formula, affirmed


def table(rows: list[tuple[str | None, float | None, float | None]]) -> pa.Table:
    words, excess, q = zip(*rows, strict=True)
    return pa.table({
        "words": pa.array(words, pa.string()), "held_out_excess": pa.array(excess, pa.float64()),
        "q": pa.array(q, pa.float64()),
    })  # fmt: skip


INDEX = WordIndex(
    table([
        ("dog", 3.0, 0.01),
        ("dog AND NOT terrier", 9.0, 0.01),
        ("hunting dog", 20.0, 0.01),
        ("dog", 5.0, 0.2),
        ("cat OR dog", 4.0, 0.05),
        (None, None, None),
        ("terrier", 1.0, 0.0),
        ('"rock AND roll" OR dogfish', 2.0, 0.0),
    ])
)  # fmt: skip


@pytest.mark.parametrize(
    ("q", "rows"),
    [
        ("dog", [1, 4, 0, 2, 7]),
        ("DOG", [1, 4, 0, 2, 7]),
        ("dog and not terrier", [1]),
        ("terrier", [6]),
        ("hunt do", [2]),
        ("rock and roll", [7]),
        ("bird", []),
        ("", []),
        ("  ", []),
        ("???", []),
        ("and", []),
    ],
)
def test_what_is_found_in_which_order(q: str, rows: list[int]) -> None:
    assert [found.row for found in INDEX.find(q)] == rows
    assert [found.row for found in INDEX.find(q, 1)] == rows[:1]


def test_rows_of_a_concept() -> None:
    assert INDEX.rows("dog").tolist() == [1, 4, 0]
    assert INDEX.rows("no such").tolist() == []
    assert "rock and roll" in INDEX.concepts


def test_an_empty_table() -> None:
    assert WordIndex(table([(None, None, None)])).find("dog") == []


NAMES = ["dog", "hunting dog", "rock AND roll", "crane (bird)", "OR"]


@pytest.mark.parametrize("seed", range(20))
def test_written_formulas_are_read_again(seed: int) -> None:
    source = np.random.default_rng(seed)
    length = int(source.integers(1, 4))
    formula = Formula(tuple(source.integers(0, 5, length).tolist()), tuple(source.integers(0, 3, length - 1).tolist()))
    assert affirmed(formula.text(NAMES)) == [NAMES[c] for c in formula.affirmed()]


def test_formulas_by_hand() -> None:
    assert Formula((0, 1), (1,)).text(NAMES) == "dog AND NOT hunting dog"
    assert Formula((0, 1, 2), (2, 0)).text(NAMES) == '(dog OR hunting dog) AND "rock AND roll"'
    assert Formula((0, 1, 0), (0, 1)).text(NAMES) == "dog AND hunting dog AND NOT dog"
    flags = np.array([[1, 0], [1, 1], [0, 1], [0, 0]], bool)
    assert Formula((0, 1), (0,)).holds(flags).tolist() == [False, True, False, False]
    assert Formula((0, 1), (1,)).holds(flags).tolist() == [True, False, False, False]
    assert Formula((0, 1), (2,)).holds(flags).tolist() == [True, True, True, False]


def test_a_large_index_finds_what_reading_every_row_finds() -> None:
    source = np.random.default_rng(0)
    names = [f"word{i} thing{i % 7}" for i in range(200)]
    rows = [
        (names[i], float(e), 0.01) for i, e in zip(source.integers(0, 200, 9000), source.normal(size=9000), strict=True)
    ]
    for wanted in ("thing3", "thing", "word1 thing", "w"):
        found = WordIndex(table(rows)).find(wanted, 30)
        expected = sorted(
            (-e, row)
            for row, (name, e, _) in enumerate(rows)
            if all(any(part.startswith(word) for part in name.split()) for word in wanted.split())
        )
        assert [(-f.excess, f.row) for f in found] == expected[:30]
