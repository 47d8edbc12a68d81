"""Points of a map of the images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import pyarrow as pa
from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.http.params import Param
from api.http.respond import Answer
from api.http.urls import part, with_query
from api.views.call import Call
from api.views.speaker import Speaker
from api.views.values import Page, Url
from api.views.view import Context, Sheet, View
from api.views.view import Page as HtmlPage
from atlas.errors import NotFoundError
from atlas.read import maps


@closed
class Map(TypedDict):
    """Points of a map, column by column."""

    kind: Annotated[str, doc("tsne, pca, or pca of a layer (pca:<layer>)", "tsne")]
    kinds: Annotated[list[str], doc("maps that there are", ["tsne", "pca"])]
    image_id: Annotated[list[int], doc("image of each point", [0, 1])]
    x: Annotated[list[float | None], doc("coordinate", [0.5, 1.5])]
    y: Annotated[list[float | None], doc("coordinate", [0.5, 1.5])]
    grid_row: Annotated[list[int | None], doc("row in the grid arrangement", [0, 0])]
    grid_column: Annotated[list[int | None], doc("column in the grid arrangement", [0, 1])]
    class_id: Annotated[list[int | None], doc("class of the image", [3, 5])]
    classes: Annotated[dict[str, str], doc("class -> readable name", {"3": "three"})]
    thumbnail: Annotated[
        str | None,
        doc("address of a point's thumbnail with {image_id} to fill in; null where pictures are not served"),
    ]
    image_page: Annotated[str, doc("page of a point's image with {image_id} to fill in", "/digits/images/{image_id}")]
    url: Url
    page: Page


ARROW = "application/vnd.apache.arrow.stream"
KIND = Param("kind", "text", "which map: tsne, pca, or pca:<layer>", None, high=1000, example="tsne")


def arrow(say: Speaker, kind: str | None) -> bytes:
    """Points of a map as an Arrow stream. Raises `NotFoundError` for a kind that there is not."""
    found = maps.read(say.shelf.atlas.folder, kind)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, found.table.schema) as writer:
        writer.write_table(found.table)
    return bytes(sink.getvalue().to_pybytes())


def _answer(call: Call) -> Map | Answer:
    """Points of a map; as an Arrow stream for those who take one. Raises `NotFoundError`."""
    say = call.say
    if ARROW in call.accept:
        return Answer(arrow(say, call.values["kind"]), ARROW)
    found = maps.read(say.shelf.atlas.folder, call.values["kind"])
    points = found.table
    url, page = say.urls.of("map")
    return {
        "kind": found.kind,
        "kinds": found.kinds,
        "image_id": points["image_id"].to_pylist(),
        "x": points["x"].to_pylist(),
        "y": points["y"].to_pylist(),
        "grid_row": points["grid_row"].to_pylist(),
        "grid_column": points["grid_column"].to_pylist(),
        "class_id": points["class_id"].to_pylist(),
        "classes": {str(class_id): name for class_id, name in sorted(say.store.images.names.items())},
        "thumbnail": f"{say.urls.api}/images/{{image_id}}/thumbnail" if say.pictures else None,
        "image_page": f"{say.urls.page}/images/{{image_id}}",
        "url": url,
        "page": page,
    }


def _page(call: Call) -> Context:
    """The page without the points: its script fetches them. Raises `NotFoundError` for a kind that there is not."""
    say, images = call.say, call.say.store.images
    there = maps.kinds(say.shelf.atlas.folder)
    drawn = any(row.thumbnail.pack is not None for row in images.span(0, 1))  # all images have one, or none
    kind = call.values["kind"] or default(there)
    if kind not in there and call.values["kind"]:
        raise NotFoundError(f"map {kind!r}: expected one of {', '.join(there) or 'none'}")
    api, page = say.urls.of("map")
    address = with_query(api, {"kind": kind or None})
    return {
        "map": {
            "classes": {int(number): say.class_name(int(number)) or f"class {number}" for number in images.classes},
            "thumbnail": f"{say.urls.api}/images/{{image_id}}/thumbnail" if say.pictures and drawn else None,
            "image_page": f"{say.urls.page}/images/{{image_id}}",
        },
        "points": address,
        "kinds": [(each, with_query(page, {"kind": each}), each == kind) for each in there],
        "json": address,
    }


def default(kinds: tuple[str, ...]) -> str:
    """The kind of map that is shown where none is asked for."""
    return "tsne" if "tsne" in kinds else next(iter(kinds), "")


def file(kind: str) -> str:
    """Name of a map's files in a static site, without their endings."""
    return f"map/{part(kind or 'none')}"


def _sheets(say: Speaker) -> Iterator[Sheet]:
    page = say.urls.of("map")[1]
    kinds = maps.kinds(say.shelf.atlas.folder)
    for kind in kinds or ("",):
        also = (page,) if kind == default(kinds) else ()
        yield Sheet({}, {"kind": kind or None}, file(kind), addresses=(with_query(page, {"kind": kind}), *also))


VIEW = View(
    "map", "/map", "Points of a map, in JSON or as an Arrow stream", _answer, Map, (KIND,), slow=True, media=(ARROW,),
    page=HtmlPage("map.html", _page, sheets=_sheets),
)  # fmt: skip
