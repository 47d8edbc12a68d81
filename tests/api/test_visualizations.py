"""Optimised pictures on the pages: beside the natural nine, with their numbers; score and probability of a class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from api import views
from api.app import create_app
from api.views.sectioned import model
from atlas.store import layout, parquet, parts, seal
from atlas.store.files import Folder
from atlas.store.pictures import PackWriter, missing
from atlas.tables.visualizations import SENSITIVITY, VISUALIZATIONS
from atlas.visualize import files
from tests import constructed
from tests.api.serving import serving

A = "/api/v1/atlases/plain"
PICTURE = files.encode(np.full((5, 7, 3), 90, np.uint8))


def row(pack: PackWriter, target: str, layer: str, channel: int, **more: Any) -> dict[str, Any]:
    shown = missing("nothing in the input changes its response") if more.get("response", 0) is None else None
    return {
        "target": target, "layer": layer, "channel": channel, "sign": 1, "method": "fourier", "objective": "response",
        "repeat": 0, "steps": 8, "response": 4.0, "attained": 2.0, **more,
        "picture": shown or pack.add(f"{layer}-{channel}-{len(more)}.webp", PICTURE),
    }  # fmt: skip


def add_part(base: Path) -> None:
    """A part with pictures of two neurons and of one class."""
    folder = parts.folder_of(Folder(str(base)), "visualizations")
    about = seal.read_about(Folder(str(base)))
    last = parquet_layers(base)[-1]
    with folder.writing(layout.pack_path("visualizations-000000.tar")) as stream:
        pack = PackWriter(stream, "visualizations-000000.tar")
        worth = {"choice": 0.75, "choice_natural": 0.8, "choice_other": 0.5, "choice_shuffled": 0.4, "path": 0.9}
        rows = [
            row(pack, "neuron", "conv1", 0, **worth),
            row(pack, "neuron", "conv1", 0, sign=-1, attained=None),
            row(pack, "neuron", "conv1", 1, response=None, attained=None),
            row(pack, "class", last, 0, method="l2", probability=0.99, predicted=True, transfer=0.25),
            row(pack, "class", last, 0, method="l2", objective="probability", probability=0.1, predicted=False),
        ]  # fmt: skip
        pack.close()
    for table, found in ((VISUALIZATIONS, rows), (SENSITIVITY, [])):
        made = pa.Table.from_pylist(sorted(found, key=lambda r: r["target"] == "neuron"), schema=table.columns)
        parquet.write_batches(folder, table.path, table.columns, [made])
    parts.seal_part(
        folder,
        {"name": "visualizations", "part": "visualizations", "version": 1, "base": about["digest"],
         "settings": {"identity": {}}, "summary": {"pictures": 4}, "created": "", "timings": {}, "versions": {}},
    )  # fmt: skip


def parquet_layers(base: Path) -> list[str]:
    from atlas.store.sealed import Sealed

    return Sealed(str(base)).layers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = constructed.write(tmp_path_factory.mktemp("seen") / "plain", constructed.Shape(name="plain", images=12))
    add_part(path)
    return path


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with serving(create_app([folder])) as address, httpx.Client(base_url=address) as opened:
        yield opened


def get(client: httpx.Client, path: str) -> Any:
    answer = client.get(path)
    assert answer.status_code == 200, (path, answer.text)
    return answer.json()


def test_a_neuron_has_its_pictures_beside_its_natural_nine(client: httpx.Client) -> None:
    said = get(client, f"{A}/neurons/conv1/0")
    view = next(view for view in views.VIEWS if view.name == "neuron")
    TypeAdapter(model(view)).validate_python(said, strict=True)
    most, least = said["sections"]["visualizations"]["items"]
    assert (most["sign"], most["attained"], least["sign"], least["attained"]) == (1, 2.0, -1, None)
    body = client.get(most["picture"]["url"])
    assert body.content == PICTURE
    page = client.get("/plain/neurons/conv1/0").text
    assert page.count(most["picture"]["url"]) == 1
    assert "2 × natural" in page or "2.0 × natural" in page or "2.00 × natural" in page
    assert "Chance" in page or "chance is a half" in page
    assert 'id="section-visualizations"' in page


def test_what_has_no_picture_says_why(client: httpx.Client) -> None:
    assert "nothing in the input changes its response" in client.get("/plain/neurons/conv1/1").text


def test_a_class_shows_score_against_probability(client: httpx.Client) -> None:
    said = get(client, f"{A}/classes/0")["sections"]["visualizations"]["items"]
    assert [(v["objective"], v["predicted"]) for v in said] == [("response", True), ("probability", False)]
    page = client.get("/plain/classes/0").text
    assert page.index("By score") < page.index("By probability")
    assert "another network" in page
    assert "not classified as it" in page
    assert "visualizations" not in get(client, f"{A}/classes/1")["sections"]


def test_a_layer_has_a_wall_of_them(client: httpx.Client) -> None:
    said = get(client, f"{A}/layers/conv1")["sections"]["visualizations"]
    assert [(v["channel"], v["attained"]) for v in said["items"]] == [(0, 2.0), (1, None)]
    assert said["attained"] == 2.0
    page = client.get("/plain/layers/conv1").text
    assert said["items"][0]["picture"]["url"] in page
    assert "nothing in the input changes its response" in page
