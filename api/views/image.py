"""One image, with the neurons that hold it and the boxes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.http.params import LIMIT
from api.views.call import CURSOR, PAGING, Call, limit, more
from api.views.neighbours import nearest
from api.views.speaker import Speaker
from api.views.values import (
    Box,
    Channel,
    ClassId,
    ClassName,
    ImageId,
    LayerName,
    Next,
    Page,
    Picture,
    Response,
    Url,
    box_of,
    last_part,
)
from api.views.view import Context, Sheet, View
from api.views.view import Page as HtmlPage
from atlas.read.examples import Example
from atlas.types import SIDES


@closed
class Holding(TypedDict):
    """A neuron that holds the image among its examples, and where."""

    layer: LayerName
    channel: Channel
    side: Annotated[str, doc("max, min or spread", "max")]
    rank: Annotated[int, doc("order within the side, from 0", 0)]
    response: Response
    y: Annotated[int, doc("position in the map, down", 12)]
    x: Annotated[int, doc("position in the map, to the right", 30)]
    box: Annotated[Box, doc("the neuron's field, in pixels of the image as stored, not clipped")]
    crop: Annotated[Picture, doc("the field cut from the image as stored")]
    url: Url
    page: Page


@closed
class HoldingList(TypedDict):
    """A page of neurons that hold an image."""

    items: Annotated[list[Holding], doc("neurons that hold the image, by layer and channel")]
    total: Annotated[int, doc("examples of this image, on all pages", 12)]
    next: Next


@closed
class Image(TypedDict):
    """One image, with the neurons that hold it."""

    image_id: ImageId
    source: Annotated[str, doc("source of images: the last part of what was given to build", "train.parquet")]
    key: Annotated[str, doc("name of the image within its source", "n02123045/n02123045_tabby.JPEG")]
    content: Annotated[str, doc("SHA-256 of its bytes as stored", "9f86d081…")]
    class_id: ClassId
    class_ids: Annotated[list[int], doc("its classes, where it has several", [])]
    class_name: ClassName
    width: Annotated[int, doc("width as stored, pixels", 500)]
    height: Annotated[int, doc("height as stored, pixels", 375)]
    predicted: Annotated[int | None, doc("class with the largest logit; null without classes", 281)]
    predicted_name: ClassName
    probability: Annotated[float | None, doc("softmax of the predicted class", 0.93)]
    loss: Annotated[float | None, doc("cross entropy of the image's class, nat; null without one", 0.07)]
    thumbnail: Annotated[Picture, doc("the whole image, small")]
    picture: Annotated[
        Picture, doc("the whole image, large enough to draw a field on; only of images that are examples")
    ]
    neurons: Annotated[HoldingList, doc("neurons that hold it; `next` goes into this route's cursor")]
    neighbours_url: Annotated[str, doc("nearest images", "/api/v1/atlases/digits/images/281/neighbours")]
    neighbours_page: Annotated[str, doc("page of nearest images", "/digits/images/281/neighbours")]
    class_page: Annotated[str | None, doc("page of its class; null where it has none", "/digits/classes/281")]
    previous_page: Annotated[str | None, doc("page of the image before; null on the first", None)]
    next_page: Annotated[str | None, doc("page of the image after; null on the last", None)]
    url: Url
    page: Page


HOLDING = 100
"""Neurons that hold it, an answer."""
NEAR = 12
"""Nearest images on its page."""


def image(say: Speaker, image_id: int, first: int, count: int) -> tuple[Image, int]:
    """One image with `count` of the neurons that hold it, from the `first` on; and how many there are."""
    images = say.store.images
    at = images.row(image_id)
    row = images.span(at, 1)[0]
    holding, total = say.store.examples.holding(at, first, count)
    url, page = say.urls.image(image_id)
    before, after = images.span(at - 1, 1) if at else [], images.span(at + 1, 1)
    return {
        "image_id": image_id,
        "source": last_part(row.source),
        "key": row.key,
        "content": row.content.hex(),
        "class_id": row.class_id,
        "class_ids": row.class_ids,
        "class_name": images.name(row.class_id),
        "width": row.width,
        "height": row.height,
        "predicted": row.predicted,
        "predicted_name": images.name(row.predicted),
        "probability": row.probability,
        "loss": row.loss,
        "thumbnail": say.thumbnail(image_id, row.thumbnail.why),
        "picture": say.at(say.urls.whole(image_id), row.picture.why),
        "neurons": {"items": [_holding(say, *each) for each in holding], "total": total, "next": None},
        "neighbours_url": f"{url}/neighbours",
        "neighbours_page": f"{page}/neighbours",
        "class_page": None if row.class_id is None else say.urls.class_(row.class_id)[1],
        "previous_page": say.urls.image(before[0].image_id)[1] if before else None,
        "next_page": say.urls.image(after[0].image_id)[1] if after else None,
        "url": url,
        "page": page,
    }, total


def _holding(say: Speaker, number: int, example: Example) -> Holding:
    layer, channel = say.store.layers.neuron(number)
    url, page = say.urls.neuron(layer, channel)
    return {
        "layer": layer,
        "channel": channel,
        "side": example.side,
        "rank": example.rank,
        "response": example.response,
        "y": example.y,
        "x": example.x,
        "box": box_of(example.box),
        "crop": say.picture(example.crop),
        "url": url,
        "page": page,
    }


def _answer(call: Call) -> Image:
    first = call.first()
    found, total = image(call.say, call.number("image_id"), first, call.values["limit"])
    found["neurons"]["next"] = call.next(first, total)
    return found


def _page(call: Call) -> Context:
    """The image; first with the neurons that tell most of it, then, from a cursor on, with all, layer by layer."""
    told, words_of_more = _answer(call), "More neurons"
    held = told["neurons"]
    following = more(told["page"], call.values, PAGING, held["next"])
    if call.values["cursor"] is None:
        every = (
            held if held["next"] is None else _answer(replace(call, values={**call.values, "limit": LIMIT}))["neurons"]
        )
        order = {name: number for number, name in enumerate(call.say.store.layers.names)}
        sides: dict[str, int] = {side: number for number, side in enumerate(SIDES)}
        telling = sorted(every["items"], key=lambda h: (sides[h["side"]], h["rank"], -order[h["layer"]]))
        held["items"] = telling[: call.values["limit"]]
    if call.values["cursor"] is None and held["next"] is not None:
        following = more(told["page"], call.values, PAGING, call.next(-call.values["limit"], held["total"]))
        words_of_more = f"All {held['total']}, layer by layer"
    return {
        "image": told,
        "neighbours": nearest(call.say, told["image_id"], NEAR),
        "more": following,
        "more_words": words_of_more,
        "json": told["url"],
    }


def _sheets(say: Speaker) -> Iterator[Sheet]:
    images = say.store.images
    for row in range(images.count):
        image_id = str(images.span(row, 1)[0].image_id)
        yield Sheet({"image_id": image_id}, {"limit": 60}, f"images/{image_id}", paged=True)


VIEW = View(
    "image", "/images/{image_id}", "One image, with the neurons that hold it and the boxes", _answer, Image,
    (limit(HOLDING), CURSOR), of="image",
    page=HtmlPage("image.html", _page, params=PAGING, sheets=_sheets, figure=True),
)  # fmt: skip
