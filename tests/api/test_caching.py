"""What all answers have in common: entity tags, compression, and that they are counted."""

from __future__ import annotations

import gzip
import json

import httpx
import pytest

from tests.api.test_rest import ANSWERS, A


@pytest.mark.parametrize(
    "path",
    [path for path, _ in ANSWERS[1:8]]
    + ["/plain", "/plain/neurons/conv1/0", "/static/site.css", f"{A}/images/5/thumbnail", "/api/v1/openapi.json"],
)
def test_a_strong_etag_and_304(service: httpx.Client, path: str) -> None:
    plain = service.get(path, headers={"Accept-Encoding": "identity"})
    etag = plain.headers["etag"]
    assert etag.startswith('"')
    packed = service.get(path, headers={"Accept-Encoding": "gzip"})
    assert packed.content == plain.content
    if packed.headers.get("content-encoding") == "gzip":
        assert packed.headers["etag"] != etag
    for tag in (etag, packed.headers["etag"], f'"x", {etag}', "*"):
        again = service.get(path, headers={"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"]
    assert service.get(path, headers={"If-None-Match": '"x"'}).status_code == 200
    head = service.head(path, headers={"Accept-Encoding": "identity"})
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(plain.content))
    assert head.headers["etag"] == etag


def test_text_is_compressed_where_that_is_asked_for(service: httpx.Client) -> None:
    with service.stream("GET", f"{A}/neurons/conv1/0", headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(raw))["channel"] == 0
    assert "Accept-Encoding" in answer.headers["vary"]


def test_metrics_count_what_was_asked(service: httpx.Client) -> None:
    service.get(f"{A}/classes")
    text = service.get("/metrics").text
    assert 'neuron_atlas_requests_total{method="GET",route="classes",status="200"}' in text
    assert "neuron_atlas_atlases_available 2.0" in text
    assert "process_resident_memory_bytes" in text
