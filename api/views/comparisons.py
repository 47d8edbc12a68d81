"""An atlas beside another one, or a table of answers: layers, flips, matched and unmatched neurons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import numpy as np
import pyarrow.compute as pc
from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.views.call import PAGING, Call, more
from api.views.images import ImageItem, image_item
from api.views.speaker import Speaker
from api.views.tile import Tile, tile
from api.views.values import Channel, ClassName, LayerName, Next, Page, Url, mapping
from api.views.view import Context, Sheet, View
from api.views.view import Page as HtmlPage
from atlas.errors import NotFoundError
from atlas.read.parts import Part

PART = "compare"
SHOWN = 24
"""Flips, and unmatched neurons, that stand on the page of a comparison; all are in the tables."""


@closed
class Cell(TypedDict):
    """How alike a layer and one of the other atlas are."""

    layer: LayerName
    other_layer: Annotated[str, doc("layer of the other atlas", "conv1")]
    cka: Annotated[float | None, doc("debiased linear CKA; null where a layer tells nothing apart", 0.9)]
    low: Annotated[float | None, doc("lower end of its 95 % interval over images", 0.88)]
    high: Annotated[float | None, doc("upper end of its 95 % interval", 0.92)]
    matched: Annotated[int, doc("neurons of the layer whose match, beyond chance, is in the other layer", 12)]
    page: Annotated[str | None, doc("page of their matched walls; null where none are matched", None)]


@closed
class Flip(TypedDict):
    """An image that the two answer differently."""

    image: Annotated[ImageItem, doc("the image, with what this network predicts")]
    other_predicted: Annotated[int | None, doc("class that the other predicts; null where this has no such class", 5)]
    other_predicted_name: ClassName
    right: Annotated[str, doc("here, there, neither, or unknown where the image has no class", "here")]


@closed
class FlipList(TypedDict):
    """Images that the two answer differently."""

    items: Annotated[list[Flip], doc("images, by number", [])]
    total: Annotated[int, doc("images, on all pages", 37)]
    next: Next


@closed
class ClassChange(TypedDict):
    """A class that gained or lost."""

    class_id: Annotated[int, doc("class", 3)]
    class_name: ClassName
    n: Annotated[int, doc("shared images of the class", 100)]
    accuracy: Annotated[float, doc("share that this network names rightly", 0.8)]
    other_accuracy: Annotated[float, doc("share that the other names rightly", 0.85)]
    gained: Annotated[int, doc("images that the other alone names rightly", 9)]
    lost: Annotated[int, doc("images that this network alone names rightly", 4)]
    p: Annotated[float, doc("McNemar's exact p of gained against lost", 0.27)]
    page: Page


@closed
class Unmatched(TypedDict):
    """Neurons without a match beyond chance."""

    items: Annotated[list[Tile], doc("neurons in their order, at most 24", [])]
    total: Annotated[int, doc("how many there are", 40)]


@closed
class Comparison(TypedDict):
    """This atlas beside another one, or beside a table of answers."""

    part: Annotated[str, doc("name of the part", "compare@b")]
    other: Annotated[str | None, doc("name of the other atlas where it is served here; else null", "b")]
    other_page: Annotated[str | None, doc("its page", "/b")]
    in_words: Annotated[list[str], doc("what a person wants first", ["37 of 1,200 images are answered differently"])]
    summary: Annotated[dict[str, Any], doc("its figures", {"flips": 37})]
    layers: Annotated[list[str], doc("layers of this atlas", ["conv1"])]
    other_layers: Annotated[list[str], doc("layers of the other; empty for a table of answers", ["conv1"])]
    cells: Annotated[list[Cell], doc("all pairs of layers", [])]
    flips: Annotated[FlipList, doc("the first flips; `flips_url` has all")]
    flips_url: Url
    flips_page: Page
    classes: Annotated[list[ClassChange], doc("classes that gained and lost, the largest change first", [])]
    unmatched: Annotated[Unmatched, doc("neurons here without a match beyond chance")]
    other_unmatched: Annotated[Unmatched | None, doc("neurons there that match none here; null where it is not served")]
    url: Url
    page: Page


@closed
class Pair(TypedDict):
    """A neuron and its match in the other atlas."""

    neuron: Annotated[Tile, doc("the neuron")]
    other_layer: Annotated[str, doc("layer of its match", "conv1")]
    other_channel: Channel
    other: Annotated[Tile | None, doc("its match; null where the other atlas is not served here")]
    correlation: Annotated[float, doc("Pearson's, of responses to the shared sample", 0.9)]
    null95: Annotated[float | None, doc("95 % of the layer's neurons match shuffled images no better", 0.2)]
    mutual: Annotated[bool, doc("the match's own best match is this neuron", True)]


@closed
class Walls(TypedDict):
    """The matched neurons of two layers."""

    layer: LayerName
    other_layer: Annotated[str, doc("layer of the other atlas", "conv1")]
    items: Annotated[list[Pair], doc("neurons whose match, beyond chance, is in the other layer; the best first", [])]
    total: Annotated[int, doc("pairs, on all pages", 12)]
    next: Next


def part_of(say: Speaker, name: str) -> Part:
    """A sealed part of a comparison. Raises `NotFoundError`."""
    part = say.store.parts.get(name)
    if part.kind != PART or part.state != "sealed":
        raise NotFoundError(f"part {name!r}: expected a comparison, sealed; …/parts lists what there is")
    return part


def other_of(say: Speaker, part: Part) -> Speaker | None:
    """Who speaks for the other atlas, where it is served here: known by its digest, never by a path."""
    identity = mapping(mapping(part.about.get("settings")).get("identity"))
    return say.others.get(str(identity.get("to")))


def other_tile(other: Speaker | None, layer: str, channel: int) -> Tile | None:
    """A neuron of the other atlas; None where it is not served, or is not as it was."""
    try:
        return tile(other, other.store.layers.number(layer, channel)) if other else None
    except NotFoundError:
        return None


def rows_of(say: Speaker, table: str, part: str) -> list[dict[str, Any]]:
    """The rows of a part's table."""
    whole = say.table(table)
    rows: list[dict[str, Any]] = whole.filter(pc.equal(whole["part"], part)).drop_columns("part").to_pylist()
    return rows


