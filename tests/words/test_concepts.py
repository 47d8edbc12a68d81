"""What is said of images: classes, a user's table, the outer fifths of properties; halves by hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atlas.errors import SettingsError
from atlas.words import concepts
from atlas.words.halves import halve

KEYS = ["dog/1.png", "dog/2.png", "cat/deep/3.png", "4.png"]
ALIASES = [["canis", "0"], ["canis", "0"], ["felis", "1"], []]


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".parquet"])
def test_a_table_names_folders_images_and_classes(tmp_path: Path, suffix: str) -> None:
    rows = [
        ("subject", "concept", "id"), ("dog", "animal", "a1"), ("cat/deep", "animal", "a1"), ("felis", "soft", "s"),
        ("4.png", "crane", "bird"), ("1", "crane", "machine"), ("unknown", "thing", "t"),
    ]  # fmt: skip
    path = tmp_path / f"table{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table(dict(zip(rows[0], map(list, zip(*rows[1:], strict=True)), strict=True))), path)
    else:
        path.write_text("".join(("," if suffix == ".csv" else "\t").join(row) + "\n" for row in rows))
    found = concepts.of_table(concepts.read(path), KEYS, ALIASES, str(path))
    assert found.names == ("animal", "soft", "crane (bird)", "crane (machine)")
    assert found.flags.T.tolist() == [
        [True, True, True, False], [False, False, True, False],
        [False, False, False, True], [False, False, True, False],
    ]  # fmt: skip


def test_a_table_of_other_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"table: expected class folders or image keys, such as 'dog/1\.png'"):
        concepts.of_table([("elk", "animal", "animal")], KEYS, ALIASES, "table")
    with pytest.raises(SettingsError, match="found none"):
        concepts.of_table([], KEYS, ALIASES, "table")
    path = tmp_path / "one.tsv"
    path.write_text("alone\n")
    with pytest.raises(SettingsError, match=r"one\.tsv: row 1: expected a class folder"):
        concepts.read(path)
    with pytest.raises(SettingsError, match=r"none\.tsv: expected a table"):
        concepts.read(tmp_path / "none.tsv")
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(SettingsError, match=r"bad\.parquet: expected a table"):
        concepts.read(tmp_path / "bad.parquet")


def test_classes_several_an_image_and_namesakes() -> None:
    found = concepts.classes([[0], [0, 2], [], [1]], {0: "crane", 1: "crane"})
    assert found.names == ("crane", "crane (class)", "class 2")
    assert found.flags.tolist() == [[True, False, False], [True, False, True], [False] * 3, [False, True, False]]


def test_outer_fifths_and_sectors() -> None:
    values = np.arange(10, dtype=np.float64)
    values[9] = np.nan
    found = concepts.of_properties({
        "brightness": values, "contrast": np.ones(10), "hue": np.array([0.0, 6.2, 1.05, np.nan, 3.14] * 2),
        "edge_orientation": np.array([0.0, 3.1, 1.57, 0.8, 2.4] * 2),
    })  # fmt: skip
    column = dict(zip(found.names, found.flags.T.tolist(), strict=True))
    assert [i for i, held in enumerate(column["dark"]) if held] == [0, 1]
    assert [i for i, held in enumerate(column["bright"]) if held] == [7, 8]
    assert "low contrast" not in column  # all alike: no fifth is outermost
    assert [i for i, held in enumerate(column["red"]) if held] == [0, 1, 5, 6]
    assert [i for i, held in enumerate(column["yellow"]) if held] == [2, 7]
    assert [i for i, held in enumerate(column["cyan"]) if held] == [4, 9]
    assert [i for i, held in enumerate(column["horizontal"]) if held] == [0, 1, 5, 6]
    assert [i for i, held in enumerate(column["vertical"]) if held] == [2, 7]
    assert [i for i, held in enumerate(column["falling diagonal"]) if held] == [3, 8]


def test_the_first_of_equal_concepts_stands_and_rare_ones_go() -> None:
    flags = np.array([[1, 1, 0, 1], [1, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1]], bool)
    all_four = concepts.Concepts(("a", "b", "c", "d"), ("class",) * 4, flags)
    once = concepts.distinct(all_four)
    assert once.names == ("a", "c", "d")
    assert once.same == (("a", "b"),)
    halves = [np.array([0, 2]), np.array([1, 3])]
    assert concepts.common(once, halves, 1).names == ("a",)


def test_names_of_several_kinds_stay_apart() -> None:
    flags = np.ones((2, 1), bool)
    parts = [concepts.Concepts(("red",), (kind,), flags) for kind in ("class", "table", "property", "property")]
    assert concepts.joined(parts).names == ("red", "red (table)", "red (property)", "red (property 2)")


def test_halves_follow_from_contents_alone() -> None:
    contents = [hashlib.sha256(bytes([i])).digest() for i in range(200)]
    a, b = halve(contents, 3)
    assert sorted([*a, *b]) == list(range(200))
    assert 60 < len(a) < 140
    some = list(range(0, 200, 3))
    c, _ = halve([contents[i] for i in some], 3)
    assert [some[i] for i in c] == [i for i in a if i in set(some)]
    assert halve(contents, 4)[0].tolist() != a.tolist()
    twice, _ = halve([contents[0], contents[0]], 3)
    assert len(twice) in (0, 2)
