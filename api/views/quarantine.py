"""What was left out, and why."""

from __future__ import annotations

from typing import Annotated

from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.views.call import PAGING, Call, more
from api.views.values import ImageId, Next, last_part
from api.views.view import Context, Sheet, View
from api.views.view import Page as HtmlPage
from atlas.read import classes


@closed
class Quarantined(TypedDict):
    """An image that could not be used."""

    image_id: ImageId
    source: Annotated[str, doc("source of images: the last part of what was given to build", "photos")]
    key: Annotated[str, doc("name of the image within its source", "broken.jpg")]
    reason: Annotated[str, doc("why, in a word", "truncated")]
    detail: Annotated[str, doc("why, in a line", "image file is truncated (12 bytes not processed)")]


@closed
class QuarantineList(TypedDict):
    """A page of images left out."""

    items: Annotated[list[Quarantined], doc("images left out, by number")]
    total: Annotated[int, doc("images left out, on all pages", 2)]
    next: Next


def _answer(call: Call) -> QuarantineList:
    rows, first = classes.quarantine(call.say.shelf.atlas.folder), call.first()
    items = rows.slice(first, call.values["limit"]).to_pylist()
    for item in items:
        item["source"] = last_part(item["source"])
    return {"items": items, "total": len(rows), "next": call.next(first, len(rows))}


def _page(call: Call) -> Context:
    found = _answer(call)
    api, page = call.say.urls.of("quarantine")
    return {"quarantine": found, "more": more(page, call.values, PAGING, found["next"]), "json": api}


VIEW = View(
    "quarantine", "/quarantine", "What was left out, and why", _answer, QuarantineList, PAGING,
    page=HtmlPage("quarantine.html", _page, sheets=lambda say: [Sheet({}, {"limit": 100}, "quarantine", True)]),
)  # fmt: skip