def beyond(row: Mapping[str, Any]) -> bool:
    """Whether a match is better than by chance."""
    return row["correlation"] is not None and row["null95"] is not None and row["correlation"] > row["null95"]


def _cells(say: Speaker, part: str, matches: list[dict[str, Any]]) -> list[Cell]:
    counts: dict[tuple[str, str], int] = {}
    for row in matches:
        if beyond(row):
            key = row["layer"], row["other_layer"]
            counts[key] = counts.get(key, 0) + 1
    found: list[Cell] = []
    for row in rows_of(say, "layers_cka", part):
        matched = counts.get((row["layer"], row["other_layer"]), 0)
        page = say.urls.of("compare", part, row["layer"], row["other_layer"])[1] if matched else None
        found.append({
            "layer": row["layer"], "other_layer": row["other_layer"], "cka": row["cka"], "low": row["low"],
            "high": row["high"], "matched": matched, "page": page,
        })  # fmt: skip
    return found


def _flip(say: Speaker, row: Mapping[str, Any]) -> Flip:
    right = "unknown"
    if row["class_id"] is not None:
        here, there = (row[name] == row["class_id"] for name in ("predicted", "other_predicted"))
        right = "here" if here else "there" if there else "neither"
    return {
        "image": image_item(say, say.store.images.get(row["image_id"])),
        "other_predicted": row["other_predicted"],
        "other_predicted_name": say.class_name(row["other_predicted"]),
        "right": right,
    }


def _classes(say: Speaker, part: str) -> list[ClassChange]:
    names = ("class_id", "n", "accuracy", "other_accuracy", "gained", "lost", "p")
    found: list[Any] = [
        {
            "class_name": say.class_name(row["class_id"]), "page": say.urls.class_(row["class_id"])[1],
            **{name: row[name] for name in names},
        }
        for row in rows_of(say, "class_changes", part)
        if row["gained"] or row["lost"]
    ]  # fmt: skip
    return sorted(found, key=lambda row: (row["p"], -abs(row["gained"] - row["lost"])))


def _unmatched(say: Speaker, matches: list[dict[str, Any]]) -> Unmatched:
    rows = [row for row in matches if not beyond(row)]
    tiles = [tile(say, say.store.layers.number(row["layer"], row["channel"])) for row in rows[:SHOWN]]
    return {"items": tiles, "total": len(rows)}


def _other_unmatched(other: Speaker | None, matches: list[dict[str, Any]]) -> Unmatched | None:
    if other is None or not matches:
        return None
    layers = other.store.layers
    there = np.zeros(layers.neurons, bool)
    for row in matches:
        if beyond(row):
            there[layers.number(row["other_layer"], row["other_channel"])] = True
    left = np.flatnonzero(~there)
    return {"items": [tile(other, int(number)) for number in left[:SHOWN]], "total": len(left)}


