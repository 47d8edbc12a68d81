"""A layer's filters as pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.http.urls import part
from api.views.call import PAGING, Call, more
from api.views.layer import layer
from api.views.speaker import Speaker
from api.views.values import Channel, LayerName, Next, Page, Picture, Url
from api.views.view import Context, Sheet, View
from api.views.view import Page as HtmlPage
from atlas.read.pictures import Place


@closed
class Filter(TypedDict):
    """One filter as a picture."""

    layer: LayerName
    channel: Channel
    kind: Annotated[str, doc("weights (first layer) or combination (Lee et al. 2008)", "weights")]
    picture: Annotated[Picture, doc("the filter, around mid-grey")]
    url: Url
    page: Page


@closed
class FilterList(TypedDict):
    """A page of filters."""

    items: Annotated[list[Filter], doc("filters, by channel")]
    next: Next


def _filter(say: Speaker, number: int, kind: str, place: Place) -> Filter:
    layer, channel = say.store.layers.neuron(number)
    url, page = say.urls.neuron(layer, channel)
    return {
        "layer": layer,
        "channel": channel,
        "kind": kind,
        "picture": say.picture(place),
        "url": url,
        "page": page,
    }


def _answer(call: Call) -> FilterList:
    store = call.say.store
    at = store.layers.index(call.path["layer"])
    numbers = range(store.layers.first[at], store.layers.first[at + 1])
    chosen = [each for each in store.filters if each[0] in numbers]
    first = call.first()
    items = [_filter(call.say, *each) for each in chosen[first : first + call.values["limit"]]]
    return {"items": items, "next": call.next(first, len(chosen))}


def _page(call: Call) -> Context:
    told, filters = layer(call.say, call.path["layer"]), _answer(call)
    return {
        "layer": told,
        "filters": filters,
        "more": more(told["filters_page"], call.values, PAGING, filters["next"]),
        "json": told["filters_url"],
    }


def _sheets(say: Speaker) -> Iterator[Sheet]:
    for name in say.store.layers.names:
        address = say.urls.of("layers", name, "filters")[1]
        yield Sheet({"layer": name}, {"limit": 100}, f"filters/{part(name)}", paged=True, addresses=(address,))


VIEW = View(
    "filters", "/layers/{layer}/filters", "A layer's filters", _answer, FilterList, PAGING,
    page=HtmlPage("filters.html", _page, sheets=_sheets),
)  # fmt: skip
