"""Pictures made to drive a neuron, or a class, beside what each is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Annotated, Any

import pyarrow.compute as pc
from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.views.speaker import Speaker
from api.views.values import Picture
from api.views.view import Section

TABLE = "visualizations"


@closed
class Visualization(TypedDict):
    """One optimised picture, with what it is worth: every number is of the stored 8-bit file, read again."""

    sign: Annotated[int, doc("1: made to drive it most; -1: least", 1)]
    method: Annotated[str, doc("fourier, maco or l2: what was varied", "fourier")]
    objective: Annotated[str, doc("response (of a class: its logit) or probability: what was raised", "response")]
    repeat: Annotated[int, doc("from 0: the same from another start", 0)]
    response: Annotated[float | None, doc("the response to it; of a class its logit", 41.5)]
    attained: Annotated[float | None, doc("response over the largest of the data's own images", 2.4)]
    probability: Annotated[float | None, doc("of a class: the network's own probability", 0.99)]
    predicted: Annotated[bool | None, doc("of a class: whether the picture is classified as it", True)]
    transfer: Annotated[float | None, doc("of a class: the probability that another network gives it", 0.2)]
    path: Annotated[float | None, doc("1: it travels the layers as the natural nine do; 0: as random images", 0.8)]
    agreement: Annotated[float | None, doc("1 where the nearest other repeat is its own neuron's, else 0", 1.0)]
    choice: Annotated[float | None, doc("right answers of the two-choice test by this picture; chance: 0.5", 0.62)]
    choice_natural: Annotated[float | None, doc("the same by the neuron's natural nine", 0.7)]
    choice_other: Annotated[float | None, doc("the same by another neuron's nine: at chance", 0.51)]
    choice_shuffled: Annotated[float | None, doc("the same by a picture made on shuffled weights: at chance", 0.5)]
    picture: Annotated[Picture, doc("the picture, at canvas size")]


@closed
class Visualizations(TypedDict):
    """Optimised pictures of a neuron or a class."""

    items: Annotated[list[Visualization], doc("what drives it most, then least", [])]


@closed
class Shown(TypedDict):
    """The first picture of a neuron, made to drive it most."""

    channel: Annotated[int, doc("feature map, or unit of a linear layer", 7)]
    attained: Annotated[float | None, doc("response over the largest of the data's own images", 2.4)]
    picture: Annotated[Picture, doc("the picture, at canvas size")]
    page: Annotated[str, doc("page of the neuron", "/digits/neurons/conv1/7")]


@closed
class Wall(TypedDict):
    """A layer's optimised pictures, one a neuron."""

    items: Annotated[list[Shown], doc("by channel", [])]
    attained: Annotated[float | None, doc("median over the layer's neurons", 2.1)]


_NAMES = [name for name in Visualization.__annotations__ if name != "picture"]


def _order(row: Mapping[str, Any]) -> tuple[bool, int, str, int]:
    return row["objective"] != "response", -row["sign"], row["method"], row["repeat"]


def _said(say: Speaker, rows: Sequence[Mapping[str, Any]]) -> Visualizations | None:
    items: list[Any] = [
        {**{name: row[name] for name in _NAMES}, "picture": say.cell(row["picture"], row["part"])}
        for row in sorted(rows, key=_order)
    ]
    return {"items": items} if items else None


def _of_neuron(say: Speaker, at: Mapping[str, Any]) -> Visualizations | None:
    return _said(say, [row for row in say.rows(TABLE, at) if row["target"] == "neuron"])


def _of_class(say: Speaker, at: Mapping[str, Any]) -> Visualizations | None:
    """Of the unit that gives the class's logit: the last layer's."""
    layers = say.store.layers
    last = layers.names[-1]
    if at["class_id"] >= layers.neurons - layers.first[-2]:
        return None
    rows = say.rows(TABLE, {"layer": last, "channel": at["class_id"]})
    return _said(say, [row for row in rows if row["target"] == "class"])


def _of_layer(say: Speaker, at: Mapping[str, Any]) -> Wall | None:
    """Of each neuron the first repeat of the first method, by name."""
    table = say.table(TABLE)
    mine = table.filter((pc.field("layer") == at["layer"]) & (pc.field("target") == "neuron") & (pc.field("sign") == 1))
    first: dict[int, Mapping[str, Any]] = {}
    for row in sorted(mine.to_pylist(), key=lambda row: (row["channel"], row["method"], row["repeat"])):
        first.setdefault(row["channel"], row)
    items: list[Shown] = [
        {"channel": channel, "attained": row["attained"], "picture": say.cell(row["picture"], row["part"]),
         "page": say.urls.neuron(at["layer"], channel)[1]}
        for channel, row in first.items()
    ]  # fmt: skip
    shares = [item["attained"] for item in items if item["attained"] is not None]
    return {"items": items, "attained": median(shares) if shares else None} if items else None


NEURON = Section(
    "visualizations", "neuron", "Made to drive it", Visualizations, _of_neuron, "sections/visualizations.html",
    part=TABLE, table=TABLE,
)  # fmt: skip
CLASS = Section(
    "visualizations",
    "class",
    "Made to be it",
    Visualizations,
    _of_class,
    "sections/class_visualizations.html",
    part=TABLE,
)
LAYER = Section(
    "visualizations", "layer", "Made to drive its neurons", Wall, _of_layer, "sections/layer_visualizations.html",
    part=TABLE,
)  # fmt: skip
