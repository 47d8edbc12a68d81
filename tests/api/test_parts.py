"""Parts in the service: listed, checked, their pictures served, their tables shown without another file."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter

from api import views
from api.app import create_app
from api.export import export
from api.views.sectioned import model
from tests import constructed, constructed_parts
from tests.api.serving import serving

A = "/api/v1/atlases/plain"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        constructed_parts.register(patch)
        path = constructed.write(tmp_path_factory.mktemp("parts") / "plain", constructed.Shape(name="plain", images=12))
        constructed_parts.add(path, "toy")
        constructed_parts.add(path, "toy@b")
        constructed_parts.add(path, "toy@begun", sealed=False)
        broken = constructed_parts.add(path, "toy@broken") / "toys.parquet"
        broken.write_bytes(broken.read_bytes()[:-1])
        yield path


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with serving(create_app([folder])) as address, httpx.Client(base_url=address) as opened:
        yield opened


def get(client: httpx.Client, path: str) -> Any:
    answer = client.get(path)
    assert answer.status_code == 200, (path, answer.text)
    return answer.json()


def fits(name: str, value: Any) -> None:
    view = next(view for view in views.VIEWS if view.name == name)
    TypeAdapter(model(view)).validate_python(value, strict=True)


def test_parts_are_listed_with_their_state(client: httpx.Client) -> None:
    said = get(client, f"{A}/parts")
    fits("parts", said)
    states = {part["name"]: part["state"] for part in said["items"]}
    assert states == {"toy": "sealed", "toy@b": "sealed", "toy@begun": "begun", "toy@broken": "damaged"}
    assert get(client, A)["parts"] == said["items"]
    for part in said["items"]:
        one = get(client, part["url"])
        fits("part", one)
        assert client.get(part["page"]).status_code == 200
    one = get(client, f"{A}/parts/toy%40b")
    assert one["summary"] == {"toys": 3, "share": 0.5}
    assert one["settings"] == {"top": 2, "file": "toys.tsv"}
    assert [(table["name"], table["rows"]) for table in one["tables"]] == [("toys", 3), ("toy_boxes", 2)]
    assert "Left out: toys.parquet is damaged" in client.get("/plain/parts/toy@broken").text
    assert client.get(f"{A}/parts/nothing").status_code == 404


def test_health_says_what_is_left_out(client: httpx.Client) -> None:
    health = get(client, "/api/v1/health")
    assert health["status"] == "degraded"
    parts = health["atlases"][0]["verification"]["parts"]
    assert {name: state.partition(":")[0] for name, state in parts.items()} == {
        "toy": "verified",
        "toy@b": "verified",
        "toy@begun": "begun",
        "toy@broken": "left out",
    }


def test_a_table_shows_without_another_file(client: httpx.Client) -> None:
    neuron = get(client, f"{A}/neurons/conv1/0")
    fits("neuron", neuron)
    section = neuron["sections"]["toys"]
    assert section["columns"] == ["part", "rank", "toy", "portrait"]
    assert [(row["part"], row["toy"]) for row in section["items"]] == [
        (name, toy) for name in ("toy", "toy@b") for toy in (f"bear of {name}", "<i>ball</i>")
    ]
    picture = section["items"][2]["portrait"]
    assert picture["url"].startswith(f"{A}/parts/toy@b/pictures/toy-000000.tar/")
    answer = client.get(picture["url"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert "immutable" in answer.headers["cache-control"]
    assert section["items"][1]["portrait"] == {"url": None, "why": "too round", "seed": None, "scale": None}
    page = client.get("/plain/neurons/conv1/0").text
    assert html.escape("<i>ball</i>") in page
    assert picture["url"] in page
    assert get(client, f"{A}/neurons/conv1/3")["sections"] == {}
    assert get(client, f"{A}/images/5")["sections"]["toy_boxes"]["items"][0] == {
        "part": "toy",
        "count": 1,
        "fill": None,
    }
    schemas = get(client, "/api/v1/openapi.json")["components"]["schemas"]
    assert "toys" in schemas["NeuronSections"]["properties"]


def test_pictures_of_what_is_not_served_are_not_found(client: httpx.Client) -> None:
    url = get(client, f"{A}/neurons/conv1/0")["sections"]["toys"]["items"][0]["portrait"]["url"]
    for name in ("toy@broken", "toy@begun", "nothing", ".."):
        assert client.get(url.replace("parts/toy/", f"parts/{name.replace('..', '%2E%2E')}/")).status_code == 404


def test_without_pictures_no_pixel_of_a_part_leaves(folder: Path) -> None:
    with serving(create_app([folder], pictures=False)) as address, httpx.Client(base_url=address) as closed:
        neuron = get(closed, f"{A}/neurons/conv1/0")
        assert neuron["sections"]["toys"]["items"][0]["portrait"]["url"] is None
        with serving(create_app([folder])) as other, httpx.Client(base_url=other) as opened:
            url = get(opened, f"{A}/neurons/conv1/0")["sections"]["toys"]["items"][0]["portrait"]["url"]
        assert closed.get(url).status_code == 403


def test_the_static_site_has_the_parts(folder: Path, tmp_path: Path) -> None:
    export(folder, tmp_path / "site")
    page = (tmp_path / "site/neurons/conv1/0.html").read_text()
    assert "bear of toy@b" in page
    assert (tmp_path / "site/parts/toy@b.html").is_file()
    assert "toy@begun" in (tmp_path / "site/parts.html").read_text()
    assert sorted(path.name for path in (tmp_path / "site/parts").rglob("*.png"))
