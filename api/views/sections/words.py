"""Words: what a neuron stands for, which neurons know a class, which words a layer has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.http.urls import with_query
from api.views.speaker import Speaker
from api.views.tile import Tile, tile
from api.views.values import Page
from api.views.view import Section

LEVEL = 0.05
OF_CLASS = 24
OF_LAYER = 40


@closed
class Word(TypedDict):
    """A formula over concepts, with how well it holds on the half of the sample that was not searched."""

    side: Annotated[str, doc("max or min: which responses are strong", "max")]
    rank: Annotated[int, doc("order by excess, from 0", 0)]
    words: Annotated[str, doc("formula", "dog AND NOT terrier")]
    stands: Annotated[bool, doc("whether it beats chance: false discovery rate at most 5 %", True)]
    held_out: Annotated[float | None, doc("area under precision and recall on the other half", 0.8)]
    base_rate: Annotated[float | None, doc("share of images for which the formula holds: the area by chance", 0.02)]
    held_out_excess: Annotated[float | None, doc("how far that is above chance, in deviations", 14.0)]
    correlation: Annotated[float | None, doc("correlation of response and formula on the other half", 0.6)]
    auc: Annotated[float | None, doc("area under the receiver operating characteristic, for comparison", 0.97)]
    p: Annotated[float | None, doc("share of shuffled orders in which the search finds as much", 0.0001)]
    q: Annotated[float | None, doc("false discovery rate over all neurons and sides", 0.001)]
    n: Annotated[int | None, doc("images of the sample for which the formula holds", 90)]
    page: Annotated[str, doc("where in the network these words are", "/digits/words?q=dog")]


@closed
class NeuronWords(TypedDict):
    """Words of a neuron."""

    items: Annotated[list[Word], doc("formulas of side max, then of side min, the best first")]
    named: Annotated[bool, doc("whether any of them beats chance", True)]


@closed
class Knower(TypedDict):
    """A neuron that stands for a class."""

    neuron: Annotated[Tile, doc("the neuron, with pictures of that side")]
    side: Annotated[str, doc("max or min: which responses are strong", "max")]
    words: Annotated[str, doc("its formula", "dog")]
    held_out: Annotated[float, doc("area under precision and recall on the other half", 0.8)]
    held_out_excess: Annotated[float, doc("how far that is above chance, in deviations", 14.0)]


@closed
class ClassWords(TypedDict):
    """The neurons that know a class."""

    items: Annotated[list[Knower], doc("neurons whose formula asks for the class, the best first, at most 24")]
    page: Annotated[str, doc("where in the network it is known", "/digits/words?q=dog")]


@closed
class LayerWord(TypedDict):
    """A formula that neurons of a layer have."""

    words: Annotated[str, doc("formula", "dog")]
    neurons: Annotated[int, doc("neurons, each side counted, that stand for it", 4)]
    best: Annotated[float, doc("largest excess on the other half, in deviations", 14.0)]
    page: Page


@closed
class LayerWords(TypedDict):
    """The words of a layer."""

    items: Annotated[list[LayerWord], doc("formulas, those of most neurons first, at most 40")]


def address(say: Speaker, words: str) -> str:
    """Page of the map of words over layers."""
    return with_query(say.urls.of("words")[1], {"q": words})


def _neuron(say: Speaker, at: Mapping[str, Any]) -> NeuronWords | None:
    rows = say.rows("words", at)
    if not rows:
        return None
    items: list[Word] = [
        {
            "side": row["side"], "rank": row["rank"], "words": row["words"],
            "stands": row["q"] is not None and row["q"] <= LEVEL, "held_out": row["held_out"],
            "base_rate": row["base_rate"], "held_out_excess": row["held_out_excess"],
            "correlation": row["correlation"], "auc": row["auc"], "p": row["p"], "q": row["q"], "n": row["n"],
            "page": address(say, row["words"]),
        }
        for row in rows
        if row["words"] is not None
    ]  # fmt: skip
    return {"items": items, "named": any(item["stands"] for item in items)}


def _class(say: Speaker, at: Mapping[str, Any]) -> ClassWords | None:
    name = say.class_name(at["class_id"]) or f"class {at['class_id']}"
    found = say.store.words.of_concept(name, OF_CLASS)
    if not found:
        return None
    items: list[Knower] = [
        {
            "neuron": tile(say, say.store.layers.number(each.layer, each.channel), side=each.side), "side": each.side,
            "words": each.words, "held_out": each.held_out, "held_out_excess": each.held_out_excess,
        }
        for each in found
    ]  # fmt: skip
    return {"items": items, "page": address(say, name)}


def _layer(say: Speaker, at: Mapping[str, Any]) -> LayerWords | None:
    found = say.store.words.in_layer(at["layer"], OF_LAYER)
    page = say.urls.layer(at["layer"])[1]
    items: list[LayerWord] = [
        {"words": words, "neurons": neurons, "best": best, "page": with_query(page, {"words": words})}
        for words, neurons, best in found
    ]
    return {"items": items} if items else None


NEURON = Section(
    "words", "neuron", "Words", NeuronWords, _neuron, "sections/words_neuron.html", part="words", table="words"
)
CLASS = Section(
    "known_by", "class", "The neurons that know it", ClassWords, _class, "sections/words_class.html", part="words"
)
LAYER = Section("words", "layer", "Words", LayerWords, _layer, "sections/words_layer.html", part="words")
