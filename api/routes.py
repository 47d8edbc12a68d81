"""Every route of the service: VIEWS as JSON and as pages, and what is not of one atlas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from inspect import isawaitable
from typing import Any

import pyarrow as pa
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from api import views
from api.html import environment
from api.http.dear import Dear
from api.http.errors import ApiError
from api.http.gate import FRAMED
from api.http.metrics import TYPE, Metrics
from api.http.openapi import document
from api.http.params import Param, parse
from api.http.respond import IMMUTABLE, REVALIDATE, Answer, json_answer
from api.http.urls import API, origin, unpart
from api.library import Library
from api.probing import Prober
from api.views.call import Call
from api.views.health import Health, health
from api.views.index import AtlasList, index
from api.views.pages import Pages
from api.views.sectioned import answer, model
from api.views.speaker import Speaker
from api.views.view import View
from atlas.errors import AtlasError, FolderError

HTML = "text/html; charset=utf-8"
EMBED = Param("embed", "choice", "the figure alone, for an iframe", choices=("1",))
"""Of pages that have a figure."""


class Service:
    """Endpoints over a library."""

    def __init__(
        self, library: Library, *, pictures: bool, private: bool, metrics: Metrics, version: str,
        prober: Prober | None = None,
    ) -> None:  # fmt: skip
        self.library = library
        self.pictures = pictures
        self.metrics = metrics
        self.version = version
        self.pages = Pages()
        self.dear = Dear()
        self.speakers = {
            name: Speaker(shelf, pictures=pictures, private=private, prober=prober)
            for name, shelf in library.shelves.items()
        }
        served = [speaker for speaker in self.speakers.values() if speaker.shelf.available]
        by_digest = {str(speaker.shelf.atlas.about.get("digest")): speaker for speaker in served}
        for speaker in self.speakers.values():
            speaker.others = by_digest

    def call(self, request: Request, params: tuple[Param, ...], route: str) -> Call:
        """The request in words. Raises `ApiError`, `NotFoundError`."""
        scope = request.scope
        scope["neuron_atlas.route"] = route
        path = {}
        for name, encoded in scope["path_params"].items():
            decoded = unpart(encoded)
            if decoded is None:
                raise ApiError(422, f"{name}: expected UTF-8 in percent-encoding")
            path[name] = decoded
        shelf = self.library.get(path.pop("atlas"))
        values = parse(scope["query_string"], params)
        accept = next((value for name, value in scope["headers"] if name == b"accept"), b"").decode("latin-1")
        return Call(self.speakers[shelf.name], path, values, route, accept)

    def rest(self, view: View) -> Callable[[Request], Any]:
        """The endpoint of a view in JSON, or in what it answers with itself."""

        async def endpoint(request: Request) -> Response:
            call = self.call(request, view.params, view.name)
            async with nullcontext() if view.admit is None else view.admit(call):
                if view.body is not None:
                    call = replace(call, body=await _body(request, view.largest))
                with _of_atlas(call):
                    if view.slow:
                        return await self.dear.run(lambda: _answered(answer(view, call)))
                    value = answer(view, call)
                    return _answered(await value if isawaitable(value) else value)

        return endpoint

    def page(self, view: View) -> Callable[[Request], Any]:
        """The endpoint of a view as a page."""
        assert view.page is not None
        name, slow = f"page:{view.name}", view.page.slow
        params = view.params if view.page.params is None else view.page.params
        if view.page.figure:
            params = (*params, EMBED)

        async def endpoint(request: Request) -> Response:
            call = self.call(request, params, name)
            values = dict(call.values)
            embed = values.pop(EMBED.name, None) is not None
            call = replace(call, values=values, embed=embed, origin=origin(request.scope))
            request.scope[FRAMED] = embed
            with _of_atlas(call):
                if slow:
                    text = await self.dear.run(lambda: self.pages.render(view, call))
                else:
                    text = self.pages.render(view, call)
            return Answer(text.encode(), HTML)

        return endpoint

    # What is not of one atlas

    async def atlases(self, request: Request) -> Response:
        self._plain(request, "atlases")
        return json_answer(index(self.speakers.values()))

    async def home(self, request: Request) -> Response:
        self._plain(request, "page:atlases")
        return Answer(self.pages.index(index(self.speakers.values())).encode(), HTML)

    async def health(self, request: Request) -> Response:
        self._plain(request, "health")
        shelves = self.library.shelves.values()
        return json_answer(health(shelves, version=self.version, pictures=self.pictures))

    async def live(self, request: Request) -> Response:
        """For probes: the process answers."""
        self._plain(request, "livez")
        return Answer(b"ok\n", "text/plain; charset=utf-8", cache="no-store")

    async def measured(self, request: Request) -> Response:
        self._plain(request, "metrics")
        return Answer(self.metrics.text(), TYPE, cache="no-store")

    async def asset(self, request: Request) -> Response:
        request.scope["neuron_atlas.route"] = "static"
        values = parse(request.scope["query_string"], (Param("v", "text", "digest", high=64),))
        name = request.path_params["name"]
        asset = environment.assets().get(name)
        if asset is None:
            raise ApiError(404, f"{name[:50]!r}: no such file")
        return Answer(asset.body, asset.media_type, cache=IMMUTABLE if values["v"] == asset.digest else REVALIDATE)

    def openapi(self, app: FastAPI) -> Callable[[Request], Any]:
        """The OpenAPI document, made when it is first asked for."""

        async def endpoint(request: Request) -> Response:
            self._plain(request, "openapi")
            return json_answer(document(app))

        return endpoint

    def _plain(self, request: Request, route: str) -> None:
        request.scope["neuron_atlas.route"] = route
        parse(request.scope["query_string"], ())


class _of_atlas:  # noqa: N801
    """An error of an atlas leaves without the folder's place on this machine.

    A folder that cannot be read any more, though it was when it was opened, is 503 from then on, and health says so.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        shelf = self._call.say.shelf
        unreadable = type(error) is FolderError or isinstance(error, pa.ArrowException)
        if unreadable and shelf.available:
            shelf.changed()
            raise ApiError(503, f"atlas {shelf.name!r} changed while it was served; see /api/v1/health") from None
        if isinstance(error, AtlasError) and shelf.available:
            text, place = str(error), shelf.atlas.folder.location
            if place in text:
                raise type(error)(text.replace(place, shelf.name)) from None


