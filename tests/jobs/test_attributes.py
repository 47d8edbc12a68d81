"""The part `attributes` from the command to its tables: one answer, kills, replays, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import atlas
from atlas.store import parts
from atlas.store.sealed import Sealed
from jobs import cli
from jobs.add import add


@pytest.fixture
def base(tiny_atlas: Path, tmp_path: Path) -> Path:
    """A copy of the tiny atlas."""
    shutil.copytree(tiny_atlas, tmp_path / "atlas", ignore=shutil.ignore_patterns("parts"))
    return tmp_path / "atlas"


@pytest.fixture
def table(base: Path, tmp_path: Path) -> str:
    """A user's table: a number, a word, people's answers; ten images are not in it."""
    images = pq.read_table(base / "images.parquet").slice(10).to_pylist()
    rows = [
        {"key": r["key"], "size": r["width"] * r["height"], "kind": r["key"][-3:], "said": r["class_name"]}
        for r in images
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "table.parquet")
    return str(tmp_path / "table.parquet")


def made(base: Path) -> parts.Part:
    sealed = Sealed(str(base))
    return parts.look(sealed.folder, sealed.digest, "attributes")


def test_from_the_command_to_the_pages_figures(
    base: Path, table: str, embedded_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["add", "attributes", str(base), "--table", table, "--human", "said"]) == 0
    part = made(base)
    assert part.state == "sealed"
    rows = {row["attribute"]: row for row in part.table("attributes").to_pylist()}
    images = pq.read_table(base / "images.parquet").to_pylist()
    assert {"brightness", "hue", "width", "aspect", "size", "kind"} <= rows.keys()
    assert rows["width"]["n"] == len(images)
    assert rows["brightness"]["n"] == 60  # of the response sample
    assert rows["size"]["n"] == len(images) - 10
    everything = next(row for row in part.table("accuracy").to_pylist() if row["attribute"] == "(all)")
    assert everything["top1"] == sum(r["predicted"] == r["class_id"] for r in images) / len(images)
    assert (everything["human_top1"], everything["answered"]) == (1.0, len(images) - 10)
    hard, people = part.about["summary"]["in_words"]
    assert hard.startswith("finds hard: ")
    assert people.startswith("people: 100.0% of 140 images, the network ")
    capsys.readouterr()
    assert cli.main(["info", str(base)]) == 0
    said = capsys.readouterr().out
    assert "part         attributes: attributes 12, significant " in said
    assert f"\n               {hard}\n" in said
    assert cli.main(["verify", str(base)]) == 0
    found = atlas.open(str(base)).query("SELECT count(*) FROM attributes.accuracy WHERE attribute = 'size'").fetchall()
    assert found == [(10,)]


def test_one_answer(base: Path, tmp_path: Path, embedded_ray: None) -> None:
    shutil.copytree(base, tmp_path / "other")
    digests = {add(str(base), "attributes", workers="1"), add(str(tmp_path / "other"), "attributes", workers="2")}
    assert len(digests) == 1


def test_replay(base: Path, table: str, embedded_ray: None, capsys: pytest.CaptureFixture[str]) -> None:
    add(str(base), "attributes", table=table)
    assert cli.main(["verify", str(base), "--replay", "5"]) == 0
    assert "part attributes: replay: not checked: say where it lies now, with --table" in capsys.readouterr().out
    assert cli.main(["verify", str(base), "--replay", "5", "--table", table]) == 0
    assert "part attributes: replay: 1" in capsys.readouterr().out
    again: dict[str, Any] = json.loads((base / "parts/attributes/part.json").read_text())
    assert again["settings"]["identity"]["table"]
    rows = pq.read_table(table).to_pylist()
    pq.write_table(pa.Table.from_pylist(rows[:50]), table)
    assert cli.main(["verify", str(base), "--replay", "5", "--table", table]) == 2


def test_refused_before_any_work(base: Path, table: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words, why in (
        (["--human", "said"], "--human said: expected a table"),
        (["--table", "none.parquet"], "--table none.parquet"),
        (["--table", table, "--human", "size"], "is no class"),
    ):
        assert cli.main(["add", "attributes", str(base), *words]) == 2
        error = capsys.readouterr().err
        assert why in error
        assert error.count("\n") == 1
    assert not (base / "parts").exists()
