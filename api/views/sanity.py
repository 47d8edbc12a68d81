"""How far each kind of picture depends on the weights."""

from __future__ import annotations

from typing import Annotated

from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.views.call import PAGING, Call, more
from api.views.layers import layers
from api.views.values import LayerName, Next
from api.views.view import Context, Sheet, View
from api.views.view import Page as HtmlPage
from atlas.read import classes


@closed
class Sanity(TypedDict):
    """How far one kind of picture of one layer depends on the weights."""

    layer: LayerName
    kind: Annotated[str, doc("kind of projection", "guided")]
    randomised: Annotated[str, doc("own, cascade or all: which weights were permuted", "all")]
    measure: Annotated[str, doc("rank or ssim, of absolute or signed values", "ssim absolute")]
    neurons: Annotated[int, doc("neurons compared", 10)]
    similarity: Annotated[float | None, doc("median similarity before and after; 1 is unchanged", 0.4)]


@closed
class SanityList(TypedDict):
    """Rows of sanity.parquet."""

    items: Annotated[list[Sanity], doc("by layer, kind, randomised, measure")]
    next: Next


def _answer(call: Call) -> SanityList:
    rows, first = classes.sanity(call.say.shelf.atlas.folder), call.first()
    return {"items": rows.slice(first, call.values["limit"]).to_pylist(), "next": call.next(first, len(rows))}


def _page(call: Call) -> Context:
    found = _answer(call)
    api, page = call.say.urls.of("sanity")
    return {
        "sanity": found,
        "layers": layers(call.say),
        "more": more(page, call.values, PAGING, found["next"]),
        "json": api,
    }


VIEW = View(
    "sanity", "/sanity", "How far each kind of picture depends on the weights", _answer, SanityList, PAGING,
    page=HtmlPage("sanity.html", _page, slow=True, sheets=lambda say: [Sheet({}, {"limit": 100}, "sanity", True)]),
)  # fmt: skip
