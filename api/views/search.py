"""What is called like something: layers, neurons, classes, images."""

from __future__ import annotations

from typing import Annotated, Literal

from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.http.params import Param
from api.http.urls import with_query
from api.views.call import Call
from api.views.speaker import Speaker
from api.views.values import Next, Page, Picture, Url
from api.views.view import Context, Sheet, View
from api.views.view import Page as HtmlPage
from atlas.read import search


@closed
class Hit(TypedDict):
    """One thing found."""

    kind: Annotated[Literal["layer", "neuron", "class", "image"], doc("what it is", "layer")]
    name: Annotated[str, doc("how it is called", "features.3.expand3x3")]
    detail: Annotated[str, doc("a few words on it", "conv, 64 neurons")]
    picture: Annotated[Picture | None, doc("what it looks like: a crop, or an image, small; null for a layer")]
    url: Url
    page: Page


@closed
class HitList(TypedDict):
    """What was found: layers, neurons, classes, images, in this order."""

    q: Annotated[str, doc("what was looked for", "cat")]
    items: Annotated[list[Hit], doc("at most fifty")]
    note: Annotated[str | None, doc("what this search does not look at, and what does", None)]
    next: Next


CROPS = (
    "Neurons are found by concept words here; their crops are searched by any words with: neuron-atlas find DIR "
    '"WORDS" --encoder NAME'
)
Q = Param("q", "text", "what to look for: part of a name, or `layer channel`", "", high=200, example="conv")


def _answer(call: Call) -> HitList:
    say, q = call.say, call.values["q"]
    hits = [_hit(say, hit) for hit in search.search(say.shelf.atlas, q)]
    note = CROPS if q.strip() and say.store.parts.sealed("embeddings") else None  # the service holds no encoder
    return {"q": q, "items": hits, "note": note, "next": None}


def _hit(say: Speaker, hit: search.Hit) -> Hit:
    ways = {"layer": say.urls.layer, "neuron": say.urls.neuron, "class": say.urls.class_, "image": say.urls.image}
    url, page = ways[hit.kind](*hit.key)  # type: ignore[operator]
    return {
        "kind": hit.kind,
        "name": hit.name,
        "detail": hit.detail,
        "picture": _picture(say, hit),
        "url": url,
        "page": page,
    }


def _picture(say: Speaker, hit: search.Hit) -> Picture | None:
    store = say.store
    if hit.kind == "neuron":
        return say.picture(store.examples.strongest(store.layers.number(str(hit.key[0]), int(hit.key[1]))))
    if hit.kind == "layer":
        return None
    number = int(hit.key[0])
    row = store.images.get(number) if hit.kind == "image" else store.images.of_class(number, 0, 1)[0]
    return say.thumbnail(row.image_id, row.thumbnail.why)


def _page(call: Call) -> Context:
    hits = _answer(call)
    return {"q": hits["q"], "hits": hits, "json": with_query(call.say.urls.of("search")[0], {"q": hits["q"]})}


VIEW = View(
    "search", "/search", "Layers, neurons, classes, images", _answer, HitList, (Q,), slow=True,
    page=HtmlPage("search.html", _page, slow=True, sheets=lambda say: [Sheet({}, {"q": ""}, "search")]),
)  # fmt: skip
