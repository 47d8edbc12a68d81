"""Every route of the service: its path, its parameters, its model, and what answers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from api import models, rest
from api.html import environment as look
from api.http.errors import ApiError
from api.http.gate import LARGEST_BODY
from api.http.metrics import TYPE, Metrics
from api.http.openapi import document
from api.http.params import Param, integer, parse
from api.http.respond import IMMUTABLE, REVALIDATE, Answer, json_answer
from api.http.urls import API, unpart
from api.library import Library
from api.pages import PARAMS, Pages
from api.rest import Call
from api.say import Speaker
from atlas.errors import AtlasError
from atlas.read import maps

ARROW = "application/vnd.apache.arrow.stream"
HTML = "text/html; charset=utf-8"


@dataclass(frozen=True)
class Route:
    """A route of one atlas. `path` comes after `/api/v1/atlases/{atlas}`, and after `/{atlas}` for its page.

    `slow`: it reads more than a few records, and runs beside the event loop.
    """

    name: str
    path: str
    answer: Callable[[Call], Any]
    model: Any
    summary: str
    params: tuple[Param, ...] = ()
    slow: bool = False


ROUTES = (
    Route("neuron", "/neurons/{layer}/{channel}", rest.neuron, models.Neuron, "All of one neuron"),
    Route("neighbours", "/images/{image_id}/neighbours", rest.neighbours, models.NeighbourList,
          "Nearest images of one, by cosine of their codes", (rest.K,)),
    Route("image", "/images/{image_id}", rest.image, models.Image,
          "One image, with the neurons that hold it and the boxes", (rest.limit(rest.HOLDING), rest.CURSOR)),
    Route("images", "/images", rest.images, models.ImageList, "Images", (rest.CLASS, *rest.PAGING)),
    Route("neurons", "/layers/{layer}/neurons", rest.neurons, models.TileList,
          "A page of a layer's neurons with their first pictures", rest.NEURONS, slow=True),
    Route("filters", "/layers/{layer}/filters", rest.filters, models.FilterList, "A layer's filters", rest.PAGING),
    Route("layer", "/layers/{layer}", rest.layer, models.Layer, "One layer"),
    Route("layers", "/layers", rest.layers, models.LayerList, "Layers from input to output", slow=True),
    Route("class", "/classes/{class_id}", rest.class_, models.Class, "A class: its images, its neurons"),
    Route("classes", "/classes", rest.class_list, models.ClassList, "Classes", rest.PAGING),
    Route("map", "/map", rest.map_, models.Map, "Points of a map, in JSON or as an Arrow stream", (rest.KIND,),
          slow=True),
    Route("search", "/search", rest.search_, models.HitList, "Layers, neurons, classes, images", (rest.Q,), slow=True),
    Route("quarantine", "/quarantine", rest.quarantine, models.QuarantineList, "What was left out, and why",
          rest.PAGING),
    Route("sanity", "/sanity", rest.sanity, models.SanityList,
          "How far each kind of picture depends on the weights", rest.PAGING),
    Route("atlas", "", rest.atlas, models.Atlas, "One atlas"),
)  # fmt: skip
SLOW_PAGES = ("atlas", "layers", "layer", "neurons", "search", "sanity", "class", "classes")


class Service:
    """Endpoints over a library."""

    def __init__(self, library: Library, *, pictures: bool, private: bool, metrics: Metrics, version: str) -> None:
        self.library = library
        self.pictures = pictures
        self.metrics = metrics
        self.version = version
        self.pages = Pages()
        self.speakers = {name: Speaker(shelf, pictures=pictures) for name, shelf in library.shelves.items()}
        self._immutable = IMMUTABLE.replace("public", "private") if private else IMMUTABLE

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
        return Call(self.library, self.speakers[shelf.name], path, values, route)

    def rest(self, route: Route) -> Callable[[Request], Any]:
        """The endpoint of a route in JSON."""

        async def endpoint(request: Request) -> Response:
            call = self.call(request, route.params, route.name)
            with _without_paths(call):
                if route.slow:
                    return await run_in_threadpool(lambda: json_answer(route.answer(call)))
                return json_answer(route.answer(call))

        return endpoint

    def map(self, route: Route) -> Callable[[Request], Any]:
        """The endpoint of the map: an Arrow stream for those who take one."""
        as_json = self.rest(route)

        async def endpoint(request: Request) -> Response:
            if ARROW not in request.headers.get("accept", ""):
                return await as_json(request)  # type: ignore[no-any-return]
            call = self.call(request, route.params, route.name)
            return await run_in_threadpool(_arrow, call)

        return endpoint

    def page(self, route: Route) -> Callable[[Request], Any]:
        """The endpoint of a route as a page."""
        name, params = route.name, PARAMS[route.name]

        async def endpoint(request: Request) -> Response:
            call = self.call(request, params, f"page:{name}")
            with _without_paths(call):
                if name in SLOW_PAGES:
                    text = await run_in_threadpool(self.pages.render, name, call)
                else:
                    text = self.pages.render(name, call)
            return Answer(text.encode(), HTML)

        return endpoint

    async def neighbours_of(self, request: Request) -> Response:
        """POST …/neighbours."""
        call = self.call(request, (), "neighbours_of")
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > LARGEST_BODY:
                raise ApiError(413, f"the body is too large; expected at most {LARGEST_BODY} bytes")
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise ApiError(422, "body: expected JSON {code: [numbers], k: a number}") from None
        with _without_paths(call):
            return json_answer(rest.neighbours_of(call, value))

    async def picture(self, request: Request) -> Response:
        """…/pictures/{pack}/{offset}-{length}."""
        call = self.call(request, (), "picture")
        offset, gap, length = call.path["place"].partition("-")
        if not gap:
            raise ApiError(422, f"picture {call.path['place'][:50]!r}: expected {{offset}}-{{length}}")
        return self._picture(call, call.path["pack"], integer("offset", offset), integer("length", length))

    async def thumbnail(self, request: Request) -> Response:
        """…/images/{image_id}/thumbnail."""
        return self._of_image(self.call(request, (), "thumbnail"), "thumbnail")

    async def whole(self, request: Request) -> Response:
        """…/images/{image_id}/picture."""
        return self._of_image(self.call(request, (), "whole"), "picture")

    def _of_image(self, call: Call, which: str) -> Answer:
        row = call.say.shelf.store.images.get(call.number("image_id"))
        place = row.thumbnail if which == "thumbnail" else row.picture
        if place.pack is None:
            raise ApiError(404, f"image {row.image_id} has no {which}: {place.why}")
        return self._picture(call, place.pack, place.offset, place.length)

    def _picture(self, call: Call, pack: str, offset: int, length: int) -> Answer:
        if not self.pictures:
            raise ApiError(403, "pictures are not served: this service was started with --no-pictures")
        body, media_type = call.say.shelf.store.packs.read(pack, offset, length)
        return Answer(body, media_type, cache=self._immutable)

    # What is not of one atlas

    async def atlases(self, request: Request) -> Response:
        self._plain(request, "atlases")
        return json_answer(rest.atlases(self.library, self.speakers))

    async def home(self, request: Request) -> Response:
        self._plain(request, "page:atlases")
        return Answer(self.pages.shelf_list(rest.atlases(self.library, self.speakers)).encode(), HTML)

    async def health(self, request: Request) -> Response:
        self._plain(request, "health")
        return json_answer(self._health())

    def _health(self) -> models.Health:
        shelves = self.library.shelves.values()
        well = all(s.available and s.verification and not s.verification["failed"] for s in shelves)
        return {
            "status": "ok" if well else "degraded",
            "version": self.version,
            "pictures": self.pictures,
            "atlases": [
                {
                    "name": shelf.name,
                    "status": "available" if shelf.available else "unavailable",
                    "reason": shelf.reason,
                    "verification": shelf.verification,
                }
                for shelf in shelves
            ],
        }

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
        asset = look.assets().get(name)
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


class _without_paths:  # noqa: N801
    """An error of an atlas leaves without the folder's place on this machine."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        shelf = self._call.say.shelf
        if isinstance(error, AtlasError) and shelf.available:
            text, place = str(error), shelf.atlas.folder.location
            if place in text:
                raise type(error)(text.replace(place, shelf.name)) from None


