"""Every page as HTML: what it says, that names stay text, that nothing is inline, that it stays small."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.app import create_app
from api.html import environment as look
from api.html.formatting import figures
from api.views import VIEWS
from tests import constructed
from tests.api.serving import serving

HOSTILE = ("<script>alert(1)</script>", "\"quoted' & \n line", "\u202eright to left\u202c", "plain")
ODD_LAYERS = (("a/b <i>", 5), ("x\"y'z", 4), ("..", 3))
INLINE = re.compile(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", re.IGNORECASE)
PLACES = (
    "", "/layers", "/layers/conv1", "/layers/conv1?sort=max&order=asc", "/layers/conv1?class=1&dead=false",
    "/layers/conv1/filters", "/neurons/conv1/2", "/neurons/block.conv@2/0", "/neurons/fc/3", "/images",
    "/images?class=2", "/images/5", "/images/5/neighbours?k=3", "/classes", "/classes/1", "/map", "/map?kind=pca",
    "/search", "/search?q=bear", "/search?q=nothing", "/quarantine", "/sanity", "/parts", "/words",
)  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("pages")
    constructed.write(folder / "constructed")
    constructed.write(folder / "odd", constructed.Shape(name="odd", layers=ODD_LAYERS, classes=HOSTILE))
    (folder / "broken").mkdir()
    app = create_app([folder / "constructed", folder / "odd", folder / "broken"])
    with serving(app) as address, httpx.Client(base_url=address) as opened:
        yield opened


def page(client: httpx.Client, address: str) -> str:
    answer = client.get(address, headers={"accept": "text/html"})
    assert answer.status_code == 200, (address, answer.text[:300])
    assert answer.headers["content-type"].startswith("text/html")
    return str(answer.text)


def test_every_route_with_a_model_has_a_page() -> None:
    sealed = [view for view in VIEWS if view.tag != "probe"]  # what is asked of a probe shares one page
    assert {view.name for view in sealed if view.model and view.method == "GET"} == {v.name for v in sealed if v.page}


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_inline_and_pages_stay_small(client: httpx.Client, place: str) -> None:
    text = page(client, f"/constructed{place}")
    assert not INLINE.search(text)
    assert re.search(r"<h1>.+</h1>", text, re.DOTALL)
    sources = re.findall(r'(?:href|src)="(/static/[^"]+)"', text)
    weight = len(text.encode()) + sum(len(client.get(html.unescape(each)).content) for each in sources)
    assert weight < 300_000


@pytest.mark.parametrize("place", PLACES)
def test_links_of_pages_are_answered(client: httpx.Client, place: str) -> None:
    text = page(client, f"/constructed{place}")
    for address in sorted({html.unescape(each) for each in re.findall(r'(?:href|src)="(/[^"]*)"', text)}):
        answer = client.get(address)
        assert answer.status_code == 200, (place, address)


def test_pages_forbid_all_that_is_inline_or_elsewhere(client: httpx.Client) -> None:
    policy = client.get("/constructed").headers["content-security-policy"]
    assert policy == look.POLICY
    assert "unsafe" not in policy


def test_a_neuron_shows_pairs_switches_evidence_and_its_query(client: httpx.Client) -> None:
    text = page(client, "/constructed/neurons/conv1/2")
    model = client.get("/api/v1/atlases/constructed/neurons/conv1/2").json()
    assert text.count('class="pair"') == len(model["examples"]["max"]) + len(model["examples"]["min"]) + 10
    for kind in ("deconvnet", "guided", "gradient", "gradient_max", "occlusion", "whole"):
        assert f'name="view" value="{kind}"' in text
    for side in ("max", "min", "spread", "near"):
        assert f'id="side-{side}"' in text
    assert text.count("of the response with only the marked fifth") == 3
    assert html.escape(model["query"], quote=False).replace("'", "&#39;") in text
    assert f'href="{model["links"]["self"]}"' in text
    for example in model["examples"]["max"]:
        assert example["pictures"]["deconvnet"]["url"] in text
        assert example["crop"]["url"] in text


def test_the_colours_of_an_occlusion_map_are_explained_beside_it(client: httpx.Client) -> None:
    model = client.get("/api/v1/atlases/constructed/neurons/conv1/2").json()
    strongest = model["examples"]["max"][0]
    text = page(client, "/constructed/neurons/conv1/2")
    assert strongest["pictures"]["occlusion"]["url"] in text
    assert 'class="ramp" role="img"' in text
    said = f"by up to {figures(strongest['pictures']['occlusion']['scale'])} of {figures(strongest['response'])}"
    assert said in text


def test_an_image_lists_its_strongest_places_first(client: httpx.Client) -> None:
    text = page(client, "/constructed/images/5")
    held = re.findall(r'data-spot="(max|min|spread)/[^"]*"', text)
    assert held
    assert held == sorted(held, key=("max", "min", "spread").index)


def test_a_wall_links_its_next_page_with_what_was_asked(client: httpx.Client) -> None:
    text = page(client, "/constructed/layers/conv1?sort=max&order=asc&limit=4")
    link = re.search(r'rel="next" href="([^"]*cursor=[^"]+)"', text)
    assert link
    following = html.unescape(link[1])
    assert "sort=max" in following
    assert "order=asc" in following
    assert "limit=4" in following
    second = page(client, following)
    ids = re.findall(r'class="tile" id="n(\d+)"', text) + re.findall(r'class="tile" id="n(\d+)"', second)
    assert sorted(map(int, ids)) == list(range(6))
    assert 'rel="next" href="/constructed/layers/conv1?' not in second


def test_walls_can_be_asked_for_a_class_and_for_the_dead(client: httpx.Client) -> None:
    every = client.get("/api/v1/atlases/constructed/layers/conv1/neurons?dead=true").json()["total"]
    text = page(client, "/constructed/layers/conv1?dead=true&class=&sort=&order=")
    assert text.count('class="tile"') == every


def test_an_image_shows_the_fields_of_its_neurons(client: httpx.Client) -> None:
    model = client.get("/api/v1/atlases/constructed/images/5").json()
    text = page(client, "/constructed/images/5")
    assert text.count('class="spot"') == len(model["neurons"]["items"])
    assert f'viewBox="0 0 {model["width"]} {model["height"]}"' in text


def test_names_are_text(client: httpx.Client) -> None:
    for place in ("", "/classes", "/images", "/map", "/layers", "/search?q=script", "/neurons/x%22y%27z/1"):
        text = page(client, f"/odd{place}")
        assert "<script>alert" not in text
        assert not INLINE.search(text)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page(client, "/odd/classes")
    assert "a/b &lt;i&gt;" in page(client, "/odd/layers")


def test_odd_layers_have_pages_and_links_that_lead_there(client: httpx.Client) -> None:
    text = page(client, "/odd/layers")
    links = {html.unescape(each) for each in re.findall(r'scope="row"><a href="([^"]+)"', text)}
    assert len(links) == 3
    for link in links:
        wall = page(client, link)
        tile = re.search(r'<li class="tile"[^>]*><a href="([^"]+)"', wall)
        assert tile
        assert "What these pictures are worth" in page(client, html.unescape(tile[1]))


def test_an_atlas_that_failed_is_listed_with_the_reason(client: httpx.Client) -> None:
    text = page(client, "/")
    reason = next(a for a in client.get("/api/v1/atlases").json()["items"] if a["status"] == "unavailable")["reason"]
    assert "Not served" in text
    assert str(html.escape(reason)).replace("&#x27;", "&#39;") in text
    assert text.count('class="card"') == 2


def test_without_pictures_no_page_names_one(tmp_path: Path) -> None:
    constructed.write(tmp_path / "constructed")
    app = create_app([tmp_path / "constructed"], pictures=False)
    with serving(app) as address, httpx.Client(base_url=address) as client:
        for place in PLACES:
            text = page(client, f"/constructed{place}")
            assert "/pictures/" not in text
            assert "<img" not in text
            assert "<image" not in text
            assert "thumbnail" not in text


def test_an_error_is_a_page_for_people(client: httpx.Client) -> None:
    answer = client.get("/constructed/layers/conv9", headers={"accept": "text/html"})
    assert answer.status_code == 404
    assert "conv9" in answer.text
    assert "<h1>Not Found</h1>" in answer.text
