"""Bad requests get a 4xx of one shape, quickly; nothing leaks; no pixel leaves where none may."""

from __future__ import annotations

import io
import json
import shutil
import socket
import statistics
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from api.http.gate import LONGEST_TARGET
from tests.api.conftest import ODD
from tests.api.serving import raw, serving

A = "/api/v1/atlases/plain"
SECRETS = ("/tmp/", "/work", "Traceback", ".py", "site-packages", "/root", "passwd:")


@pytest.fixture(scope="module")
def address(service: httpx.Client) -> str:
    return str(service.base_url).rstrip("/")


def refused(status: int, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    """Asserts the one shape of errors, and that it tells nothing about this machine."""
    assert 400 <= status < 500, (status, body)
    assert headers["content-type"] == "application/problem+json"
    said: dict[str, Any] = json.loads(body)
    assert set(said) == {"type", "title", "status", "detail"}
    assert said["status"] == status
    assert "\n" not in said["detail"]
    assert not [secret for secret in SECRETS if secret in body.decode()], body
    return said


UP = (
    "..",
    "%2e%2e",
    "%2E%2E",
    ".%2e",
    "%252e%252e",
    "..%2f..",
    "..%5c..",
    "%c0%ae%c0%ae",
    "%00",
    "..;",
    "....//",
    "%ff%fe",
    "..%00",
    "~",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
)
PLACES = (
    "/api/v1/atlases/{}",
    A + "/layers/{}",
    A + "/layers/{}/neurons",
    A + "/layers/{}/filters",
    A + "/neurons/{}/0",
    A + "/neurons/conv1/{}",
    A + "/images/{}",
    A + "/images/{}/neighbours",
    A + "/images/{}/thumbnail",
    A + "/images/{}/picture",
    A + "/classes/{}",
    A + "/pictures/{}/512-100",
    A + "/pictures/harvest-000000.tar/{}",
    "/{}",
    "/plain/layers/{}",
    "/plain/neurons/conv1/{}",
    "/plain/images/{}",
    "/static/{}",
    "/{}/{}/{}",
    A + "/{}",
)


@pytest.mark.parametrize("place", PLACES)
def test_traversal_leads_nowhere(address: str, place: str) -> None:
    for up in UP:
        target = place.replace("{}", up)
        refused(*raw(address, f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()))
        deep = place.replace("{}", "/".join([up] * 6) + "/etc/passwd")
        refused(*raw(address, f"GET {deep} HTTP/1.1\r\nHost: x\r\n\r\n".encode()))


NUMBERS = (
    "-1",
    "+5",
    "1_000",
    "%D9%A3",
    "NaN",
    "nan",
    "inf",
    "1e3",
    "0x1",
    "01",
    "1.0",
    "",
    "%201",
    "1%20",
    "9" * 19,
    "9" * 400,
    "null",
    "true",
    "1,2",
    "[1]",
    "%EF%BC%91",
)


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_that_are_not_canonical_are_refused(address: str, number: str) -> None:
    for place in (
        "/images/{}",
        "/neurons/conv1/{}",
        "/classes/{}",
        "/images/{}/neighbours",
        "/images/{}/thumbnail",
        "/pictures/harvest-000000.tar/{}-5",
        "/pictures/harvest-000000.tar/512-{}",
    ):
        for base in (A, "/plain"):
            if base == "/plain" and ("pictures" in place or "thumbnail" in place):
                continue
            target = base + place.replace("{}", number)
            refused(*raw(address, f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()))
    for query in ("/images?limit={}", "/images/5/neighbours?k={}", "/images?class={}"):
        if number != "":
            refused(*raw(address, f"GET {A}{query.replace('{}', number)} HTTP/1.1\r\nHost: x\r\n\r\n".encode()))


@pytest.mark.parametrize(
    "target",
    [
        "/images?limit=5&limit=5",
        "/images?nope=1",
        "/images?cursor=AAAA",
        "/images?cursor=%00",
        "/layers?x",
        "/images?%ff=1",
        "/layers/nope",
        "/neurons/conv1/999",
        "/images/0",
        "/images/99999",
        "/classes/99",
        "/nope",
        "/map?kind=nope",
        "/layers/conv1/neurons?sort=nope",
        "/layers/conv1/neurons?dead=maybe",
        "/layers/conv1/neurons?order=",
        "/search?q=%ff",
        "/pictures/nope.tar/0-1",
        "/pictures/harvest-000000.tar/513-100",
        "/pictures/harvest-000000.tar/512",
        "/search?q=" + "x" * 201,
        "/neurons/conv1/0?x=1",
        "/images/5/thumbnail?w=1",
        "/layers/conv1/",
    ],
)
def test_unknown_and_repeated_are_refused(address: str, target: str) -> None:
    if target.endswith("order="):
        assert raw(address, f"GET {A}{target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())[0] == 200  # an unfilled form
        return
    refused(*raw(address, f"GET {A}{target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()))


@pytest.mark.parametrize("size", [LONGEST_TARGET, 16_000, 64_000, 70_000, 200_000])
def test_long_addresses_are_refused(address: str, size: int) -> None:
    for begin in ("/", f"{A}/images?cursor=", f"{A}/layers/", "/%2e"):
        target = begin + "a" * size
        said = refused(*raw(address, f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()))
        assert said["status"] == 414


def test_a_huge_header_is_refused(address: str) -> None:
    status, headers, body = raw(address, b"GET / HTTP/1.1\r\nX: " + b"a" * 300_000 + b"\r\n\r\n")
    assert refused(status, headers, body)["status"] == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "GET"])
def test_a_huge_body_is_refused_before_it_is_sent(address: str, method: str) -> None:
    for target in (f"{A}/neighbours", f"{A}/layers", "/"):
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"
        assert refused(*raw(address, head.encode() + b"x" * 1000))["status"] == 413


def test_a_huge_body_that_is_sent_anyway_gets_its_answer(address: str) -> None:
    answer = httpx.post(f"{address}{A}/neighbours", content=b"x" * 100_000_000, timeout=60)
    assert answer.status_code == 413
    pieces = (b"x" * 65536 for _ in range(1600))  # chunked: no length is told
    answer = httpx.post(f"{address}{A}/neighbours", content=pieces, timeout=60)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "request_",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
    ],
)
def test_what_is_not_http_is_refused(address: str, request_: bytes) -> None:
    refused(*raw(address, request_))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(service: httpx.Client, method: str) -> None:
    for path in (f"{A}/layers", "/plain", "/", "/metrics", f"{A}/images/5/thumbnail"):
        answer = service.request(method, path)
        refused(answer.status_code, dict(answer.headers), answer.content)
        assert answer.status_code == 405
        assert "GET" in answer.headers["allow"]
    assert service.get(f"{A}/neighbours").status_code == 405


