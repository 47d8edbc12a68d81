"""Figures for an iframe: what `?embed=1` leaves of a page, who may frame it, and what previews of a link show."""

from __future__ import annotations

import html
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from api.html import environment as look
from api.http.urls import origin
from atlas.errors import SettingsError
from tests.api.browsing import needs_chromium
from tests.api.serving import serving

NEURON, IMAGE, CLASS = "/plain/neurons/conv1/2", "/plain/images/5", "/plain/classes/1"
FIGURES = {NEURON: "conv1 2 · plain", IMAGE: "Image 5 · plain", CLASS: "bear · plain"}
META = re.compile(r'<meta property="og:([a-z_]+)" content="([^"]*)">')


def ancestors(answer: httpx.Response) -> str:
    """What the answer says of who may frame it."""
    policy = answer.headers["content-security-policy"]
    assert answer.headers.get_list("content-security-policy") == [policy]  # of two, the browser would take both
    return str(policy).partition("frame-ancestors ")[2]


def previews(text: str) -> dict[str, str]:
    return {name: html.unescape(value) for name, value in META.findall(text)}


@pytest.mark.parametrize("path", FIGURES)
def test_a_figure_is_its_pages_without_the_rest(service: httpx.Client, path: str) -> None:
    whole, figure = service.get(path), service.get(f"{path}?embed=1")
    assert figure.status_code == 200
    for rest in ("<header", "<footer", "<nav", "<form", 'rel="next"'):
        assert rest in whole.text or rest == 'rel="next"'
        assert rest not in figure.text
    assert f'<h1><a href="{path}">{FIGURES[path]}</a></h1>' in figure.text
    assert '<base target="_blank">' in figure.text
    assert "<base" not in whole.text
    assert ("<script" in figure.text) == (path == NEURON)  # whose switches stand in the fragment
    assert set(re.findall(r'src="(/api[^"]+)"', figure.text)) <= set(re.findall(r'src="(/api[^"]+)"', whole.text))
    assert figure.headers["etag"] != whole.headers["etag"]
    cached = service.get(f"{path}?embed=1", headers={"if-none-match": figure.headers["etag"]})
    assert (cached.status_code, ancestors(cached)) == (304, "'none'")


def test_a_neurons_figure_says_what_its_pictures_are_worth(service: httpx.Client) -> None:
    whole, figure = service.get(NEURON).text, service.get(f"{NEURON}?embed=1").text
    for held in ('class="pair"', 'name="side"', 'name="view"', 'class="w w-'):
        assert whole.count(held) == figure.count(held) > 0
    assert not [rest for rest in ("Responses</h2>", "Similar neurons") if rest in figure]


def test_only_pages_with_a_figure_are_embedded(service: httpx.Client) -> None:
    for path in ("/plain", "/plain/layers", "/plain/map", f"/api/v1/atlases{NEURON}"):
        assert service.get(f"{path}?embed=1").status_code == 422
    for value in ("0", "true", "2"):
        assert service.get(f"{NEURON}?embed={value}").status_code == 422
    assert service.get(f"{NEURON}?embed=").text == service.get(NEURON).text  # an unfilled field of a form


def test_who_may_frame_a_figure_is_an_option_and_pages_nobody(atlases: Path) -> None:
    allowed = ("https://example.org", "https://*.example.org:8443", "self")
    app = create_app([atlases / "plain"], frame_ancestors=allowed)
    with serving(app) as address, httpx.Client(base_url=address) as client:
        figure = client.get(f"{NEURON}?embed=1")
        assert ancestors(figure) == "https://example.org https://*.example.org:8443 'self'"
        assert figure.headers["content-security-policy"].startswith(look.POLICY.partition("frame-ancestors")[0])
        assert ancestors(client.head(f"{NEURON}?embed=1")) == ancestors(figure)
        for path in (NEURON, "/plain", f"{NEURON}99?embed=1", "/plain?embed=1", f"/api/v1/atlases{NEURON}"):
            assert ancestors(client.get(path)) == "'none'"


@pytest.mark.parametrize(
    "bad", ["", "none", "example.org", "https://a b", "https://a;script-src *", "https://a/b", "'self'"]
)
def test_what_is_no_origin_is_refused_at_the_start(atlases: Path, bad: str) -> None:
    with pytest.raises(SettingsError, match=r"--frame-ancestors .*expected an origin"):
        create_app([atlases / "plain"], frame_ancestors=[bad])


@pytest.mark.parametrize("path", FIGURES)
def test_a_link_is_previewed_by_a_title_and_a_picture(service: httpx.Client, path: str) -> None:
    headers = {"host": "atlas.example.org", "x-forwarded-proto": "https"}
    said = previews(service.get(path, headers=headers).text)
    assert said["title"] == FIGURES[path]
    assert said["url"] == f"https://atlas.example.org{path}"
    picture = said["image"].removeprefix("https://atlas.example.org")
    assert service.get(picture).headers["content-type"].startswith("image/")
    assert previews(service.get(f"{path}?embed=1", headers=headers).text) == said
    assert previews(service.get(path).text)["image"] == f"{str(service.base_url).rstrip('/')}{picture}"


def test_without_pictures_a_preview_has_a_title_alone(atlases: Path) -> None:
    with serving(create_app([atlases / "plain"], pictures=False)) as address:
        for path in FIGURES:
            assert set(previews(httpx.get(address + path).text)) == {"title", "type", "site_name", "url"}


@pytest.mark.parametrize(
    ("host", "found"),
    [
        (b"a.example:80", "http://a.example:80"), (b"[::1]:8000", "http://[::1]:8000"), (b"", None), (b'a"><b', None),
        (b"a/b", None), (b"a@b", None), (b"a:b", None), (b"\xff", None),
    ],
)  # fmt: skip
def test_a_host_that_is_no_name_is_not_repeated(host: bytes, found: str | None) -> None:
    assert origin({"scheme": "http", "headers": [(b"host", host)]}) == found
    assert origin({"scheme": "http", "headers": []}) is None


@contextmanager
def framing(address: str) -> Iterator[str]:
    """A page of another origin with the figure in an iframe."""

    class Framing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            frame = f'<iframe src="{address}" width="700" height="500"></iframe>'
            body = f'<!DOCTYPE html><link rel="icon" href="data:,">{frame}'
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Framing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@needs_chromium
def test_a_browser_frames_what_it_may_and_nothing_else(browser: Any, atlases: Path) -> None:
    with serving(create_app([atlases / "plain"], frame_ancestors=["http://127.0.0.1:*"])) as address:
        for path, seen in ((f"{NEURON}?embed=1#side=min", True), (NEURON, False)):
            with framing(address + path) as other:
                page = browser.new_page()
                page.goto(other)
                page.wait_for_load_state("networkidle")
                held = page.frames[1]
                assert (held.locator(".pair").count() > 0) == seen
                if seen:
                    assert held.locator("#side-min").is_checked()  # the state in the fragment
                    assert held.locator(".side-min .crop img").first.evaluate("each => each.naturalWidth") > 0
                    with page.context.expect_page() as opened:
                        held.locator("h1 a").click()
                    opened.value.wait_for_load_state()
                    assert opened.value.url == address + NEURON
                    opened.value.close()
                page.close()
