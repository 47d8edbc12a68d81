"""The probe over HTTP: the questions of `probe.protocol`, for whoever has the secret.

It answers the service, not people: JSON without addresses, errors as application/problem+json. No image is stored, and
none is logged.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import orjson
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.http.listen import bound
from atlas.errors import AtlasError, ImageError, InputError, NotFoundError, SettingsError
from probe import originals
from probe.accuracy import Tally
from probe.answer import see
from probe.kept import KEPT_BYTES, Kept
from probe.pictures import KINDS, MAPS, Picture, Wanted, of_example, picture
from probe.places import where_else
from probe.protocol import (
    EVIDENCE,
    LARGEST,
    MOST_EDITED,
    MOST_PLACES,
    OF,
    PROBLEM,
    RETRY_SECONDS,
    TOKEN,
    Busy,
    asked,
    difference,
    neurons,
    number,
)
from probe.subjects import Subject
from probe.work import Desk

BODY_SECONDS = 30.0
PREFIX = "/api/v1/atlases/"
_LOG = logging.getLogger("neuron_atlas.probe")


class Refusal(Exception):  # noqa: N818
    """A question that is not answered."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}


def refusal_of(error: Exception) -> Refusal:
    """What is said of an exception; never a path of this machine, never a traceback."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, Busy):
        return Refusal(429, "the probe's queue is full; ask again", {"Retry-After": str(RETRY_SECONDS)})
    if isinstance(error, ImageError):
        status = 413 if error.reason == "too_large" else 422
        return Refusal(status, f"the image cannot be used: {error}")
    if isinstance(error, NotFoundError):
        return Refusal(404, str(error))
    if isinstance(error, InputError):
        return Refusal(422, str(error))
    if isinstance(error, ClientDisconnect):
        return Refusal(400, "the request was broken off")
    _LOG.error("question failed", exc_info=error)
    return Refusal(500, "the probe failed; its log says more")


class App:
    """The application. `token`: what every question carries; without one, everybody is answered."""

    def __init__(self, desk: Desk, token: str | None) -> None:
        self._desk, self._token = desk, None if token is None else token.encode()
        self._kept = Kept(KEPT_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send, self._desk.close)
            return
        response = await self.answer(Request(scope, receive))
        await response(scope, receive, send)

    async def answer(self, request: Request) -> Response:
        """The answer to a request, or why there is none."""
        try:
            return await self._respond(request)
        except (AtlasError, Refusal, Busy, ClientDisconnect, Exception) as error:
            said = refusal_of(error)
            problem = {"type": "about:blank", "title": HTTPStatus(said.status).phrase, "status": said.status}
            body = orjson.dumps({**problem, "detail": " ".join(said.detail.split())[:500]})
            return Response(body, said.status, said.headers, PROBLEM)

    async def _respond(self, request: Request) -> Response:
        path = (request.scope.get("raw_path") or request.url.path.encode()).decode("ascii", "replace")
        if path == "/livez":
            return Response(b"ok\n", media_type="text/plain")
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode("utf-8", "replace")
        if self._token is not None and not hmac.compare_digest(given, self._token):
            raise Refusal(401, f"a secret is needed: the value of {TOKEN}")
        if path == "/health":
            return _json(self._health())
        name, _, question = path.removeprefix(PREFIX).partition("/")
        found = self._questions().get((request.method, question)) if path.startswith(PREFIX) else None
        if found is None:
            raise Refusal(404, "no such question; expected POST …/atlases/{atlas}/probe")
        of = request.headers.get(OF)
        subject = self._desk.subject(unquote(name), of)
        other = None if of is None else difference(of, subject.identity)
        if other:
            raise Refusal(409, other)
        with self._desk.place():
            return await found(request, subject)

    def _questions(self) -> dict[tuple[str, str], Callable[[Request, Subject], Awaitable[Response]]]:
        return {
            ("POST", "probe"): self._probe,
            ("POST", "probe/pictures"): self._picture,
            ("GET", "probe/pictures"): self._stored_picture,
            ("POST", "probe/places"): self._places,
            ("GET", "probe/accuracy"): self._accuracy,
        }

    def _health(self) -> dict[str, Any]:
        return {
            "waiting": self._desk.waiting,
            "atlases": {name: str(subject.identity) for name, subject in self._desk.subjects.items()},
        }

    async def _probe(self, request: Request, subject: Subject) -> Response:
        question = asked(request.query_params)
        return _json(await self._desk.answer(subject, await self._image(request, subject), question))

    async def _image(self, request: Request, subject: Subject) -> bytes:
        """The image that is meant: the body, or with `image` one of the atlas."""
        body, image_id = await body_of(request), request.query_params.get("image")
        if image_id is None:
            return body
        if body:
            raise InputError("image: expected no body beside it")
        number_ = number("image", image_id, 0, 2**53)
        return (await self._desk.decode(lambda: originals.image(subject, number_))).body

    async def _picture(self, request: Request, subject: Subject) -> Response:
        values = request.query_params
        wanted = _wanted(subject, values)
        ablation = subject.values(neurons(values.get("ablate")), "zero")
        body = await self._image(request, subject)
        seen = await self._desk.decode(lambda: see(subject, body))
        return _pictured(await self._desk.compute(lambda: picture(subject, seen.pixels, wanted, ablation)))

    async def _stored_picture(self, request: Request, subject: Subject) -> Response:
        values = request.query_params
        wanted, example = of_example(subject, _wanted(subject, values), values)
        key = f"{subject.identity}?{wanted}"
        kept = self._kept.get(key)
        if kept is None:
            found = await self._desk.decode(lambda: originals.image(subject, example.image_id))
            seen = await self._desk.decode(lambda: see(subject, found.body))
            made = await self._desk.compute(lambda: picture(subject, seen.pixels, wanted))
            kept = replace(made, said={**made.said, "source": found.source, "image": example.image_id})
            self._kept.put(key, kept, len(kept.body))
        return _pictured(kept)

    async def _places(self, request: Request, subject: Subject) -> Response:
        values = request.query_params
        layer = subject.layer(str(values.get("layer", "")))
        y, x = (number(name, values.get(name, 0), -1, 2**20) for name in ("y", "x"))
        k = number("k", values.get("k", 10), 1, MOST_PLACES)
        body = await self._image(request, subject)
        seen = await self._desk.decode(lambda: see(subject, body))
        return _json(await self._desk.compute(lambda: where_else(subject, seen.pixels, k, layer, y, x)))

    async def _accuracy(self, request: Request, subject: Subject) -> Response:
        question = asked({**request.query_params, "layers": None, "k": 1})
        count = number("n", request.query_params.get("n", 100), 1, MOST_EDITED)
        tally = Tally(subject, question, count)
        for image_id, class_id in tally.images:
            await self._desk.compute(partial(tally.count, image_id, class_id))  # others are answered in between
        return _json(tally.told())


def _wanted(subject: Subject, values: Mapping[str, str]) -> Wanted:
    """The neuron and the kind that a question names. Raises `InputError`, `NotFoundError`."""
    layer = subject.layer(str(values.get("layer", "")))
    kind = str(values.get("kind", KINDS[0]))
    channel = 0 if kind == MAPS else number("channel", values.get("channel", ""), 0, 2**31)
    subject.atlas.store.layers.number(layer.name, channel)
    return Wanted(layer, channel, kind)


def _pictured(made: Picture) -> Response:
    headers = {EVIDENCE + name.replace("_", "-"): str(value) for name, value in made.said.items() if value is not None}
    return Response(made.body, 200, headers, made.media)


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")


async def body_of(request: Request) -> bytes:
    """The body of a question. Raises `Refusal`."""
    too_large = Refusal(413, f"the image file is too large; expected at most {LARGEST} bytes")
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length[:12]) > LARGEST:
        raise too_large
    body = bytearray()

    async def read() -> None:
        async for piece in request.stream():
            if len(body) + len(piece) > LARGEST:
                raise too_large
            body.extend(piece)

    try:
        await asyncio.wait_for(read(), BODY_SECONDS)
    except TimeoutError:
        raise Refusal(408, f"the image file came too slowly; expected it within {BODY_SECONDS:.0f} s") from None
    return bytes(body)


async def _lifespan(receive: Receive, send: Send, close: Callable[[], None]) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            close()
            return


def checked_secret(host: str) -> str | None:
    """The secret that the environment gives. Raises `SettingsError` where one is needed."""
    from api.http.gate import is_loopback

    token = os.environ.get(TOKEN)
    if token == "":
        raise SettingsError(f"{TOKEN} is empty: expected a secret, or none at all")
    if token is None and not is_loopback(host):
        raise SettingsError(f"--host {host}: other machines can reach it, so it needs {TOKEN} set, here and for serve")
    return token


def serve(desk: Desk, *, host: str = "127.0.0.1", port: int = 8001, ready: Callable[[str], None] | None = None) -> None:
    """Answers questions until SIGTERM or SIGINT. `ready` is called with the address."""
    token = checked_secret(host)
    listening = bound(host, port)
    listening.listen(256)
    shown, number = listening.getsockname()[:2]
    address = f"http://{f'[{shown}]' if ':' in shown else shown}:{number}/"
    if ready is not None:
        ready(address)
    config = uvicorn.Config(
        App(desk, token), http="httptools", ws="none", lifespan="on", log_level="warning", access_log=False,
        server_header=False, proxy_headers=False, timeout_graceful_shutdown=10,
    )  # fmt: skip
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        listening.close()


def end_with_input() -> None:
    """Ends this process when its standard input ends: a child goes with the service that started it."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 4096):  # a buffered read would hold a lock at the end of this process
            pass
        os._exit(0)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def warm(subjects: Sequence[Subject]) -> None:
    """Answers a black image once, so that the first question waits for no compiler."""
    import io

    from PIL import Image

    from probe.answer import see, tell
    from probe.protocol import Asked

    body = io.BytesIO()
    Image.new("RGB", (64, 64)).save(body, "PNG")
    for subject in subjects:
        tell(subject, see(subject, body.getvalue()), Asked(k=1))
