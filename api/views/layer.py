"""One layer, and the wall of its neurons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import numpy as np
from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.http.errors import ApiError
from api.http.params import Param
from api.http.urls import part, with_query
from api.views.call import CLASS, PAGING, Call, asked, more
from api.views.sections.words import OF_LAYER
from api.views.speaker import Speaker
from api.views.tile import Tile, tile
from api.views.values import LayerName, Next, Page, ReceptiveField, Trusts, Url, field_of, trusts_of
from api.views.view import Context, Sheet, View
from api.views.view import Page as HtmlPage
from atlas.read.neurons import SORTS


@closed
class Layer(TypedDict):
    """One layer."""

    layer: LayerName
    index: Annotated[int, doc("order in the forward pass, from 0", 4)]
    kind: Annotated[str, doc("conv, linear or block", "conv")]
    tokens: Annotated[bool, doc("its map is of tokens: patch tokens on their grid", False)]
    prefix_tokens: Annotated[int, doc("tokens before the patches, at positions y = -1", 0)]
    channels: Annotated[int, doc("number of neurons", 64)]
    height: Annotated[int, doc("height of the map, positions", 55)]
    width: Annotated[int, doc("width of the map, positions", 55)]
    field: Annotated[ReceptiveField, doc("receptive field")]
    rectified: Annotated[bool, doc("a rectifier follows", True)]
    normalised: Annotated[str | None, doc("module of the batch norm that is fused; null where none is", None)]
    dead: Annotated[int | None, doc("number of dead neurons; null where no rectifier follows", 2)]
    trust: Trusts
    axis: Annotated[
        dict[str, float | None] | None,
        doc("medians over its neurons (…_neurons) and over as many random directions (…_random); null if not measured"),
    ]
    telling: Annotated[list[Tile], doc("its most selective neurons that have examples, at most eight", [])]
    filters: Annotated[int, doc("number of its filters that were drawn", 0)]
    url: Url
    page: Page
    neurons_url: Annotated[str, doc("address of its neurons", "/api/v1/atlases/digits/layers/conv1/neurons")]
    filters_url: Annotated[str, doc("address of its filters", "/api/v1/atlases/digits/layers/conv1/filters")]
    filters_page: Annotated[str, doc("page of its filters", "/digits/layers/conv1/filters")]


@closed
class TileList(TypedDict):
    """A page of neurons."""

    items: Annotated[list[Tile], doc("neurons")]
    total: Annotated[int, doc("neurons that fit the filter, on all pages", 64)]
    next: Next


TELLING = 8
"""Neurons that a layer is shown by."""
FEW = 100
"""So many classes are offered by name; of more, the page's script asks for the names."""
PARAMS = (
    Param("sort", "choice", "what neurons are sorted by", "channel", choices=SORTS, example="selectivity"),
    Param(
        "order",
        "choice",
        "asc or desc; neurons without a value are last",
        None,
        choices=("asc", "desc"),
        example="desc",
    ),
    CLASS,
    Param("kind", "text", "kind of picture that is shown, and whose trust neurons are sorted by", high=64),
    Param("dead", "bool", "only dead neurons, or only those that are not", example=False),
    Param("words", "text", "only neurons that stand for these words, the best on the held-out half first", high=200),
    *PAGING,
)


def layer(say: Speaker, layer: str) -> Layer:
    """One layer. Raises `NotFoundError`."""
    store = say.store
    at = store.layers.index(layer)
    about = store.layers.rows[at]
    numbers = range(store.layers.first[at], store.layers.first[at + 1])
    url, page = say.urls.layer(layer)
    dead = store.neurons.numbers["dead"][numbers.start : numbers.stop]
    return {
        "layer": layer,
        "index": about["index"],
        "kind": about["kind"],
        "tokens": about["tokens"],
        "prefix_tokens": about["prefix_tokens"],
        "channels": about["channels"],
        "height": about["height"],
        "width": about["width"],
        "field": field_of(about),
        "rectified": about["rectified"],
        "normalised": about["normalised"],
        "dead": int((dead == 1).sum()) if about["rectified"] else None,
        "trust": trusts_of(store.neurons.trust.of_layer(layer)),
        "axis": about["axis"],
        "telling": [tile(say, int(number), 1) for number in store.neurons.telling(numbers, TELLING)],
        "filters": sum(number in numbers for number, _, _ in store.filters),
        "url": url,
        "page": page,
        "neurons_url": f"{url}/neurons",
        "filters_url": f"{url}/filters",
        "filters_page": f"{page}/filters",
    }


