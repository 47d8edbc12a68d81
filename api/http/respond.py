"""How every answer leaves: a strong ETag, 304 where the caller has it, compressed where that is asked for."""

from __future__ import annotations

import gzip
import hashlib
import re
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

IMMUTABLE = "public, max-age=31536000, immutable"
REVALIDATE = "no-cache"
_TEXT = ("application/json", "application/problem+json", "text/", "image/svg+xml", "application/vnd.apache.arrow")
_LEAST = 600  # bytes worth compressing
_GZIP = re.compile(r"(?:^|,)\s*(?:gzip|\*)\s*(?:;\s*q=([0-9.]+))?\s*(?:,|$)", re.IGNORECASE)


def dumps(value: Any) -> bytes:
    """JSON; what is not a number becomes null."""
    return orjson.dumps(value)


class Answer(Response):
    """A whole body that leaves with an ETag of its contents."""

    def __init__(
        self, body: bytes, media_type: str, *, status: int = 200, cache: str = REVALIDATE,
        headers: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.body = body
        self.status_code = status
        self.background = None
        self._media_type = media_type
        self._cache = cache
        self._extra = headers or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, body = self.status_code, self.body
        headers = [(b"content-type", self._media_type.encode("latin-1")), (b"cache-control", self._cache.encode())]
        headers += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self._extra.items()]
        text = self._media_type.startswith(_TEXT)
        if text:
            headers.append((b"vary", b"Accept, Accept-Encoding"))
        asked = _asked(scope)
        if status == 200:
            etag = hashlib.blake2b(body, digest_size=16).hexdigest()
            packed = text and len(body) >= _LEAST and accepts_gzip(asked.get(b"accept-encoding", b""))
            tag = f'"{etag}-gzip"' if packed else f'"{etag}"'
            headers.append((b"etag", tag.encode()))
            if matches(asked.get(b"if-none-match"), etag):
                status, body = 304, b""
            elif packed:
                body = gzip.compress(body, 1, mtime=0)
                headers.append((b"content-encoding", b"gzip"))
        if status != 304:
            headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _asked(scope: Scope) -> dict[bytes, bytes]:
    return {name: value for name, value in scope["headers"] if name in (b"accept-encoding", b"if-none-match")}


def accepts_gzip(header: bytes) -> bool:
    """Whether the caller takes gzip (RFC 9110, 12.5.3)."""
    found = _GZIP.search(header.decode("latin-1")) if header else None
    if found is None:
        return False
    try:
        return found[1] is None or float(found[1]) > 0
    except ValueError:
        return False


def matches(header: bytes | None, etag: str) -> bool:
    """Whether If-None-Match names this body, in whichever encoding the caller has it."""
    if header is None:
        return False
    text = header.decode("latin-1")
    if text.strip() == "*":
        return True
    tags = {each.strip().removeprefix("W/") for each in text.split(",")}
    return f'"{etag}"' in tags or f'"{etag}-gzip"' in tags


def json_answer(value: Any, **options: Any) -> Answer:
    """An answer in JSON."""
    return Answer(dumps(value), "application/json", **options)
