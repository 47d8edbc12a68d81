"""Two atlases side by side: the matrix, matched and unmatched walls, flips, the same neuron in the other one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from api.app import create_app
from api.export import export
from atlas import tables
from atlas.store import parquet, parts
from atlas.store.sealed import Sealed
from tests import constructed
from tests.api.serving import documented, page, serving

A = "/api/v1/atlases/plain"
PART = "compare@beside"


def rows(number: int) -> dict[str, list[dict[str, Any]]]:
    """Of conv1, channel 0 and 1 are matched beyond chance (1 in fc), 2 is not, 3 never changes."""
    match = [("conv1", 0, 0.9, True), ("fc", 1, 0.8, False), ("conv1", 2, 0.1, False), (None, None, None, False)]
    return {
        "matches": [
            {"layer": "conv1", "channel": channel, "other_layer": layer, "other_channel": other, "correlation": value,
             "mutual": mutual, "null95": 0.3}
            for channel, (layer, other, value, mutual) in enumerate(match)
        ],
        "layers_cka": [
            {"layer": layer, "other_layer": other, "cka": cka, "low": cka - 0.1, "high": cka}
            for layer, other, cka in (("conv1", "conv1", 0.75), ("conv1", "fc", 0.25))
        ],
        "flips": [
            {"image_id": 1 + i, "other_image_id": i, "predicted": i % 3, "other_predicted": 1, "class_id": i % 3}
            for i in range(number)
            if i % 3 != 1
        ],
        "class_changes": [
            {"class_id": 1, "n": 9, "accuracy": 0.5, "other_accuracy": 0.75, "agreement": 0.5, "gained": 3, "lost": 1,
             "p": 0.6},
            {"class_id": 2, "n": 9, "accuracy": 0.5, "other_accuracy": 0.5, "agreement": 1.0, "gained": 0, "lost": 0,
             "p": 1.0},
        ],
    }  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("comparisons")
    made = [
        constructed.write(
            root / name, constructed.Shape(name=name, images=90, classes=("ape", "bear", "cat"), seed=seed)
        )
        for seed, name in enumerate(("plain", "beside"))
    ]
    base, other = Sealed(str(made[0])), Sealed(str(made[1]))
    part = parts.folder_of(base.folder, PART)
    given = rows(90)
    for table in tables.of_part("compare"):
        parquet.write(part, table.name, pa.Table.from_pylist(given.get(table.name, []), table.columns))
    parts.seal_part(part, {
        "name": PART, "part": "compare", "version": 1, "base": base.digest,
        "settings": {"identity": {"to": other.digest}}, "summary": {"flips": 60, "in_words": ["answers: 60 differ"]},
        "created": "2026-01-01T00:00:00+00:00", "timings": {}, "versions": {},
    })  # fmt: skip
    return made


@pytest.fixture(scope="module")
def client(folders: list[Path]) -> Iterator[httpx.Client]:
    with serving(create_app(folders)) as address, httpx.Client(base_url=address, timeout=60) as opened:
        yield opened


def test_a_comparisons_figure_is_its_matrix_in_words(client: httpx.Client) -> None:
    text = page(client, f"/plain/compare/{PART}?embed=1")
    assert 'class="matrix"' in text
    assert "Answers: 60 differ" in text
    assert f'<h1><a href="/plain/compare/{PART}">{PART} · plain</a></h1>' in text
    assert not [rest for rest in ("<header", "<nav", "<script", "answered differently") if rest in text]
    assert 'property="og:image" content="http' in text


def test_the_matrix_leads_to_the_matched_walls(client: httpx.Client) -> None:
    said = documented(client, f"{A}/compare/{PART}", "comparison")
    assert (said["other"], said["other_page"]) == ("beside", "/beside")
    assert [(c["other_layer"], c["cka"], c["matched"]) for c in said["cells"]] == [("conv1", 0.75, 1), ("fc", 0.25, 1)]
    text = page(client, said["page"])
    assert "Answers: 60 differ" in text
    wall = said["cells"][1]["page"]
    assert f'href="{wall}"' in text
    assert "correlation 0.80" in page(client, wall)
    [pair] = documented(client, wall.replace("/plain", A, 1), "walls")["items"]
    assert (pair["neuron"]["channel"], pair["other"]["layer"], pair["other"]["channel"]) == (1, "fc", 1)
    assert pair["other"]["page"] == "/beside/neurons/fc/1"
    assert client.get(f"{A}/compare/{PART}/fc/conv1").status_code == 404


def test_unmatched_neurons_of_either(client: httpx.Client) -> None:
    said = documented(client, f"{A}/compare/{PART}", "comparison")
    assert [(t["layer"], t["channel"]) for t in said["unmatched"]["items"]] == [("conv1", 2), ("conv1", 3)]
    there = {(t["layer"], t["channel"]) for t in said["other_unmatched"]["items"]}
    assert said["other_unmatched"]["total"] == len(there) == 13
    assert not there & {("conv1", 0), ("fc", 1)}
    assert ("conv1", 2) in there


def test_flips_have_both_predictions(client: httpx.Client) -> None:
    said = documented(client, f"{A}/compare/{PART}/flips?limit=40", "flips")
    assert said["total"] == 60
    assert [flip["right"] for flip in said["items"][:2]] == ["here", "here"]
    assert said["items"][0]["other_predicted_name"] == "bear"
    more = documented(client, f"{A}/compare/{PART}/flips?limit=40&cursor={said['next']}", "flips")
    assert len(more["items"]) == 20
    assert "beside: bear" in page(client, f"/plain/compare/{PART}/flips")
    assert [k["class_id"] for k in documented(client, f"{A}/compare/{PART}", "comparison")["classes"]] == [1]


def test_a_neuron_stands_beside_its_match(client: httpx.Client) -> None:
    [match] = documented(client, f"{A}/neurons/conv1/0", "neuron")["sections"]["matches"]["items"]
    assert match["beyond"]
    assert len(match["neuron"]["pictures"]) == len(match["other"]["pictures"]) == 9
    assert match["other"]["page"] == "/beside/neurons/conv1/0"
    assert 'href="/beside/neurons/conv1/0"' in page(client, "/plain/neurons/conv1/0")
    assert "No match beyond chance" in page(client, "/plain/neurons/conv1/2")
    assert "never change" in page(client, "/plain/neurons/conv1/3")
    assert documented(client, A, "atlas")["sections"]["comparisons"]["items"][0]["in_words"] == ["answers: 60 differ"]


def test_without_the_other_atlas_names_stand_for_its_neurons(folders: list[Path], tmp_path: Path) -> None:
    with serving(create_app(folders[:1])) as address, httpx.Client(base_url=address) as client:
        said = documented(client, f"{A}/compare/{PART}", "comparison")
        assert said["other"] is said["other_unmatched"] is None
        assert "Serve both atlases" in page(client, said["page"])
        [match] = documented(client, f"{A}/neurons/conv1/0", "neuron")["sections"]["matches"]["items"]
        assert match["other"] is None
        assert client.get(f"{A}/compare/words").status_code == 404
    export(folders[0], tmp_path / "site")
    assert (tmp_path / f"site/compare/{PART}.html").exists()
    assert len(list((tmp_path / f"site/compare/{PART}").rglob("*.html"))) == 3
