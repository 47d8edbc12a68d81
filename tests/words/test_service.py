"""Words in the service and on the command line: sections, the map over layers, search, the wall's filter, find."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.app import create_app
from api.export import export
from atlas.store import parts
from atlas.store.sealed import Sealed
from atlas.tables.words import WORDS
from jobs import cli
from tests import constructed
from tests.api.serving import documented, page, serving

A = "/api/v1/atlases/plain"
ROWS = [  # layer, channel, side, rank, words, held_out, held_out_excess, q
    ("conv1", 0, "max", 0, "bear", 0.9, 20.0, 0.001),
    ("conv1", 0, "max", 1, "bear OR ape", 0.8, 10.0, 0.01),
    ("conv1", 0, "min", 0, "ape", 0.2, 1.0, 0.6),
    ("conv1", 1, "max", 0, "bear AND NOT ape", 0.95, 30.0, 0.001),
    ("conv1", 2, "max", 0, None, None, None, None),
    ("fc", 1, "min", 0, "dark bear", 0.5, 5.0, 0.04),
]


def row(layer: str, channel: int, side: str, rank: int, words: Any, held: Any, excess: Any, q: Any) -> dict[str, Any]:
    figures = dict.fromkeys(("auprc", "base_rate", "excess", "correlation", "auc", "p"), None if words is None else 0.5)
    return {
        "layer": layer, "channel": channel, "side": side, "rank": rank, "words": words, **figures, "held_out": held,
        "held_out_excess": excess, "q": q, "n": None if words is None else 9, "length": None if words is None else 1,
        "iou": None,
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = constructed.write(
        tmp_path_factory.mktemp("words") / "plain",
        constructed.Shape(name="plain", images=12, classes=("ape", "bear", "cat")),
    )
    sealed = Sealed(str(path))
    part = parts.folder_of(sealed.folder, "words")
    target = path / "parts/words"
    target.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([row(*each) for each in ROWS], schema=WORDS.columns), target / "words.parquet")
    parts.seal_part(part, {
        "name": "words", "part": "words", "version": 1, "base": sealed.digest, "settings": {"identity": {}},
        "summary": {"named": 4}, "created": "2026-01-01T00:00:00+00:00", "timings": {}, "versions": {},
    })  # fmt: skip
    return path


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with serving(create_app([folder])) as address, httpx.Client(base_url=address, timeout=60) as opened:
        yield opened


def test_a_neuron_says_its_words_and_whether_they_beat_chance(client: httpx.Client) -> None:
    said = documented(client, f"{A}/neurons/conv1/0", "neuron")["sections"]["words"]
    assert said["named"]
    assert [(w["side"], w["words"], w["stands"]) for w in said["items"]] == [
        ("max", "bear", True), ("max", "bear OR ape", True), ("min", "ape", False),
    ]  # fmt: skip
    assert not documented(client, f"{A}/neurons/conv1/2", "neuron")["sections"]["words"]["named"]
    assert "No words beat chance" in page(client, "/plain/neurons/conv1/2")
    assert "(not beyond chance)" in page(client, "/plain/neurons/conv1/0")
    assert "words" not in documented(client, f"{A}/neurons/fc/0", "neuron")["sections"]


def test_a_class_says_who_knows_it(client: httpx.Client) -> None:
    said = documented(client, f"{A}/classes/1", "class")["sections"]["known_by"]
    assert [(k["neuron"]["channel"], k["words"]) for k in said["items"]] == [
        (1, "bear AND NOT ape"),
        (0, "bear"),
    ]  # fmt: skip - each neuron once, by its best formula
    assert "bear AND NOT ape" in page(client, "/plain/classes/1")
    assert "known_by" not in documented(client, f"{A}/classes/2", "class")["sections"]


def test_a_layer_says_its_words_and_its_wall_can_be_filtered(client: httpx.Client) -> None:
    said = documented(client, f"{A}/layers/conv1", "layer")["sections"]["words"]
    assert {w["words"] for w in said["items"]} == {"bear", "bear OR ape", "bear AND NOT ape"}
    wall = documented(client, f"{A}/layers/conv1/neurons?words=bear", "neurons")
    assert [tile["channel"] for tile in wall["items"]] == [1, 0]
    assert wall["total"] == 2
    assert documented(client, f"{A}/layers/conv1/neurons?words=nothing", "neurons")["items"] == []
    assert 'value="bear"' in page(client, "/plain/layers/conv1?words=bear")


def test_words_over_layers(client: httpx.Client) -> None:
    said = documented(client, f"{A}/words?q=bear", "words")
    found = {layer["layer"]: (layer["neurons"], layer["best"]) for layer in said["layers"]}
    assert found["conv1"] == (3, 30.0)
    assert found["fc"] == (1, 5.0)
    assert [(f["neuron"]["layer"], f["neuron"]["channel"]) for f in said["items"]] == [
        ("conv1", 1), ("conv1", 0), ("conv1", 0), ("fc", 1),
    ]  # fmt: skip
    assert said["concepts"] == ["ape", "bear", "dark bear"]
    assert "Where is “bear”?" in page(client, "/plain/words?q=bear")
    assert "No neuron stands for that" in page(client, "/plain/words?q=zebra")


def test_search_finds_neurons_by_words_with_why(client: httpx.Client) -> None:
    said = documented(client, f"{A}/search?q=bear", "search")
    neurons = [hit for hit in said["items"] if hit["kind"] == "neuron"]
    assert [hit["name"] for hit in neurons] == ["conv1 1", "conv1 0", "conv1 0", "fc 1"]
    assert neurons[0]["detail"] == ("bear AND NOT ape: precision 0.95 on held-out images, 30.0 deviations above chance")
    assert [hit["name"] for hit in said["items"] if hit["kind"] == "class"] == ["bear"]


def test_find_on_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["find", str(folder), "bear", "-k", "2"]) == 0
    said = capsys.readouterr().out
    assert "conv1 1" in said
    assert "bear AND NOT ape" in said
    assert "fc 1" not in said
    assert cli.main(["find", str(folder), "zebra"]) == 0
    assert "no neuron stands for 'zebra'" in capsys.readouterr().out
    bare = constructed.write(tmp_path / "bare")
    assert cli.main(["find", str(bare), "bear"]) == 2
    assert "no part words" in capsys.readouterr().err


def test_a_static_site_holds_the_words(folder: Path, tmp_path: Path) -> None:
    export(folder, tmp_path / "site")
    assert (tmp_path / "site/plain/words.html").exists() or list((tmp_path / "site").rglob("words.html"))
