"""Nearest images: of an image, and of a code that a caller sends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import orjson
from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.http.errors import ApiError
from api.http.params import Param
from api.views.call import NEIGHBOURS, Call
from api.views.speaker import Speaker
from api.views.values import ClassId, ClassName, ImageId, Next, Page, Picture, Similarity, Url
from api.views.view import Context, Sheet, View
from api.views.view import Page as HtmlPage


@closed
class Neighbour(TypedDict):
    """An image near another one, or near a code."""

    image_id: ImageId
    similarity: Similarity
    class_id: ClassId
    class_name: ClassName
    thumbnail: Annotated[Picture, doc("the whole image, small")]
    url: Url
    page: Page


@closed
class NeighbourList(TypedDict):
    """Nearest images by code."""

    items: Annotated[list[Neighbour], doc("nearest images, the nearest first")]
    next: Next


K = Param("k", "int", "how many", 10, 1, NEIGHBOURS, example=10)
LARGEST = 1 << 20
"""Bytes of a code, as JSON."""


def near(say: Speaker, image_id: int, similarity: float) -> Neighbour:
    """An image near something, with its addresses."""
    images = say.store.images
    row = images.get(image_id)
    url, page = say.urls.image(image_id)
    return {
        "image_id": image_id,
        "similarity": similarity,
        "class_id": row.class_id,
        "class_name": images.name(row.class_id),
        "thumbnail": say.thumbnail(image_id, row.thumbnail.why),
        "url": url,
        "page": page,
    }


def nearest(say: Speaker, image_id: int, k: int) -> NeighbourList:
    """The `k` images nearest to one. Raises `NotFoundError`."""
    say.store.images.row(image_id)
    found = say.shelf.atlas.neighbours(image_id, k)
    return {"items": [near(say, *each) for each in found], "next": None}


def _answer(call: Call) -> NeighbourList:
    return nearest(call.say, call.number("image_id"), call.values["k"])


def _page(call: Call) -> Context:
    image_id = call.number("image_id")
    url, page = call.say.urls.image(image_id)
    return {"image": {"image_id": image_id, "page": page}, "neighbours": _answer(call), "json": f"{url}/neighbours"}


def _sheets(say: Speaker) -> Iterator[Sheet]:
    images = say.store.images
    for row in range(images.count):
        image_id = images.span(row, 1)[0].image_id
        yield Sheet({"image_id": str(image_id)}, {"k": 50}, f"images/{image_id}/neighbours")


def _of_code(call: Call) -> NeighbourList:
    """Nearest images to a code that the caller sends. Raises `ApiError` 422."""
    try:
        body = orjson.loads(call.body)
    except orjson.JSONDecodeError:
        raise ApiError(422, "body: expected JSON {code: [numbers], k: a number}") from None
    code, k = _asked(call.say, body)
    found = call.say.shelf.atlas.neighbours_of(code, k)
    return {"items": [near(call.say, *each) for each in found], "next": None}


def _asked(say: Speaker, body: Any) -> tuple[list[float], int]:
    if not isinstance(body, dict) or not set(body) <= {"code", "k"} or "code" not in body:
        raise ApiError(422, "body: expected {code: [numbers], k: a number}")
    k, code = body.get("k", 10), body["code"]
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= NEIGHBOURS:
        raise ApiError(422, f"k: expected a whole number from 1 to {NEIGHBOURS}")
    size = say.shelf.atlas.dimensions
    if not isinstance(code, list) or len(code) != size:
        raise ApiError(422, f"code: expected a list of {size} numbers")
    if not all(isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30 for value in code):
        raise ApiError(422, "code: expected numbers")
    if not any(code):
        raise ApiError(422, "code: expected a number other than 0 among its values")
    return code, k


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
                    "k": {"type": "integer", "minimum": 1, "maximum": NEIGHBOURS, "default": 10},
                },
            },
            "example": {"code": [0.5, -1.0, 2.0], "k": 5},
        }
    },
}
VIEW = View(
    "neighbours", "/images/{image_id}/neighbours", "Nearest images of one, by cosine of their codes", _answer,
    NeighbourList, (K,), page=HtmlPage("neighbours.html", _page, sheets=_sheets),
)  # fmt: skip
OF_CODE = View(
    "neighbours_of", "/neighbours", "Nearest images to a code", _of_code, NeighbourList, body=_CODE, largest=LARGEST
)