def _answer(call: Call) -> Comparison:
    say, part = call.say, part_of(call.say, call.path["part"])
    other, matches = other_of(say, part), rows_of(say, "matches", part.name)
    flips, cells = rows_of(say, "flips", part.name), _cells(say, part.name, matches)
    summary = mapping(part.about.get("summary"))
    url, page = say.urls.of("compare", part.name)
    flips_url, flips_page = say.urls.of("compare", part.name, "flips")
    return {
        "part": part.name,
        "other": other.shelf.name if other else None,
        "other_page": other.urls.page if other else None,
        "in_words": list(summary.get("in_words", [])),
        "summary": {name: value for name, value in summary.items() if name != "in_words"},
        "layers": list(dict.fromkeys(cell["layer"] for cell in cells)),
        "other_layers": list(dict.fromkeys(cell["other_layer"] for cell in cells)),
        "cells": cells,
        "flips": {"items": [_flip(say, row) for row in flips[:SHOWN]], "total": len(flips), "next": None},
        "flips_url": flips_url,
        "flips_page": flips_page,
        "classes": _classes(say, part.name),
        "unmatched": _unmatched(say, matches),
        "other_unmatched": _other_unmatched(other, matches),
        "url": url,
        "page": page,
    }


def _flips(call: Call) -> FlipList:
    rows = rows_of(call.say, "flips", part_of(call.say, call.path["part"]).name)
    first = call.first()
    items = [_flip(call.say, row) for row in rows[first : first + call.values["limit"]]]
    return {"items": items, "total": len(rows), "next": call.next(first, len(rows))}


def _walls(call: Call) -> Walls:
    say, part = call.say, part_of(call.say, call.path["part"])
    layer, other_layer, other = call.path["layer"], call.path["other_layer"], other_of(call.say, part)
    rows = [
        row
        for row in rows_of(say, "matches", part.name)
        if row["layer"] == layer and row["other_layer"] == other_layer and beyond(row)
    ]
    if not rows:
        raise NotFoundError(f"no neuron of layer {layer!r} has its match in {other_layer!r}; see …/compare/{part.name}")
    rows.sort(key=lambda row: (-row["correlation"], row["channel"]))
    first = call.first()
    items: list[Pair] = [
        {
            "neuron": tile(say, say.store.layers.number(layer, row["channel"])), "other_layer": other_layer,
            "other_channel": row["other_channel"], "other": other_tile(other, other_layer, row["other_channel"]),
            "correlation": row["correlation"], "null95": row["null95"], "mutual": row["mutual"],
        }
        for row in rows[first : first + call.values["limit"]]
    ]  # fmt: skip
    return {
        "layer": layer, "other_layer": other_layer, "items": items, "total": len(rows),
        "next": call.next(first, len(rows)),
    }  # fmt: skip


def _page(call: Call) -> Context:
    told = _answer(call)
    return {"c": told, "json": told["url"]}


def _page_of(call: Call, last: tuple[str, ...], told: Any) -> Context:
    api, page = call.say.urls.of("compare", call.path["part"], *last)
    other = other_of(call.say, part_of(call.say, call.path["part"]))
    return {
        "told": told, "part": call.path["part"], "part_page": call.say.urls.of("compare", call.path["part"])[1],
        "other": other.shelf.name if other else None, "more": more(page, call.values, PAGING, told["next"]),
        "json": api,
    }  # fmt: skip


def _comparisons(say: Speaker) -> list[str]:
    return [part.name for part in say.store.parts.sealed() if part.kind == PART]


def _sheets_of_walls(say: Speaker) -> Iterator[Sheet]:
    for name in _comparisons(say):
        for cell in _cells(say, name, rows_of(say, "matches", name)):
            if cell["page"]:
                at = {"part": name, "layer": cell["layer"], "other_layer": cell["other_layer"]}
                file = cell["page"].removeprefix(f"{say.urls.page}/")
                yield Sheet(at, {"limit": 60}, file, paged=True, addresses=(cell["page"],))


ONE = View(
    "comparison", "/compare/{part}", "This atlas beside another one, or beside a table of answers", _answer,
    Comparison, slow=True,
    page=HtmlPage(
        "comparison.html", _page, slow=True, figure=True,
        sheets=lambda say: [Sheet({"part": name}, {}, f"compare/{name}") for name in _comparisons(say)],
    ),
)  # fmt: skip
FLIPS = View(
    "flips", "/compare/{part}/flips", "Images that the two answer differently", _flips, FlipList, PAGING, slow=True,
    page=HtmlPage(
        "flips.html", lambda call: _page_of(call, ("flips",), _flips(call)), slow=True,
        sheets=lambda say: [
            Sheet({"part": name}, {"limit": 60}, f"compare/{name}/flips", paged=True) for name in _comparisons(say)
        ],
    ),
)  # fmt: skip
WALLS = View(
    "walls", "/compare/{part}/{layer}/{other_layer}", "The matched neurons of two layers", _walls, Walls, PAGING,
    slow=True,
    page=HtmlPage(
        "walls.html",
        lambda call: _page_of(call, (call.path["layer"], call.path["other_layer"]), _walls(call)),
        slow=True, sheets=_sheets_of_walls,
    ),
)  # fmt: skip