def _answer(call: Call) -> Layer:
    return layer(call.say, call.path["layer"])


def _neurons(call: Call) -> TileList:
    store, values = call.say.store, call.values
    at = store.layers.index(call.path["layer"])
    numbers = range(store.layers.first[at], store.layers.first[at + 1])
    kind = values["kind"] or None
    kinds = call.say.kinds
    if kind is not None and kind not in kinds:
        raise ApiError(422, f"kind={kind!r}: expected one of {', '.join(kinds) or 'none: the atlas has no pictures'}")
    chosen = store.neurons.select(
        numbers, sort=values["sort"], descending=_descending(values), class_id=values["class"], dead=values["dead"],
        kind=kind,
    )  # fmt: skip
    if values["words"]:
        held = set(np.asarray(chosen).tolist())
        named = (numbers.start + channel for channel in store.words.channels(call.path["layer"], values["words"]))
        chosen = np.array([number for number in named if number in held], np.int64)
    first = call.first()
    items = [tile(call.say, int(number), kind=kind) for number in chosen[first : first + values["limit"]]]
    return {"items": items, "total": len(chosen), "next": call.next(first, len(chosen))}


def _descending(values: Mapping[str, Any]) -> bool:
    """Whether the order is downwards: as asked, else channels upwards and all else downwards."""
    order = values["order"]
    return bool(order == "desc" if order else values["sort"] != "channel")


def _page(call: Call) -> Context:
    told, tiles, values = _answer(call), _neurons(call), call.values
    names = call.say.store.layers.names
    at = names.index(told["layer"])
    query = asked(values, PARAMS)
    return {
        "layer": told,
        "tiles": tiles,
        "state": {**values, "order": values["order"] or ("desc" if _descending(values) else "asc")},
        "more": more(told["page"], values, PARAMS, tiles["next"]),
        "first": with_query(told["page"], query) if values["cursor"] else None,
        "previous_layer": call.say.urls.layer(names[at - 1])[1] if at else None,
        "next_layer": call.say.urls.layer(names[at + 1])[1] if at + 1 < len(names) else None,
        "sorts": [],
        "kinds": call.say.kinds,
        "classes": _few_classes(call.say),
        "json": with_query(told["neurons_url"], query),
    }


def _few_classes(say: Speaker) -> list[tuple[int, str]] | None:
    classes = say.store.images.classes
    if len(classes) > FEW:
        return None
    return [(int(number), say.class_name(int(number)) or f"class {number}") for number in classes]


def _sheets(say: Speaker) -> Iterator[Sheet]:
    """Of a static site: each layer's wall in each order."""
    for name in say.store.layers.names:
        page, folder = say.urls.layer(name)[1], f"layers/{part(name)}"
        sorts = [(sort, with_query(page, {"sort": None if sort == "channel" else sort})) for sort in SORTS]
        for sort, address in sorts:
            values = {
                "sort": sort,
                "order": None,
                "class": None,
                "dead": None,
                "kind": None,
                "words": None,
                "limit": 60,
            }
            file = folder if sort == "channel" else f"{folder}/{sort}"
            worded = () if sort != "channel" else tuple(
                with_query(page, {"words": words}) for words, _, _ in say.store.words.in_layer(name, OF_LAYER)
            )  # fmt: skip
            yield Sheet(
                {"layer": name}, values, file, paged=True, addresses=(address, *worded), context={"sorts": sorts}
            )


LAYER = View(
    "layer", "/layers/{layer}", "One layer", _answer, Layer, of="layer",
    page=HtmlPage("layer.html", _page, params=PARAMS, slow=True, sheets=_sheets),
)  # fmt: skip
NEURONS = View(
    "neurons", "/layers/{layer}/neurons", "A page of a layer's neurons with their first pictures", _neurons, TileList,
    PARAMS, slow=True, page=HtmlPage("layer.html", _page, slow=True, sheets=lambda say: ()),
)  # fmt: skip
