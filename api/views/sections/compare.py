"""The same neuron in another atlas, with both nine; which comparisons an atlas has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.views.comparisons import PART, beyond, other_of, other_tile
from api.views.speaker import Speaker
from api.views.tile import Tile, tile
from api.views.values import Page
from api.views.view import Section


@closed
class Match(TypedDict):
    """The neuron of another atlas that responds most alike."""

    part: Annotated[str, doc("name of the part", "compare@b")]
    other_layer: Annotated[str | None, doc("its layer; null where the responses never change", "conv1")]
    other_channel: Annotated[int | None, doc("its channel", 7)]
    correlation: Annotated[float | None, doc("Pearson's, of responses to the shared sample", 0.9)]
    null95: Annotated[float | None, doc("95 % of the layer's neurons match shuffled images no better", 0.2)]
    beyond: Annotated[bool, doc("the match is better than by chance", True)]
    mutual: Annotated[bool, doc("its own best match is this neuron", True)]
    neuron: Annotated[Tile, doc("this neuron")]
    other: Annotated[Tile | None, doc("the other one; null where its atlas is not served here")]
    page: Annotated[str, doc("page of the comparison", "/digits/compare/compare@b")]


@closed
class Matches(TypedDict):
    """The same neuron in other atlases."""

    items: Annotated[list[Match], doc("one a comparison", [])]


def _neuron(say: Speaker, at: Mapping[str, Any]) -> Matches | None:
    items: list[Match] = []
    for row in say.rows("matches", at):
        part, known = say.store.parts.get(row["part"]), row["other_layer"] is not None
        items.append({
            "part": part.name, "other_layer": row["other_layer"], "other_channel": row["other_channel"],
            "correlation": row["correlation"], "null95": row["null95"], "beyond": beyond(row), "mutual": row["mutual"],
            "neuron": tile(say, say.store.layers.number(at["layer"], at["channel"])),
            "other": other_tile(other_of(say, part), row["other_layer"], row["other_channel"]) if known else None,
            "page": say.urls.of("compare", part.name)[1],
        })  # fmt: skip
    return {"items": items} if items else None


@closed
class Compared(TypedDict):
    """One comparison of the atlas."""

    part: Annotated[str, doc("name of the part", "compare@b")]
    in_words: Annotated[list[str], doc("what a person wants first", [])]
    page: Page


@closed
class Comparisons(TypedDict):
    """What the atlas was compared with."""

    items: Annotated[list[Compared], doc("comparisons, by name", [])]


def _atlas(say: Speaker, at: Mapping[str, Any]) -> Comparisons | None:
    items: list[Compared] = [
        {
            "part": part.name,
            "in_words": list(part.about.get("summary", {}).get("in_words", [])),
            "page": say.urls.of("compare", part.name)[1],
        }
        for part in say.store.parts.sealed()
        if part.kind == PART
    ]
    return {"items": items} if items else None


NEURON = Section(
    "matches", "neuron", "The same neuron elsewhere", Matches, _neuron, "sections/matches.html", part=PART,
    table="matches",
)  # fmt: skip
ATLAS = Section("comparisons", "atlas", "Compared", Comparisons, _atlas, "sections/comparisons.html", part=PART)
