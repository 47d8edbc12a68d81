"""ETags, 304 and compression by the letters of RFC 9110."""

from __future__ import annotations

import pytest

from api.http.respond import accepts_gzip, dumps, matches


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        (b"", False), (b"gzip", True), (b"br, gzip", True), (b"gzip;q=0", False), (b"gzip; q=0.0", False),
        (b"gzip;q=0.5", True), (b"*", True), (b"identity", False), (b"xgzip", False), (b"gzipped", False),
        (b"deflate, GZIP ;q=1, br", True), (b"gzip;q=x", False), (b"br;q=1.0,gzip;q=0.8,*;q=0.1", True),
    ],
)  # fmt: skip
def test_gzip_is_used_where_it_is_taken(header: bytes, taken: bool) -> None:
    assert accepts_gzip(header) is taken


@pytest.mark.parametrize(
    ("header", "same"),
    [
        (None, False), (b'"abc"', True), (b'"abc-gzip"', True), (b'W/"abc"', True), (b"*", True), (b'"x", "abc"', True),
        (b'"abcd"', False), (b"abc", False), (b"", False),
    ],
)  # fmt: skip
def test_if_none_match(header: bytes | None, same: bool) -> None:
    assert matches(header, "abc") is same


def test_what_is_not_a_number_is_null() -> None:
    assert dumps({"a": float("nan"), "b": float("inf")}) == b'{"a":null,"b":null}'
