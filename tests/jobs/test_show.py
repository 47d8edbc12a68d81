"""What a command prints of an atlas: JSON that is JSON, names that are shown and not obeyed, memory that is bounded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs import cli
from tests import constructed

ESCAPE = "\x1b[2Jgone\x9b31m\u202e"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    layers = ((f"conv{ESCAPE}", 3), ("fc", 2))
    shape = constructed.Shape(name=f"odd{ESCAPE}", layers=layers, images=12, classes=(f"ape{ESCAPE}", "bear"))
    return constructed.write(tmp_path_factory.mktemp("shown") / "atlas", shape)


def test_json_is_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sql = "SELECT 'NaN'::DOUBLE AS a, 1 AS a, 2 AS a_2, 'inf'::FLOAT AS b, content, [{'x': 'nan'::FLOAT}] AS c"
    assert cli.main(["query", str(folder), f"{sql} FROM images LIMIT 1", "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))
    assert len(row.pop("content")) == 64
    assert row == {"a": None, "a_1": 1, "a_2": 2, "b": None, "c": [{"x": None}]}


@pytest.mark.parametrize(
    "words",
    [
        ["info"], ["layers"], ["verify"], ["query", "SELECT class_name, * FROM images, layers"],
        ["query", "SELECT layer FROM layers", "--format", "json"], ["query", f"SELECT {ESCAPE}"],
        ["neighbours", "3"], ["picture", "--kind", "neuron", "--layer", ESCAPE, "--channel", "0", "-o", "x.png"],
    ],
)  # fmt: skip
def test_names_are_shown(words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main([words[0], str(folder), *words[1:]])
    printed = "".join(capsys.readouterr())
    assert printed
    assert not {"\x1b", "\x9b", "\u202e"} & set(printed)


def test_memory_is_bounded(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEURON_ATLAS_MEMORY", "1GB")  # put back what the flag sets
    big = "SELECT list(range) FROM range(100000000)"
    assert cli.main(["query", str(folder), big, "--memory", "50MB"]) == 2
    assert "neuron-atlas: query: Out of Memory" in capsys.readouterr().err
    assert cli.main(["query", str(folder), "SELECT 1", "--memory", "much"]) == 2
    assert "expected a size, as 2GB" in capsys.readouterr().err
