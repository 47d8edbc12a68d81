"""Images, of a class or all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.http.params import Param
from api.http.urls import with_query
from api.views.call import CLASS, PAGING, Call, asked, more
from api.views.speaker import Speaker
from api.views.values import ClassId, ClassName, ImageId, Next, Page, Picture, Url
from api.views.view import Context, Sheet, View
from api.views.view import Page as HtmlPage
from atlas.read.images import ImageRow
from atlas.read.orders import SORTS


@closed
class ImageItem(TypedDict):
    """An image in a list."""

    image_id: ImageId
    key: Annotated[str, doc("name of the image within its source", "n02123045/n02123045_tabby.JPEG")]
    class_id: ClassId
    class_name: ClassName
    width: Annotated[int, doc("width as stored, pixels", 500)]
    height: Annotated[int, doc("height as stored, pixels", 375)]
    predicted: Annotated[int | None, doc("class with the largest logit; null without classes", 281)]
    predicted_name: ClassName
    probability: Annotated[float | None, doc("softmax of the predicted class", 0.93)]
    loss: Annotated[float | None, doc("cross entropy, nat; null without a class or a prediction", 0.07)]
    thumbnail: Annotated[Picture, doc("the whole image, small")]
    url: Url
    page: Page


@closed
class ImageList(TypedDict):
    """A page of images."""

    items: Annotated[list[ImageItem], doc("images, in the order that was asked for")]
    total: Annotated[int, doc("images that fit the filter, on all pages", 1000)]
    next: Next


PARAMS = (
    CLASS,
    Param("sort", "choice", "what images are sorted by", "image_id", choices=SORTS, example="loss"),
    Param("order", "choice", "asc or desc; images without a value are last", None, choices=("asc", "desc")),
    Param("right", "bool", "only images taken for what they are, or only those taken for something else"),
    *PAGING,
)


def descending(values: Mapping[str, Any]) -> bool:
    """Whether the order is downwards: as asked, else numbers upwards, probabilities and losses downwards."""
    order = values["order"]
    return bool(order == "desc" if order else values["sort"] != "image_id")


def image_item(say: Speaker, row: ImageRow) -> ImageItem:
    images = say.store.images
    url, page = say.urls.image(row.image_id)
    return {
        "image_id": row.image_id,
        "key": row.key,
        "class_id": row.class_id,
        "class_name": images.name(row.class_id),
        "width": row.width,
        "height": row.height,
        "predicted": row.predicted,
        "predicted_name": images.name(row.predicted),
        "probability": row.probability,
        "loss": row.loss,
        "thumbnail": say.thumbnail(row.image_id, row.thumbnail.why),
        "url": url,
        "page": page,
    }


def listed(call: Call) -> ImageList:
    """A page of images. Raises `NotFoundError` for a class that no image has."""
    values, first = call.values, call.first()
    total, rows = call.say.store.images.orders.page(
        first, values["limit"], values["class"], values["sort"], descending(values), values["right"]
    )
    return {"items": [image_item(call.say, row) for row in rows], "total": total, "next": call.next(first, total)}


def _page(call: Call) -> Context:
    told, class_id, values = listed(call), call.values["class"], call.values
    api, page = call.say.urls.of("images")
    return {
        "images": told,
        "class_name": None if class_id is None else call.say.class_name(class_id) or f"class {class_id}",
        "state": {**values, "order": values["order"] or ("desc" if descending(values) else "asc")},
        "predictions": call.say.store.images.judged_singly,
        "more": more(page, values, PARAMS, told["next"]),
        "json": with_query(api, asked(values, PARAMS)),
    }


def _sheets(say: Speaker) -> Iterator[Sheet]:
    """Of a static site: all images, and those of each class, by number."""
    plain = {"limit": 100, "class": None, "sort": "image_id", "order": None, "right": None}
    yield Sheet({}, plain, "images", paged=True)
    for class_id in map(int, say.store.images.classes):
        address = with_query(say.urls.of("images")[1], {"class": class_id})
        yield Sheet({}, {**plain, "class": class_id}, f"classes/{class_id}/images", paged=True, addresses=(address,))


VIEW = View(
    "images", "/images", "Images", listed, ImageList, PARAMS, slow=True,
    page=HtmlPage("images.html", _page, slow=True, sheets=_sheets),
)  # fmt: skip
