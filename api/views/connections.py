"""A neuron's connections unfolded towards the input: columns of what feeds it, and what feeds that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.http.params import Param
from api.http.urls import part, with_query
from api.views.call import Call, asked
from api.views.sections.connections import Edge, edge
from api.views.speaker import Speaker
from api.views.values import Channel, LayerName, Picture
from api.views.view import Context, Sheet, View
from api.views.view import Page as HtmlPage
from atlas.errors import NotFoundError

WIDTH = Param("width", "int", "how many that feed each one, of either sign", 3, 1, 6, example=3)
DEPTH = Param("depth", "int", "columns towards the input", 2, 1, 3, example=2)
SIGN = Param("sign", "choice", "which ones", "both", choices=("both", "positive", "negative"), example="both")
PARAMS = (WIDTH, DEPTH, SIGN)
_COLUMN, _ROW, _SIZE = 260, 104, 84
"""Steps from one column and one row to the next, and the side of a picture, in units of the drawing."""


@closed
class Node(TypedDict):
    """A neuron, or something else that is read, in its column."""

    column: Annotated[int, doc("0: the neuron that is asked for; then what feeds it", 1)]
    layer: Annotated[str | None, doc("its layer; null where it is no recorded neuron", "conv1")]
    channel: Annotated[int, doc("its channel, or that of what `source` names", 5)]
    source: Annotated[str | None, doc("what it is where it is no recorded neuron", None)]
    crop: Annotated[Picture, doc("its strongest example")]
    page: Annotated[str | None, doc("address of its own connections; null for no recorded neuron", None)]


@closed
class Link(TypedDict):
    """What one node feeds another."""

    source: Annotated[int, doc("place of the one that feeds among the nodes", 1)]
    target: Annotated[int, doc("place of the one that is fed", 0)]
    contribution: Annotated[float, doc("mean share of the absolute contributions, with its sign", 0.21)]
    contribution_spread: Annotated[float | None, doc("the same over the examples of side spread", 0.1)]


@closed
class Unfolded(TypedDict):
    """What feeds a neuron, and what feeds that."""

    layer: LayerName
    channel: Channel
    nodes: Annotated[list[Node], doc("by column, then as they were met", [])]
    links: Annotated[list[Link], doc("by the one that is fed, the strongest first", [])]


def unfold(say: Speaker, layer: str, channel: int, width: int, depth: int, sign: str) -> Unfolded:
    """At most `width` that feed each one, `depth` columns of them. A neuron is met once a column.

    Raises `NotFoundError` for an unknown neuron, and where the atlas has no such part.
    """
    layers = say.store.layers
    first = layers.first[layers.index(layer)]
    if not 0 <= channel < layers.first[layers.index(layer) + 1] - first:
        raise NotFoundError(f"neuron {layer}:{channel}: no such channel")
    if not len(say.table("pathways")):
        raise NotFoundError("connections: this atlas has no such part; make it with `neuron-atlas add connections`")
    page = say.urls.of("connections", layer, channel)[1]
    crop = say.picture(say.store.examples.strongest(first + channel))
    nodes: list[Node] = [{"column": 0, "layer": layer, "channel": channel, "source": None, "crop": crop, "page": page}]
    links: list[Link] = []
    begin = 0
    for column in range(1, depth + 1):
        end, met = len(nodes), {}
        for target in range(begin, end):
            for each in _feeding(say, nodes[target], width, sign):
                key = (each["layer"], each["source"], each["channel"])
                if key not in met:
                    met[key] = len(nodes)
                    nodes.append(_node(say, each, column))
                links.append(
                    {
                        "source": met[key],
                        "target": target,
                        "contribution": each["contribution"],
                        "contribution_spread": each["contribution_spread"],
                    }
                )
        begin = end
    return {"layer": layer, "channel": channel, "nodes": nodes, "links": links}


def _feeding(say: Speaker, node: Node, width: int, sign: str) -> list[Edge]:
    """The strongest that feed a node; nothing feeds what is no recorded neuron."""
    if node["layer"] is None:
        return []
    rows = say.rows("connections", {"layer": node["layer"], "channel": node["channel"]})
    chosen = [
        row
        for row in rows
        if row["direction"] == "from" and (sign == "both" or (row["contribution"] > 0) == (sign == "positive"))
    ]
    return [edge(say, row) for row in sorted(chosen, key=lambda row: -abs(row["contribution"]))[:width]]


def _node(say: Speaker, each: Edge, column: int) -> Node:
    page = None if each["layer"] is None else say.urls.of("connections", each["layer"], each["channel"])[1]
    return {
        "column": column,
        "layer": each["layer"],
        "channel": each["channel"],
        "source": each["source"],
        "crop": each["crop"],
        "page": page,
    }


def _answer(call: Call) -> Unfolded:
    values = call.values
    return unfold(
        call.say, call.path["layer"], call.number("channel"), values["width"], values["depth"], values["sign"]
    )


def drawing(found: Unfolded) -> dict[str, Any]:
    """Where nodes and links lie: columns from right to left, so that the input is at the left."""
    depth = max(node["column"] for node in found["nodes"])
    counts = [sum(node["column"] == column for node in found["nodes"]) for column in range(depth + 1)]
    height = max(counts) * _ROW
    filled = [0] * (depth + 1)
    places: list[dict[str, Any]] = []
    for node in found["nodes"]:
        column = node["column"]
        top = (height - counts[column] * _ROW) / 2 + filled[column] * _ROW + 4
        filled[column] += 1
        places.append({"x": (depth - column) * _COLUMN + 4, "y": round(top, 1), "node": node})
    lines = []
    for link in found["links"]:
        a, b = places[link["source"]], places[link["target"]]
        left, right = a["x"] + _SIZE, b["x"]
        middle = (left + right) / 2
        ya, yb = a["y"] + _SIZE / 2, b["y"] + _SIZE / 2
        lines.append(
            {
                "path": f"M{left} {ya}C{middle} {ya} {middle} {yb} {right} {yb}",
                "width": round(1 + 14 * min(abs(link["contribution"]), 1), 1),
                "link": link,
            }
        )
    return {
        "width": depth * _COLUMN + _SIZE + 160,
        "height": height + 8,
        "size": _SIZE,
        "places": places,
        "lines": lines,
    }


def _page(call: Call) -> Context:
    found = _answer(call)
    api, page = call.say.urls.of("connections", found["layer"], found["channel"])
    chosen = asked(call.values, PARAMS)
    neuron = call.say.urls.neuron(found["layer"], found["channel"])[1]
    return {
        "unfolded": found,
        "drawing": drawing(found),
        "asked": chosen,
        "values": call.values,
        "params": PARAMS,
        "neuron_page": neuron,
        "layer_page": call.say.urls.layer(found["layer"])[1],
        "here_page": page,
        "json": with_query(api, chosen),
    }


def _sheets(say: Speaker) -> Iterator[Sheet]:
    """A page a neuron, where there is the part."""
    if not len(say.table("pathways")):
        return
    values = {param.name: param.default for param in PARAMS}
    layers = say.store.layers
    for at, name in enumerate(layers.names):
        for channel in range(layers.first[at + 1] - layers.first[at]):
            path = {"layer": name, "channel": str(channel)}
            yield Sheet(path, values, f"connections/{part(name)}/{channel}")


VIEW = View(
    "connections",
    "/connections/{layer}/{channel}",
    "What feeds a neuron, unfolded towards the input",
    _answer,
    Unfolded,
    PARAMS,
    slow=True,
    page=HtmlPage("connections.html", _page, slow=True, sheets=_sheets),
)
