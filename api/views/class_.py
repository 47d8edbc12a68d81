"""A class: its images, and the neurons most selective for it."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.http.urls import with_query
from api.views.call import Call
from api.views.classes import class_item
from api.views.images import ImageList, listed
from api.views.speaker import Speaker
from api.views.tile import Tile, tile
from api.views.values import ClassName, Page, Url
from api.views.view import Context, View
from api.views.view import Page as HtmlPage
from atlas.read import classes as tables


@closed
class Class(TypedDict):
    """One class: its images, and the neurons most selective for it."""

    class_id: Annotated[int, doc("class", 3)]
    class_name: ClassName
    images: Annotated[ImageList, doc("its images; `next` goes into …/images?class=")]
    accuracy: Annotated[float | None, doc("share of its images predicted as this class; null without predictions", 0.8)]
    average_precision: Annotated[
        float | None, doc("of images with lists of classes: of its logit, over all images", 0.7)
    ]
    neurons: Annotated[list[Tile], doc("neurons of which it is the top class, the most selective first, at most 24")]
    driven: Annotated[
        list[Tile],
        doc("where it is no neuron's top class: those that its images drive nearest to their largest response", []),
    ]
    images_url: Annotated[str, doc("all of its images", "/api/v1/atlases/digits/images?class=3")]
    images_page: Annotated[str, doc("page of all its images", "/digits/images?class=3")]
    url: Url
    page: Page


OF_CLASS = 24
"""Images, and neurons, that are shown at once."""


def _class(say: Speaker, class_id: int, images: ImageList) -> Class:
    """One class, with a page of its images. Raises `NotFoundError`."""
    item = class_item(say, class_id)
    numbers = say.store.neurons.of_class(class_id, OF_CLASS)
    query = {"class": class_id}
    return {
        "class_id": class_id,
        "class_name": item["class_name"],
        "images": images,
        "accuracy": item["accuracy"],
        "average_precision": item["average_precision"],
        "neurons": [tile(say, int(number)) for number in numbers],
        "driven": [] if len(numbers) else [tile(say, number) for number in _driven(say, class_id)],
        "images_url": with_query(f"{say.urls.api}/images", query),
        "images_page": with_query(f"{say.urls.page}/images", query),
        "url": item["url"],
        "page": item["page"],
    }


def _driven(say: Speaker, class_id: int) -> list[int]:
    """Numbers of the neurons to which its images mean most: by mean response as a share of the neuron's largest."""
    rows = tables.driven(say.shelf.atlas.folder, class_id)
    if len(rows) == 0:
        return []
    numbers = say.store.layers.numbers("classes", rows["layer"].combine_chunks(), rows["channel"])
    largest = say.store.neurons.numbers["max"][numbers].astype(np.float64)
    mean = rows["mean"].to_numpy()
    share = np.where((largest > 0) & (mean > 0), mean / np.where(largest > 0, largest, 1), 0)
    best = np.argsort(-share, kind="stable")[:OF_CLASS]
    return [int(numbers[at]) for at in best if share[at] > 0]


def _answer(call: Call) -> Class:
    """A class, with the first of its images; the rest are under …/images?class=."""
    class_id = call.number("class_id")
    values = {"class": class_id, "sort": "image_id", "order": None, "right": None, "cursor": None, "limit": OF_CLASS}
    return _class(call.say, class_id, listed(Call(call.say, {}, values, "images")))


def _page(call: Call) -> Context:
    told = _answer(call)
    return {"class_": told, "json": told["url"]}


VIEW = View(
    "class", "/classes/{class_id}", "A class: its images, its neurons", _answer, Class, slow=True, of="class",
    page=HtmlPage("class.html", _page, slow=True, figure=True),
)  # fmt: skip
