"""What every request passes: limits, the token, safe headers, metrics and the log; and no exception leaves.

A pure ASGI layer around the application. It hands the path on as it came, in percent-encoding, so that a name with a
slash in it stays one part.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import logging
import re
import time
from collections.abc import Callable, Collection, Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.html import environment as look
from api.http import errors
from api.http.errors import ApiError, Problem
from api.http.log import RequestLog, shown
from api.http.metrics import Metrics
from api.http.respond import Answer, dumps
from atlas.errors import SettingsError
from probe.protocol import LARGEST

LONGEST_TARGET = 8192
"""Bytes of a path with its query."""
LARGEST_BODY = LARGEST
"""Bytes of any request's body; most views take less."""
FRAMED = "neuron_atlas.framed"
"""Key of a scope: the answer is a figure for an iframe, so that the pages of `frame_ancestors` may frame it."""
_ANCESTOR = re.compile(r"\*|self|https?://(\*\.)?[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(:([0-9]{1,5}|\*))?")
OPEN = (b"/livez",)
"""Paths that need no token."""
_SAFE = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
ErrorPage = Callable[[Problem], str]


class Gate:
    """Wraps `app`. `page`: an error as a page, for people who ask for one.

    `hosts`: names under which the service may be called, beside the addresses of loopback; all without it. A page of
    another site whose name was made to point here is so kept from reading what needs no token.

    `frame_ancestors`: whose pages may frame the figures made for that, as origins, `self` or `*`; nobody's without
    it. Raises `SettingsError` for what is none of these.
    """

    def __init__(
        self, app: ASGIApp, *, token: str | None, metrics: Metrics, log: RequestLog, page: ErrorPage,
        hosts: Collection[str] | None = None, frame_ancestors: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self._app = app
        self._safe = [(b"content-security-policy", look.POLICY.encode()), *_SAFE]
        framed = look.policy(_ancestors(frame_ancestors))
        self._safe_framed = [(b"content-security-policy", framed.encode()), *_SAFE]
        self._hosts = None if hosts is None else {name.lower() for name in hosts}
        self._token = None if token is None else token.encode()
        self._metrics = metrics
        self._log = log
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        begin = time.perf_counter()
        method, head = scope["method"], scope["method"] == "HEAD"
        status = size = 0

        async def sending(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                safe = self._safe_framed if scope.get(FRAMED) and status < 400 else self._safe
                message["headers"] = [*message["headers"], *safe]
            else:
                body = message.get("body", b"")
                size += len(body)
                if head and body:
                    message = {**message, "body": b""}
            await send(message)

        self._metrics.in_flight.inc()
        try:
            self._check(scope)
            if head:
                scope = {**scope, "method": "GET"}  # the server's own says HEAD still
            await self._app(scope, receive, sending)
        except Exception as error:
            if errors.of(error).status >= 500 and not isinstance(error, OSError):
                logging.getLogger("neuron_atlas").error("request failed", exc_info=error)
            if status == 0:
                await refusal(errors.of(error), scope, self._page)(scope, receive, sending)
        finally:
            self._metrics.in_flight.dec()
            seconds = time.perf_counter() - begin
            route = scope.get("neuron_atlas.route", "none")
            self._metrics.count(route, _known(method), status, seconds, 0 if head else size)
            client = scope.get("client")
            self._log.write(
                method=method[:20],
                path=shown(scope.get("raw_path") or b""),
                query=shown(scope.get("query_string") or b""),
                route=route,
                status=status,
                bytes=0 if head else size,
                seconds=round(seconds, 6),
                client=client[0] if client else None,
            )

    def _check(self, scope: Scope) -> None:
        """Raises `ApiError` for a request that goes no further."""
        raw = scope.get("raw_path") or scope["path"].encode()
        if len(raw) + len(scope["query_string"]) > LONGEST_TARGET:
            raise ApiError(414, f"the address is too long; expected at most {LONGEST_TARGET} bytes")
        length = authorization = None
        for name, value in scope["headers"]:
            if name == b"content-length":
                length = value
            elif name == b"authorization":
                authorization = value if authorization is None else b""  # of two, neither counts
            elif name == b"host" and self._hosts is not None and not self._is_here(value):
                raise ApiError(421, "Host is not this service: call it as localhost, or start it with --host-name")
        if length is not None and (not length.isdigit() or int(length[:12]) > LARGEST_BODY):
            raise ApiError(413, f"the body is too large; expected at most {LARGEST_BODY} bytes")
        if self._token is not None and raw not in OPEN and not self._allowed(authorization):
            challenge = {"WWW-Authenticate": 'Basic realm="neuron-atlas", charset="UTF-8"'}
            raise ApiError(401, "a token is needed: as `Authorization: Bearer`, or as the password", challenge)
        try:
            scope["path"] = raw.decode("ascii")
        except UnicodeDecodeError:
            raise ApiError(400, "the path is not ASCII; expected percent-encoding") from None

    def _is_here(self, host: bytes) -> bool:
        """Whether a Host header names this machine, or a name that is allowed."""
        text = host.decode("latin-1").strip().lower()
        name = text[: text.find("]") + 1] if text.startswith("[") else text.partition(":")[0]
        return is_loopback(name.strip("[]")) or name in (self._hosts or ())

    def _allowed(self, authorization: bytes | None) -> bool:
        """Whether the header carries the token, compared in constant time."""
        scheme, _, given = (authorization or b"").partition(b" ")
        given = given.strip()
        if scheme.lower() == b"basic":
            try:
                given = base64.b64decode(given, validate=True).partition(b":")[2]
            except (binascii.Error, ValueError):
                given = b""
        elif scheme.lower() != b"bearer":
            given = b""
        assert self._token is not None
        return hmac.compare_digest(given, self._token)


def _ancestors(given: Sequence[str]) -> str:
    """Who may frame a figure, as Content-Security-Policy says it. Raises `SettingsError`."""
    for each in given:
        if not _ANCESTOR.fullmatch(each):
            raise SettingsError(
                f"--frame-ancestors {each!r}: expected an origin as https://example.org or https://*.example.org, "
                "self, or *"
            )
    return " ".join("'self'" if each == "self" else each for each in given) or "'none'"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refusal(said: ApiError, scope: Scope, page: ErrorPage) -> Answer:
    """An error as a page for people who ask for one, else as problem+json."""
    body = errors.problem(said.status, said.detail)
    options = {"status": said.status, "cache": "no-store", "headers": said.headers}
    accept = next((value for name, value in scope["headers"] if name == b"accept"), b"")
    if b"text/html" in accept and not (scope.get("raw_path") or b"").startswith(b"/api/"):
        return Answer(page(body).encode(), "text/html; charset=utf-8", **options)  # type: ignore[arg-type]
    return Answer(dumps(body), "application/problem+json", **options)  # type: ignore[arg-type]


def _known(method: str) -> str:
    return method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"
