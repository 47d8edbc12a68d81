"""What is hard, on pages and in JSON: the part's numbers, their curves, a class's surest and mistaken images."""

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
from api.html import charts
from api.html import formatting as words
from atlas.attributes.part import make
from atlas.attributes.settings import AttributesSettings
from atlas.store import parquet, parts
from atlas.store.sealed import Sealed
from tests import constructed
from tests.api.serving import documented, page, serving

A = "/api/v1/atlases/plain"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An atlas of 200 images, whose width decides; people named them all."""
    path = constructed.write(
        tmp_path_factory.mktemp("attributes") / "plain", constructed.Shape(name="plain", images=200, classes=("a", "b"))
    )
    sealed = Sealed(str(path))
    images = sealed.table("images")
    rows = images.to_pylist()
    for row in rows:
        row["predicted"] = row["class_id"] if row["width"] > 50 else 1 - row["class_id"]
    table = path.parent / "table.parquet"
    people = [{"key": r["key"], "said": r["class_id"], "kind": "odd" if r["image_id"] % 2 else "even"} for r in rows]
    pq.write_table(pa.Table.from_pylist(people), table)
    made = make(pa.Table.from_pylist(rows, images.schema), None, AttributesSettings(str(table), "said"), ["a", "b"])
    part = parts.folder_of(sealed.folder, "attributes")
    for name, rows_of in made.items():
        parquet.write(part, name, rows_of)
    parts.seal_part(part, {
        "name": "attributes", "part": "attributes", "version": 1, "base": sealed.digest, "settings": {"identity": {}},
        "summary": {"in_words": ["finds hard: width"]}, "created": "2026-01-01T00:00:00+00:00", "timings": {},
        "versions": {},
    })  # fmt: skip
    return path


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with serving(create_app([folder])) as address, httpx.Client(base_url=address, timeout=60) as opened:
        yield opened


def test_all_attributes_the_significant_first(client: httpx.Client, folder: Path) -> None:
    said = documented(client, f"{A}/attributes", "attributes")
    first = said["items"][0]
    assert (first["attribute"], first["significant"]) == ("width", True)
    stored = pq.read_table(folder / "parts/attributes/accuracy.parquet").to_pylist()
    mine = [row for row in stored if row["attribute"] == "width"]
    assert [(b["n"], b["top1"], b["top1_low"]) for b in first["bins"]] == [
        (row["n"], row["top1"], row["top1_low"]) for row in mine
    ]
    assert said["everything"]["human_top1"] == 1.0
    text = page(client, "/plain/attributes")
    assert "People take 100" in text
    assert text.count('<figure class="curve">') == len(said["items"])


def test_the_atlas_shows_what_matters_most(client: httpx.Client) -> None:
    said = documented(client, A, "atlas")["sections"]["attributes"]
    assert next(curve["attribute"] for curve in said["items"]) == "width"
    assert 'id="section-attributes"' in page(client, "/plain")


def test_a_class_shows_its_surest_and_its_mistaken_images(client: httpx.Client, folder: Path) -> None:
    said = documented(client, f"{A}/classes/1", "class")["sections"]["sureness"]
    rows = [row for row in pq.read_table(folder / "images.parquet").to_pylist() if row["class_id"] == 1]
    wrong = sorted((r for r in rows if r["predicted"] != 1), key=lambda r: (-r["loss"], r["image_id"]))
    right = sorted((r for r in rows if r["predicted"] == 1), key=lambda r: (-r["probability"], r["image_id"]))
    assert [item["image_id"] for item in said["wrong"]] == [row["image_id"] for row in wrong[:12]]
    assert said["wrong_total"] == len(wrong)
    assert [item["image_id"] for item in said["surest"]] == [row["image_id"] for row in right[:12]]
    width = next(each for each in said["differences"] if each["attribute"] == "width")
    assert width["effect"] == -1.0
    text = page(client, "/plain/classes/1")
    assert "Less width" in text
    assert page(client, said["wrong_page"]).count("Taken") >= 1


def test_an_atlas_without_the_part_says_how_to_make_it(tmp_path: Path) -> None:
    folder = constructed.write(tmp_path / "plain", constructed.Shape(name="plain", images=12))
    with serving(create_app([folder])) as address, httpx.Client(base_url=address) as client:
        assert documented(client, f"{A}/attributes", "attributes")["items"] == []
        assert "neuron-atlas add attributes" in page(client, "/plain/attributes")
        assert "attributes" not in documented(client, A, "atlas")["sections"]
        assert documented(client, f"{A}/classes/1", "class")["sections"]["sureness"]["differences"] == []


def test_a_static_site_holds_the_curves(folder: Path, tmp_path: Path) -> None:
    export(folder, tmp_path / "site")
    assert '<figure class="curve">' in (tmp_path / "site/attributes.html").read_text()


def bin_of(low: float, high: float, top1: float, interval: tuple[float, float]) -> dict[str, Any]:
    return {
        "low": low, "high": high, "value": None, "top1": top1, "top1_low": interval[0], "top1_high": interval[1],
        "top1_within_class": None, "human_top1": None,
    }  # fmt: skip


def test_a_curve_by_hand() -> None:
    bins = [bin_of(0, 1, 0.5, (0.4, 0.6)), bin_of(1, 2, 1.0, (0.9, 1.0))]
    assert charts.shared_axis([{"bins": bins}]) == (0.4, 1.0)
    drawn = charts.curve(bins, 0.0, 1.0)
    assert drawn["points"] == [(80.0, 50.0, 60.0, 40.0), (240.0, 0.0, 10.0, 0.0)]
    assert drawn["line"] == "M80.0 50.0L240.0 0.0"
    assert drawn["within"] == drawn["people"] == ""
    assert words.span(bins[1], "number") == "1 to 2"
    assert words.span(bin_of(-0.1, 0.1, 1, (0, 1)), "angle") == "354° to 6°"
