"""Parts beside the base: by name in DuckDB, row by row, left out by name where they are not sound."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from atlas.errors import NotFoundError
from atlas.read.audit import audit
from atlas.read.catalog import Atlas
from tests import constructed, constructed_parts


@pytest.fixture(autouse=True)
def toys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        constructed_parts.register(patch)
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return constructed.write(tmp_path / "base")


def test_tables_of_parts_have_their_names(folder: Path) -> None:
    constructed_parts.add(folder, "toy")
    constructed_parts.add(folder, "toy@b")
    opened = Atlas(folder)
    assert [(part.name, part.state) for part in opened.parts] == [("toy", "sealed"), ("toy@b", "sealed")]
    assert opened.query('SELECT toy FROM "toy@b".toys WHERE channel = 0 AND rank = 0').fetchall() == [
        ("bear of toy@b",)
    ]
    both = opened.query("SELECT part, toy FROM toys WHERE channel = 0 AND rank = 0 ORDER BY part").fetchall()
    assert both == [("toy", "bear of toy"), ("toy@b", "bear of toy@b")]
    assert opened.toys.count("*").fetchall() == [(6,)]
    assert opened.query("SELECT toy FROM toys JOIN neurons USING (layer, channel)").count("*").fetchall() == [(6,)]


def test_without_parts_their_tables_are_empty(folder: Path) -> None:
    assert Atlas(folder).query("SELECT part, toy FROM toys").fetchall() == []


def test_rows_of_one_thing(folder: Path) -> None:
    constructed_parts.add(folder, "toy")
    constructed_parts.add(folder, "toy@b")
    found = Atlas(folder).store.parts
    rows = found.rows("toys", {"layer": "conv1", "channel": 0})
    assert [(row["part"], row["rank"]) for row in rows] == [("toy", 0), ("toy", 1), ("toy@b", 0), ("toy@b", 1)]
    place = rows[2]["portrait"]
    body, kind = found.packs("toy@b").read(place["pack"], place["offset"], place["length"])
    assert (body[:4], kind) == (b"\x89PNG", "image/png")
    assert found.rows("toys", {"layer": "conv1", "channel": 2}) == []
    assert [row["count"] for row in found.rows("toy_boxes", {"image_id": 5})] == [1, 1]  # not in the order of the file
    with pytest.raises(NotFoundError):
        found.rows("toys", {"layer": "conv1", "channel": 99})
    table = found.table("toy_boxes")
    assert table.column_names == ["part", "image_id", "count", "fill"]
    assert len(table) == 4


def test_begun_and_damaged_parts_are_left_out_by_name(folder: Path) -> None:
    constructed_parts.add(folder, "toy")
    constructed_parts.add(folder, "toy@begun", sealed=False)
    broken = constructed_parts.add(folder, "toy@broken") / "toys.parquet"
    body = bytearray(broken.read_bytes())
    body[len(body) // 2] ^= 1
    broken.write_bytes(bytes(body))
    other = constructed_parts.add(folder, "toy@other") / "part.json"
    other.write_text(json.dumps(json.loads(other.read_text()) | {"base": "0" * 64}))
    lost = constructed_parts.add(folder, "toy@lost")
    (lost / "pictures/toy-000000.tar").unlink()
    opened = Atlas(folder)
    store = opened.store
    found = {part.name: (part.state, part.why) for part in opened.parts}
    assert found["toy"] == ("sealed", None)
    assert found["toy@begun"] == ("begun", None)
    assert found["toy@broken"][0] == found["toy@other"][0] == found["toy@lost"][0] == "damaged"
    assert "toys.parquet is damaged" in str(found["toy@broken"][1])
    assert "pictures/toy-000000.tar is missing" in str(found["toy@lost"][1])
    assert {row["part"] for row in store.parts.rows("toys", {"layer": "conv1", "channel": 0})} == {"toy"}
    assert {row[0] for row in opened.query("SELECT part FROM toys").fetchall()} == {"toy"}
    with pytest.raises(NotFoundError, match=r"toys\.parquet is damaged"):
        store.parts.packs("toy@broken")
    assert store.neurons.get(0).images == 40  # the base serves


def test_a_part_that_this_version_does_not_know_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constructed_parts.add(folder, "toy")
    monkeypatch.undo()
    with pytest.MonkeyPatch.context() as patch:
        from atlas import tables

        patch.setattr(tables, "TABLES", tuple(t for t in tables.TABLES if t.part != "toy"))
        (part,) = Atlas(folder).parts
        assert part.state == "damaged"
        assert "knows no part 'toy'" in str(part.why)


def test_keys_references_and_rules_of_a_part_are_checked(folder: Path) -> None:
    constructed_parts.add(folder, "toy")
    assert audit(str(folder)).ok
    row = {"layer": "conv1", "channel": 0, "rank": 0, "toy": "", "portrait": {"why": "none"}}
    constructed_parts.add(folder, "toy@bad", toys=[row, row, row | {"layer": "conv9"}])
    problems = audit(str(folder)).problems
    assert [p for p in problems if "is there twice" in p and p.startswith("part toy@bad: toys")]
    assert [p for p in problems if "('conv9', 0) is not in neurons" in p]
    assert [p for p in problems if "a toy has no name" in p]
    assert all(p.startswith("part toy@bad") for p in problems)
