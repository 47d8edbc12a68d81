"""A page and a section are their file and a row: toys of both, registered from here, in JSON, OpenAPI, page, export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from typing_extensions import TypedDict

from api import export, views
from api.app import create_app
from api.html import environment
from api.http.described import closed, doc
from api.views.call import Call
from api.views.speaker import Speaker
from api.views.values import LayerName
from api.views.view import Context, Page, Section, View
from tests import constructed
from tests.api.serving import serving


@closed
class Loudest(TypedDict):
    """The neuron of a layer that responds most."""

    layer: LayerName
    channel: Annotated[int, doc("its channel", 3)]
    max: Annotated[float, doc("its largest response", 20.0)]


@closed
class Parity(TypedDict):
    """Whether a channel is even."""

    even: Annotated[bool, doc("whether it is", True)]


def _loudest(call: Call) -> Loudest:
    layers = call.say.store.layers
    at = layers.index(call.path["layer"])
    rows = call.say.store.neurons.numbers[layers.first[at] : layers.first[at + 1]]
    channel = int(rows["max"].argmax())
    return {"layer": call.path["layer"], "channel": channel, "max": float(rows["max"][channel])}


def _page(call: Call) -> Context:
    return {"loudest": _loudest(call), "json": call.say.urls.of("layers", call.path["layer"], "loudest")[0]}


def _parity(say: Speaker, at: Mapping[str, Any]) -> Parity | None:
    return {"even": at["channel"] % 2 == 0} if at["channel"] < 4 else None


VIEW = View("loudest", "/layers/{layer}/loudest", "The loudest", _loudest, Loudest, page=Page("toy_page.html", _page))
SECTION = Section("parity", "neuron", "Parity", Parity, _parity, "toy_section.html")
PAGE_TEMPLATE = """{% extends 'base.html' %}{% block main %}<h1>Loudest of {{ loudest.layer }}</h1>
<p><a href="{{ atlas.page }}">{{ loudest.max | figures }}</a></p>{% endblock %}"""


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "toy_page.html").write_text(PAGE_TEMPLATE)
    (tmp_path / "toy_section.html").write_text("<p>{{ 'even' if section.even else 'odd' }} {{ at.layer }}</p>")
    monkeypatch.setattr(environment, "TEMPLATES", (*environment.TEMPLATES, tmp_path))
    monkeypatch.setattr(views, "VIEWS", (VIEW, *views.VIEWS))
    monkeypatch.setattr(views, "SECTIONS", (*views.SECTIONS, SECTION))


@pytest.fixture
def client(toys: None, atlases: Path) -> Iterator[httpx.Client]:
    with serving(create_app([atlases / "odd"])) as address, httpx.Client(base_url=address) as opened:
        yield opened


A = "/api/v1/atlases/odd%2Fatlas"


def test_a_page_is_its_file_and_a_row(client: httpx.Client) -> None:
    answer = client.get(f"{A}/layers/a%2Fb/loudest").json()
    assert answer == {"layer": "a/b", "channel": 0, "max": 20.0}
    assert "<h1>Loudest of a/b</h1>" in client.get("/odd%2Fatlas/layers/a%2Fb/loudest").text
    document = client.get("/api/v1/openapi.json").json()
    path = document["paths"]["/api/v1/atlases/{atlas}/layers/{layer}/loudest"]["get"]
    assert path["responses"]["200"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Loudest"}


def test_a_section_is_its_file_and_a_row(client: httpx.Client) -> None:
    assert client.get(f"{A}/neurons/a%2Fb/0").json()["sections"] == {"parity": {"even": True}}
    page = client.get("/odd%2Fatlas/neurons/a%2Fb/1").text
    assert '<section class="section" id="section-parity"><h2>Parity</h2><p>odd a/b</p></section>' in page
    schemas = client.get("/api/v1/openapi.json").json()["components"]["schemas"]
    assert "parity" in schemas["NeuronSections"]["properties"]


def test_both_are_in_the_static_site(toys: None, tmp_path: Path) -> None:
    folder = constructed.write(tmp_path / "plain", constructed.Shape(name="plain", images=12))
    out = tmp_path / "site"
    export.export(folder, out)
    assert "Loudest of conv1" in (out / "layers/conv1/loudest.html").read_text()
    assert "<h2>Parity</h2><p>even conv1</p>" in (out / "neurons/conv1/2.html").read_text()
    assert "Parity" not in (out / "neurons/conv1/5.html").read_text()