def test_refusals_are_quick(address: str) -> None:
    bad = [
        f"{A}/images/+5",
        f"{A}/layers/nope",
        "/" + "a" * 64_000,
        f"{A}/images?x=1",
        "/..%2f..",
        f"{A}/pictures/x/1-1",
    ]
    times = []
    with httpx.Client(base_url=address) as client:
        for target in bad * 20:
            begin = time.perf_counter()
            client.get(target)
            times.append(time.perf_counter() - begin)
    assert statistics.median(times) < 0.020


def test_safe_headers_are_on_everything(service: httpx.Client) -> None:
    for path in ("/", "/plain", f"{A}/layers", "/nope/nope", f"{A}/images/5/thumbnail", "/metrics", "/static/site.css"):
        headers = service.get(path).headers
        assert "'unsafe-inline'" not in headers["content-security-policy"]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_people_get_errors_as_pages(service: httpx.Client) -> None:
    answer = service.get("/plain/layers/<script>alert(1)</script>", headers={"Accept": "text/html,*/*"})
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "<script>alert" not in answer.text
    assert (
        service.get(f"{A}/nope", headers={"Accept": "text/html"}).headers["content-type"] == "application/problem+json"
    )


def test_odd_names_are_text(service: httpx.Client) -> None:
    pages = [item["page"] for item in service.get("/api/v1/atlases/odd%2Fatlas/layers").json()["items"]]
    assert len(pages) == len(ODD)
    for page in [*pages, "/odd%2Fatlas", "/odd%2Fatlas/search?q=script"]:
        text = service.get(page).text
        assert "<script>alert" not in text
        assert "&lt;script&gt;" in text or "script" not in page


# What breaks off, or changes


def test_a_post_that_is_broken_off_is_no_fault_of_the_service(atlases: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = io.BytesIO()
    with serving(create_app([atlases / "plain"], log=log)) as address:
        host, _, port = address.removeprefix("http://").partition(":")
        for _ in range(20):
            with socket.create_connection((host, int(port))) as connection:
                head = f"POST {A}/neighbours HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n{{"
                connection.sendall(head.encode())
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and log.getvalue().count(b"neighbours_of") < 20:
            time.sleep(0.05)
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert {line["status"] for line in lines if line["route"] == "neighbours_of"} == {400}
    assert not caplog.records


def test_an_atlas_that_changes_while_it_is_served_is_said_and_the_others_serve(atlases: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(atlases / "plain", copied)
    with serving(create_app([copied, atlases / "odd"])) as address, httpx.Client(base_url=address) as client:
        assert client.get(f"{A}/map?kind=pca").status_code == 200
        (copied / "map.parquet").unlink()
        (copied / "images.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
        for path in (f"{A}/map?kind=pca", f"{A}/search?q=jpg"):
            answer = client.get(path)
            assert refused_or_gone(answer.status_code, answer.content)["status"] == 503, path
        assert client.get("/api/v1/atlases/odd%2Fatlas/map").status_code == 200
        health = client.get("/api/v1/health").json()
        assert health["status"] == "degraded"
        verification = next(a["verification"] for a in health["atlases"] if a["name"] == "plain")
        assert verification["tables"] == "failed"


def refused_or_gone(status: int, body: bytes) -> dict[str, Any]:
    assert status == 503
    said: dict[str, Any] = json.loads(body)
    assert not [secret for secret in SECRETS if secret in body.decode()], body
    return said


def test_pipelined_requests_are_answered_in_order(address: str) -> None:
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 3 + b"GET /nope/x HTTP/1.1\r\nConnection: close\r\n\r\n"
        )
        received = b""
        while more := connection.recv(65536):
            received += more
    assert received.count(b"HTTP/1.1 200") == 3
    assert received.rindex(b"HTTP/1.1 200") < received.index(b"HTTP/1.1 404")
