"""The classes of the images."""

from __future__ import annotations

from typing import Annotated

from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.views.call import PAGING, Call, more
from api.views.speaker import Speaker
from api.views.values import ClassName, Next, Page, Picture, Url
from api.views.view import Context, Sheet, View
from api.views.view import Page as HtmlPage


@closed
class ClassItem(TypedDict):
    """A class in a list."""

    class_id: Annotated[int, doc("class", 3)]
    class_name: ClassName
    images: Annotated[int, doc("its images in the atlas", 50)]
    accuracy: Annotated[float | None, doc("share of them predicted as this class; null without predictions", 0.8)]
    average_precision: Annotated[
        float | None, doc("of images with lists of classes: of its logit, over all images", 0.7)
    ]
    thumbnail: Annotated[Picture, doc("its first image, small")]
    url: Url
    page: Page


@closed
class ClassList(TypedDict):
    """A page of classes."""

    items: Annotated[list[ClassItem], doc("classes, by number")]
    next: Next


def class_item(say: Speaker, class_id: int) -> ClassItem:
    """A class in a list. Raises `NotFoundError`."""
    images = say.store.images
    at = images.class_at(class_id)
    url, page = say.urls.class_(class_id)
    first = images.of_class(class_id, 0, 1)[0]
    return {
        "class_id": class_id,
        "class_name": images.name(class_id),
        "images": int(images.class_counts[at]),
        "accuracy": float(images.class_right[at] / images.class_counts[at]) if images.judged_singly else None,
        "average_precision": _average_precision(say, class_id),
        "thumbnail": say.thumbnail(first.image_id, first.thumbnail.why),
        "url": url,
        "page": page,
    }


def _average_precision(say: Speaker, class_id: int) -> float | None:
    accuracy = say.shelf.atlas.about.get("accuracy")
    found = accuracy.get("average_precision") if isinstance(accuracy, dict) else None
    value = found[class_id] if isinstance(found, list) and class_id < len(found) else None
    return float(value) if isinstance(value, int | float) else None


def _answer(call: Call) -> ClassList:
    ids, first = call.say.store.images.classes, call.first()
    items = [class_item(call.say, int(class_id)) for class_id in ids[first : first + call.values["limit"]]]
    return {"items": items, "next": call.next(first, len(ids))}


def _page(call: Call) -> Context:
    told = _answer(call)
    api, page = call.say.urls.of("classes")
    return {"classes": told, "more": more(page, call.values, PAGING, told["next"]), "json": api}


VIEW = View(
    "classes", "/classes", "Classes", _answer, ClassList, PAGING,
    page=HtmlPage("classes.html", _page, slow=True, sheets=lambda say: [Sheet({}, {"limit": 100}, "classes", True)]),
)  # fmt: skip