def _answered(value: Any) -> Response:
    return value if isinstance(value, Response) else json_answer(value)


async def _body(request: Request, largest: int) -> bytes:
    """The body of a request. Raises `ApiError` 413."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > largest:
            raise ApiError(413, f"the body is too large; expected at most {largest} bytes")
    return bytes(body)


_SAID: Mapping[str, tuple[str, dict[str, Any], Any]] = {
    "atlas": ("name of the atlas", {"type": "string"}, "digits"),
    "layer": ("layer, as in named_modules(), in percent-encoding", {"type": "string"}, "features.3.expand3x3"),
    "channel": ("feature map, or unit of a linear layer", {"type": "integer", "minimum": 0}, 17),
    "image_id": ("image", {"type": "integer", "minimum": 0}, 281),
    "class_id": ("class", {"type": "integer", "minimum": 0}, 3),
    "part": ("part, NAME or NAME@AS", {"type": "string"}, "connections"),
    "other_layer": ("layer of the other atlas", {"type": "string"}, "conv1"),
    "pack": ("pack of pictures", {"type": "string"}, "harvest-000000.tar"),
    "place": ("offset and length", {"type": "string", "pattern": "^[0-9]+-[0-9]+$"}, "512-900"),
}
"""Parts of paths: meaning, schema, an example."""
_UNKNOWN = ("part of the path", {"type": "string"}, "text")


def _path_params(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    found = []
    for name in names:
        description, schema, example = _SAID.get(name, _UNKNOWN)
        found.append(
            {"name": name, "in": "path", "required": True, "description": description, "schema": schema,
             "example": example}
        )  # fmt: skip
    return found


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    names = {
        400: "the request was broken off", 401: "a token is needed", 403: "pictures are not served",
        404: "there is no such thing", 408: "the body comes too slowly",
        409: "the probe has loaded another atlas", 413: "the body is too large",
        414: "the address is too long", 422: "a value is not as expected",
        429: "the probe's queue is full", 503: "too many such answers are being made, or there is no probe yet",
        504: "the probe has not answered in time",
    }  # fmt: skip
    return {status: {"description": names[status], "content": content} for status in statuses}


def _described(view: View) -> dict[str, Any]:
    """What OpenAPI says of a view beyond its model."""
    responses: dict[int | str, dict[str, Any]] = {}
    if view.media:
        responses[200] = {"content": {media: {} for media in view.media}}
        if view.model is None:
            responses[200]["description"] = "an image file"
            responses |= _errors(403)
    more: dict[str, Any] = {"responses": responses, "methods": [view.method]}
    if view.slow:
        responses |= _errors(503)
    if view.body is not None:
        responses |= _errors(400, 408, 413)
        more["requestBody"] = view.body
    if view.admit is not None:
        responses |= _errors(409, 429, 503, 504)
    return more


def install(app: FastAPI, service: Service) -> None:
    """Adds every route, in the order of VIEWS."""
    base, pages = f"{API}/atlases/{{atlas}}", "/{atlas}"
    extra: dict[int | str, dict[str, Any]] = {304: {"description": "the caller has it already"}}

    def add(
        path: str, endpoint: Any, summary: str, model: Any = None, params: tuple[Param, ...] = (), **more: Any
    ) -> None:
        described = {"parameters": [*_path_params(path), *(param.schema() for param in params)]}
        if "requestBody" in more:
            described["requestBody"] = more.pop("requestBody")
        app.add_api_route(
            path, endpoint, summary=summary, response_model=model, response_class=JSONResponse, status_code=200,
            openapi_extra=described, responses={**extra, **_errors(401, 404, 414, 422), **more.pop("responses", {})},
            operation_id=more.pop("name"), methods=more.pop("methods", ["GET"]), tags=[more.pop("tag", "atlas")],
        )  # fmt: skip

    for view in views.VIEWS:
        more = _described(view)
        add(base + view.path, service.rest(view), view.summary, model(view), view.params,
            name=view.name, tag=view.tag, **more)  # fmt: skip
    for view in views.VIEWS:
        if view.page is not None:
            app.add_route(pages + view.path, service.page(view), methods=["GET"], include_in_schema=False)
    add(f"{API}/atlases", service.atlases, "What there is", AtlasList, name="atlases", tag="service")
    summary = "State, what was verified and what is still being"
    add(f"{API}/health", service.health, summary, Health, name="health", tag="service")
    for path, endpoint in (
        (f"{API}/openapi.json", service.openapi(app)), ("/metrics", service.measured), ("/livez", service.live),
        ("/static/{name:path}", service.asset), ("/", service.home),
    ):  # fmt: skip
        # Before `/{atlas}`, which would take them.
        app.add_route(path, endpoint, methods=["GET"], include_in_schema=False)
        app.router.routes.insert(0, app.router.routes.pop())
