"""Where in the network words appear: layer by layer, and the neurons that stand for them."""

from __future__ import annotations

from typing import Annotated

from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.http.params import Param
from api.http.urls import with_query
from api.views.call import Call, limit
from api.views.speaker import Speaker
from api.views.tile import Tile, tile
from api.views.values import LayerName, Next
from api.views.view import Context, Sheet, View
from api.views.view import Page as HtmlPage


@closed
class LayerCount(TypedDict):
    """How a layer knows the words."""

    layer: LayerName
    neurons: Annotated[int, doc("neurons, each side counted, whose formula matches", 3)]
    best: Annotated[float | None, doc("largest excess on the held-out half, in deviations; null where none match", 14)]
    median: Annotated[float | None, doc("middle excess of those that match", 6.5)]
    page: Annotated[str, doc("the layer's wall of these neurons", "/digits/layers/conv1?words=dog")]


@closed
class WordsFound(TypedDict):
    """A neuron whose words match, and why."""

    neuron: Annotated[Tile, doc("the neuron")]
    side: Annotated[str, doc("max or min: which responses are strong", "max")]
    words: Annotated[str, doc("its formula", "dog AND NOT terrier")]
    held_out: Annotated[float, doc("area under precision and recall on the held-out half", 0.8)]
    held_out_excess: Annotated[float, doc("how far that is above chance, in deviations", 14.0)]


@closed
class WordMap(TypedDict):
    """Words over the layers of a network."""

    q: Annotated[str, doc("what was looked for", "dog")]
    layers: Annotated[list[LayerCount], doc("all layers, from input to output")]
    items: Annotated[list[WordsFound], doc("neurons, the best on the held-out half first")]
    concepts: Annotated[list[str], doc("concepts that some neuron stands for, at most 500", ["dog"])]
    next: Next


Q = Param("q", "text", "words to look for, or a formula", "", high=200, example="dog")
CONCEPTS = 500


def _answer(call: Call) -> WordMap:
    say, q = call.say, call.values["q"]
    words = say.store.words
    over = {each.layer: each for each in words.over_layers(q)}
    layers: list[LayerCount] = []
    for name in say.store.layers.names:
        found = over.get(name)
        layers.append({
            "layer": name, "neurons": found.neurons if found else 0, "best": found.best if found else None,
            "median": found.median if found else None,
            "page": with_query(say.urls.layer(name)[1], {"words": q or None}),
        })  # fmt: skip
    items: list[WordsFound] = [
        {
            "neuron": tile(say, say.store.layers.number(each.layer, each.channel)), "side": each.side,
            "words": each.words, "held_out": each.held_out, "held_out_excess": each.held_out_excess,
        }
        for each in words.find(q, call.values["limit"])
    ]  # fmt: skip
    return {"q": q, "layers": layers, "items": items, "concepts": words.index.concepts[:CONCEPTS], "next": None}


def _page(call: Call) -> Context:
    found = _answer(call)
    json = with_query(call.say.urls.of("words")[0], {"q": found["q"] or None})
    return {"found": found, "here_page": call.say.urls.of("words")[1], "json": json}


def _sheets(say: Speaker) -> list[Sheet]:
    """Of a static site: one page, which all questions that its pages ask lead to."""
    index = say.store.words.index
    classes = [say.class_name(int(number)) or f"class {number}" for number in say.store.images.classes]
    page = say.urls.of("words")[1]
    asked = dict.fromkeys([*say.store.words.formulas, *index.concepts, *classes])
    return [Sheet({}, {"q": "", "limit": 60}, "words", addresses=tuple(with_query(page, {"q": q}) for q in asked))]


VIEW = View(
    "words", "/words", "Where in the network words appear", _answer, WordMap, (Q, limit()), slow=True,
    page=HtmlPage("words.html", _page, slow=True, sheets=_sheets),
)  # fmt: skip
