"""What feeds a neuron and what it feeds, how exactly its layer was taken apart, and what the tests of the edges say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.views.speaker import Speaker
from api.views.values import Picture, without
from api.views.view import Section

PART = "connections"


@closed
class Edge(TypedDict):
    """A map that feeds a neuron, or a neuron that it feeds."""

    rank: Annotated[int, doc("order: positive ones from 0, negative ones from 10", 0)]
    layer: Annotated[str | None, doc("layer of the other neuron; null where it is none that is recorded", "conv1")]
    channel: Annotated[int, doc("its channel, or that of what `source` names", 5)]
    source: Annotated[str | None, doc("what it is where it is no recorded neuron: image, or an operation", None)]
    contribution: Annotated[float, doc("mean share of the absolute contributions, with its sign", 0.21)]
    contribution_spread: Annotated[float | None, doc("the same over the examples of side spread", 0.1)]
    weight: Annotated[float, doc("norm of the kernel slice, the batch norm folded", 0.8)]
    crop: Annotated[Picture, doc("its strongest example")]
    url: Annotated[str | None, doc("address of the JSON of the other neuron", "/api/v1/atlases/digits/neurons/conv1/5")]
    page: Annotated[str | None, doc("address of its page", "/digits/neurons/conv1/5")]


@closed
class Removed(TypedDict):
    """What held-out examples lose when the strongest maps are held at their means."""

    maps: Annotated[int, doc("how many: the first ones", 10)]
    drop: Annotated[float, doc("share of the response, above that to the mean colour, that is lost", 0.9)]
    drop_random: Annotated[float | None, doc("the same for as many other maps of equal activation", 0.02)]


@closed
class Connections(TypedDict):
    """What feeds a neuron, and what it feeds."""

    fed_by: Annotated[list[Edge], doc("the strongest maps that it reads, positive ones first", [])]
    feeds: Annotated[list[Edge], doc("the neurons of which it is the strongest part, positive ones first", [])]
    removed: Annotated[list[Removed], doc("the test of the maps that it reads", [])]
    page: Annotated[str, doc("address of the page that unfolds what feeds it", "/digits/connections/fc/3")]


def edge(say: Speaker, row: Mapping[str, Any]) -> Edge:
    """A row of `connections`."""
    known, channel = row["other_layer"], row["other_channel"]
    crop, url, page = without(None), None, None
    if known is not None:
        layers = say.store.layers
        crop = say.picture(say.store.examples.strongest(layers.first[layers.index(known)] + channel))
        url, page = say.urls.neuron(known, channel)
    return {
        "rank": row["rank"],
        "layer": known,
        "channel": channel,
        "source": row["source"],
        "contribution": row["contribution"],
        "contribution_spread": row["contribution_spread"],
        "weight": row["weight"],
        "crop": crop,
        "url": url,
        "page": page,
    }


def _neuron(say: Speaker, at: Mapping[str, Any]) -> Connections | None:
    rows = say.rows("connections", at)
    if not rows:
        return None
    parted = {way: [edge(say, row) for row in rows if row["direction"] == way] for way in ("from", "to")}
    tests: list[Removed] = [
        {"maps": row["rank"] + 1, "drop": row["drop"], "drop_random": row["drop_random"]}
        for row in rows
        if row["drop"] is not None
    ]
    page = say.urls.of("connections", at["layer"], at["channel"])[1]
    return {"fed_by": parted["from"], "feeds": parted["to"], "removed": tests, "page": page}


@closed
class Exactness(TypedDict):
    """How exactly a layer's responses are the sums of what it reads."""

    error: Annotated[float | None, doc("largest miss as a share of the sums' size; null where not taken apart", 1e-7)]
    inputs: Annotated[int, doc("maps that one neuron reads", 64)]
    half: Annotated[float | None, doc("median number of maps that carry half of the contributions", 7.0)]
    why: Annotated[str | None, doc("why it cannot be taken apart; null where it was", None)]


def _exactness(say: Speaker, at: Mapping[str, Any]) -> Exactness | None:
    for row in say.rows("additivity", at):
        return {"error": row["error"], "inputs": row["inputs"], "half": row["half"], "why": row["why"]}
    return None


@closed
class Removal(TypedDict):
    """What the removal of some of a neuron's maps takes from its response to held-out examples."""

    ranking: Annotated[str, doc("contribution, random, equal, active, weight, shuffled or chance", "equal")]
    removed: Annotated[int, doc("how many maps are held at their means", 10)]
    drop: Annotated[float, doc("median over neurons of the share lost", 0.03)]
    less: Annotated[float, doc("median over neurons of how much less that is than by the strongest", 0.6)]
    activity: Annotated[float, doc("median of their activation as a share of that of the strongest", 0.9)]
    neurons: Annotated[int, doc("neurons that were tested", 48)]


@closed
class Removals(TypedDict):
    """The tests of a layer's edges, with their controls."""

    items: Annotated[list[Removal], doc("by how many maps are removed, what takes most first", [])]


def _removals(say: Speaker, at: Mapping[str, Any]) -> Removals | None:
    rows = say.rows("removals", at)
    names = ("ranking", "removed", "drop", "less", "activity", "neurons")
    items: list[Any] = [{name: row[name] for name in names} for row in rows]
    return {"items": sorted(items, key=lambda row: (row["removed"], -row["drop"]))} if items else None


@closed
class Pathway(TypedDict):
    """How much of a layer's responses comes from another one."""

    layer: Annotated[str, doc("layer that reads", "conv2")]
    other: Annotated[str, doc("layer that is read, or what is read where it is none that is recorded", "conv1")]
    share: Annotated[float, doc("mean share of its neurons' absolute contributions", 0.7)]


@closed
class LayerPlace(TypedDict):
    """A layer in the picture of the whole network."""

    name: Annotated[str, doc("layer, or what is read where it is none that is recorded", "conv1")]
    page: Annotated[str | None, doc("address of its page; null where it is no recorded layer", "/digits/layers/conv1")]


@closed
class Pathways(TypedDict):
    """The whole network as layers, with how much each takes from the others."""

    layers: Annotated[list[LayerPlace], doc("from input to output; first what is read of no recorded layer", [])]
    items: Annotated[list[Pathway], doc("from input to output", [])]


def _pathways(say: Speaker, at: Mapping[str, Any]) -> Pathways | None:
    rows = say.table("pathways").to_pylist()
    if not rows:
        return None
    items: list[Pathway] = [
        {"layer": row["layer"], "other": row["other_layer"] or row["source"], "share": row["share"]} for row in rows
    ]
    outside = dict.fromkeys(row["source"] for row in rows if row["source"] is not None)
    layers: list[LayerPlace] = [{"name": name, "page": None} for name in outside]
    layers += [{"name": name, "page": say.urls.layer(name)[1]} for name in say.store.layers.names]
    return {"layers": layers, "items": items}


NEURON = Section(
    PART, "neuron", "Connections", Connections, _neuron, "sections/connections.html", part=PART, table="connections"
)
ADDITIVITY = Section(
    "additivity",
    "layer",
    "Taken apart",
    Exactness,
    _exactness,
    "sections/additivity.html",
    part=PART,
    table="additivity",
)
REMOVALS = Section(
    "removals",
    "layer",
    "What its inputs are worth",
    Removals,
    _removals,
    "sections/removals.html",
    part=PART,
    table="removals",
)
ATLAS = Section(
    "pathways", "atlas", "What feeds what", Pathways, _pathways, "sections/pathways.html", part=PART, table="pathways"
)