def _arrow(call: Call) -> Answer:
    """Points of a map as an Arrow stream."""
    found = maps.read(call.say.shelf.atlas.root, call.values["kind"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, found.table.schema) as writer:
        writer.write_table(found.table)
    return Answer(sink.getvalue().to_pybytes(), ARROW)


def _path_params(path: str) -> list[dict[str, Any]]:
    said: Mapping[str, tuple[str, dict[str, Any], Any]] = {
        "atlas": ("name of the atlas", {"type": "string"}, "digits"),
        "layer": ("layer, as in named_modules(), in percent-encoding", {"type": "string"}, "features.3.expand3x3"),
        "channel": ("feature map, or unit of a linear layer", {"type": "integer", "minimum": 0}, 17),
        "image_id": ("image", {"type": "integer", "minimum": 0}, 281),
        "class_id": ("class", {"type": "integer", "minimum": 0}, 3),
        "pack": ("pack of pictures", {"type": "string"}, "harvest-000000.tar"),
        "place": ("offset and length", {"type": "string", "pattern": "^[0-9]+-[0-9]+$"}, "512-900"),
    }
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [
        {"name": n, "in": "path", "required": True, "description": said[n][0], "schema": said[n][1],
         "example": said[n][2]}
        for n in names
    ]  # fmt: skip


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    names = {
        401: "a token is needed", 403: "pictures are not served", 404: "there is no such thing",
        413: "the body is too large", 414: "the address is too long", 422: "a value is not as expected",
    }  # fmt: skip
    return {status: {"description": names[status], "content": content} for status in statuses}


def install(app: FastAPI, service: Service) -> None:
    """Adds every route, those asked for most first."""
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

    for path, picture, name, summary in (
        ("/pictures/{pack}/{place}", service.picture, "picture", "One picture; immutable"),
        ("/images/{image_id}/thumbnail", service.thumbnail, "thumbnail", "An image, small; immutable"),
        ("/images/{image_id}/picture", service.whole, "whole", "An image, large enough to draw a field on; immutable"),
    ):
        responses = {200: {"description": "an image file", "content": dict(_IMAGES)}, **_errors(403)}
        add(base + path, picture, summary, name=name, responses=responses, tag="pictures")
    for route in ROUTES:
        endpoint = service.map(route) if route.name == "map" else service.rest(route)
        more: dict[str, Any] = {}
        if route.name == "map":
            more["responses"] = {200: {"content": {ARROW: {}}}}
        add(base + route.path, endpoint, route.summary, route.model, route.params, name=route.name, **more)
    for route in ROUTES:
        app.add_route(pages + route.path, service.page(route), methods=["GET"], include_in_schema=False)
    add(f"{base}/neighbours", service.neighbours_of, "Nearest images to a code", models.NeighbourList,
        name="neighbours_of", methods=["POST"], responses=_errors(413), requestBody=_CODE)  # fmt: skip
    add(f"{API}/atlases", service.atlases, "What there is", models.AtlasList, name="atlases", tag="service")
    health = "State, what was verified and what is still being"
    add(f"{API}/health", service.health, health, models.Health, name="health", tag="service")
    for path, endpoint in (
        (f"{API}/openapi.json", service.openapi(app)), ("/metrics", service.measured), ("/livez", service.live),
        ("/static/{name:path}", service.asset), ("/", service.home),
    ):  # fmt: skip
        # Before `/{atlas}`, which would take them.
        app.add_route(path, endpoint, methods=["GET"], include_in_schema=False)
        app.router.routes.insert(0, app.router.routes.pop())


_IMAGES: dict[str, dict[str, Any]] = {"image/png": {}, "image/jpeg": {}, "image/webp": {}}
_CODE = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["code"],
                "additionalProperties": False,
                "properties": {
                    "code": {"type": "array", "items": {"type": "number"}, "description": "values of a code"},
                    "k": {"type": "integer", "minimum": 1, "maximum": rest.NEIGHBOURS, "default": 10},
                },
            },
            "example": {"code": [0.5, -1.0, 2.0], "k": 5},
        }
    },
}
