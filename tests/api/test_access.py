"""Who may ask, and what is not shown: tokens, host names, a service without pictures."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from tests.api.serving import serving
from tests.api.test_security import A, refused

# A token


@pytest.fixture(scope="module")
def guarded(atlases: Path) -> Iterator[str]:
    with serving(create_app([atlases / "plain"], token="s3cret-token")) as address:
        yield address


def test_nothing_without_the_token(guarded: str) -> None:
    for path in (
        "/",
        "/plain",
        f"{A}/layers",
        f"{A}/images/5/thumbnail",
        "/metrics",
        "/static/site.css",
        "/nope",
        "/api/v1/health",
    ):
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Bearer"},
            {"Authorization": "s3cret-token"},
            {"Authorization": "Basic !!!"},
            {"Authorization": "Bearer s3cret-token2"},
            [("Authorization", "Bearer s3cret-token"), ("Authorization", "Bearer s3cret-token")],
        ):
            answer = httpx.get(guarded + path, headers=headers)
            assert refused(answer.status_code, dict(answer.headers), answer.content)["status"] == 401
            assert answer.headers["www-authenticate"].startswith("Basic")
    assert httpx.get(f"{guarded}/livez").text == "ok\n"


def test_all_with_the_token(guarded: str) -> None:
    basic = base64.b64encode(b"anyone:s3cret-token").decode()
    for header in ("Bearer s3cret-token", "bearer s3cret-token", f"Basic {basic}"):
        assert httpx.get(f"{guarded}/plain", headers={"Authorization": header}).status_code == 200
    answer = httpx.get(f"{guarded}{A}/images/5/thumbnail", headers={"Authorization": "Bearer s3cret-token"})
    assert answer.headers["cache-control"].startswith("private")


def test_a_service_without_a_token_answers_only_to_its_own_names(atlases: Path) -> None:
    """A page of another site whose name points to this machine (DNS rebinding) reads nothing."""
    with serving(create_app([atlases / "plain"], hosts=("atlas.example",))) as address:
        port = address.rpartition(":")[2]
        for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", "LOCALHOST", "atlas.example:80"):
            assert httpx.get(f"{address}{A}", headers={"Host": host}).status_code == 200, host
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "", "192.0.2.1"):
            answer = httpx.get(f"{address}{A}", headers={"Host": host})
            assert refused(answer.status_code, dict(answer.headers), answer.content)["status"] == 421, host


# No pictures


def test_without_pictures_no_pixel_leaves(atlases: Path, service: httpx.Client) -> None:
    example = service.get(f"{A}/neurons/conv1/0").json()["examples"]["max"][0]
    pictures = [example[kind]["url"] for kind in ("crop", "thumbnail", "whole")]
    pictures += [picture["url"] for picture in example["pictures"].values()]
    pictures.append(service.get(f"{A}/layers/conv1/filters").json()["items"][0]["picture"]["url"])
    with serving(create_app([atlases / "plain"], pictures=False)) as address, httpx.Client(base_url=address) as client:
        for url in pictures:
            answer = client.get(url)
            assert refused(answer.status_code, dict(answer.headers), answer.content)["status"] == 403
        todo, seen = ["/api/v1/atlases", "/", f"{A}/neurons/conv1/0", "/plain/neurons/conv1/0", f"{A}/map"], set()
        while todo and len(seen) < 150:
            path = todo.pop(0)
            if path in seen or path in pictures:
                continue
            seen.add(path)
            answer = client.get(path)
            assert not answer.headers["content-type"].startswith("image/") or path.startswith("/static/")
            assert not answer.content.startswith((b"\x89PNG", b"\xff\xd8\xff"))
            assert "/pictures/" not in answer.text
            assert "/thumbnail" not in answer.text
            if answer.headers["content-type"] == "application/json":
                todo += _strings(answer.json())
        neuron = client.get(f"{A}/neurons/conv1/0").json()
        assert neuron["examples"]["max"][0]["crop"]["why"] == "pictures are not served"
        assert neuron["examples"]["max"][0]["box"] == example["box"]
        assert len(client.get(f"{A}/map").json()["x"]) == 40


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [link for each in value.values() for link in _strings(each)]
    if isinstance(value, list):
        return [link for each in value for link in _strings(each)]
    return [value] if isinstance(value, str) and value.startswith("/") and "{" not in value else []
