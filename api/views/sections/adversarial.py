"""What fools the network about an image; the neurons that carry the change; what fools it of all images."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Annotated, Any

import pyarrow.compute as pc
from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.views.speaker import Speaker
from api.views.tile import Tile, tile
from api.views.values import ClassName, Picture
from api.views.view import Section

PART = "adversarial"
MOVERS = 8
"""Neurons of a layer that are shown."""


@closed
class Attack(TypedDict):
    """A changed image, and what the network says of its stored file."""

    attack: Annotated[str, doc("linf, l2, noise (uniform) or noise_l2 (Gaussian)", "linf")]
    target_class: Annotated[int | None, doc("the class it was driven to; null: away from its own", None)]
    target_name: ClassName
    epsilon: Annotated[float | None, doc("bound of the change, of values 0 to 1; l2: Euclidean norm", 0.0039)]
    smallest: Annotated[bool, doc("the smallest change of its attack that was found to succeed", True)]
    predicted: Annotated[int, doc("class of the stored picture", 7)]
    predicted_name: ClassName
    probability: Annotated[float | None, doc("softmax of that class", 0.9)]
    success: Annotated[bool, doc("it is taken for the target, or for another class than its own", True)]
    picture: Annotated[Picture, doc("the changed image, as large as the network's input")]


@closed
class Attacks(TypedDict):
    """What fools the network about an image."""

    margin: Annotated[float | None, doc("Euclidean norm of the smallest change that was found to fool it", 0.2)]
    margin_median: Annotated[float | None, doc("the same, median over the images that were attacked", 0.25)]
    items: Annotated[list[Attack], doc("by attack, then by size of the change", [])]


_NAMES = ("attack", "target_class", "epsilon", "smallest", "predicted", "probability", "success")


def _image(say: Speaker, at: Mapping[str, Any]) -> Attacks | None:
    rows = sorted(say.rows(PART, at), key=lambda r: (r["attack"], r["target_class"] is not None, r["epsilon"] or 0))
    if not rows:
        return None
    items: list[Any] = [
        {**{name: row[name] for name in _NAMES}, "target_name": say.class_name(row["target_class"]),
         "predicted_name": say.class_name(row["predicted"]), "picture": say.cell(row["picture"], row["part"])}
        for row in rows
    ]  # fmt: skip
    margins = {r["image_id"]: r["epsilon"] for r in say.table("margins").to_pylist() if r["attack"] == "l2"}
    known = sorted(each for each in margins.values() if each is not None)
    middle = known[len(known) // 2] if known else None
    return {"margin": margins.get(at["image_id"]), "margin_median": middle, "items": items}


@closed
class Margin(TypedDict):
    """The smallest change of one kind that fools the network about an image, among those of all images attacked."""

    attack: Annotated[str, doc("linf or l2", "l2")]
    epsilon: Annotated[float | None, doc("its bound, or norm, of values 0 to 1; null where none was found", 0.2)]
    median: Annotated[float | None, doc("median over the images for which one was found", 0.25)]
    below: Annotated[float | None, doc("share of the images attacked that need less", 0.4)]
    found: Annotated[int, doc("images for which one was found", 30)]
    n: Annotated[int, doc("images attacked", 32)]
    all: Annotated[list[float], doc("all that were found, upwards", [0.1, 0.2, 0.3])]


@closed
class Margins(TypedDict):
    """How small a change fools the network about an image."""

    items: Annotated[list[Margin], doc("by attack", [])]


def _margins(say: Speaker, at: Mapping[str, Any]) -> Margins | None:
    mine = say.rows("margins", at)
    if not mine:
        return None
    every = say.table("margins").to_pylist()
    items: list[Margin] = []
    for row in mine:
        alike = [r["epsilon"] for r in every if r["attack"] == row["attack"] and r["part"] == row["part"]]
        known, own = sorted(each for each in alike if each is not None), row["epsilon"]
        less = len(known) if own is None else sum(each < own for each in known)
        items.append({
            "attack": row["attack"], "epsilon": own, "median": median(known) if known else None,
            "below": less / len(alike), "found": len(known), "n": len(alike), "all": known,
        })  # fmt: skip
    return {"items": items}


@closed
class Carrier(TypedDict):
    """How far a neuron moves under an attack, beside noise of the same bound."""

    change: Annotated[float, doc("mean size of its change under the attack, in its deviations over the data", 0.8)]
    noise: Annotated[float | None, doc("the same under uniform noise of the same bound", 0.1)]
    layer_median: Annotated[float | None, doc("median change of its layer's neurons under the attack", 0.5)]
    layer_noise: Annotated[float | None, doc("the same under noise", 0.1)]
    below: Annotated[float, doc("share of its layer's other neurons that move less under the attack", 0.9)]


def _changes(say: Speaker, layer: str) -> tuple[dict[int, float], dict[int, float]]:
    """Changes of a layer's neurons by channel: under the attack, and under noise."""
    rows = say.table("carriers")
    rows = rows.filter(pc.equal(rows["layer"], layer)).to_pylist()
    attacked, noisy = ({r["channel"]: r["change"] for r in rows if r["attack"] == name} for name in ("linf", "noise"))
    return attacked, noisy


def _carrier(say: Speaker, at: Mapping[str, Any]) -> Carrier | None:
    if not say.rows("carriers", at):
        return None
    attacked, noisy = _changes(say, at["layer"])
    own = attacked.get(at["channel"])
    if own is None:
        return None
    others = [change for channel, change in attacked.items() if channel != at["channel"]]
    return {
        "change": own,
        "noise": noisy.get(at["channel"]),
        "layer_median": median(attacked.values()),
        "layer_noise": median(noisy.values()) if noisy else None,
        "below": sum(each < own for each in others) / len(others) if others else 0.0,
    }


@closed
class Mover(TypedDict):
    """A neuron of a layer that moves far under an attack."""

    neuron: Annotated[Tile, doc("the neuron")]
    change: Annotated[float, doc("mean size of its change under the attack, in its deviations over the data", 0.8)]
    noise: Annotated[float | None, doc("the same under uniform noise of the same bound", 0.1)]


@closed
class Carriers(TypedDict):
    """Which neurons of a layer an attack moves, and how far it moves the others."""

    items: Annotated[list[Mover], doc("those that move furthest, at most 8", [])]
    median: Annotated[float, doc("median change of the layer's neurons under the attack", 0.5)]
    noise: Annotated[float | None, doc("the same under noise of the same bound", 0.1)]
    neurons: Annotated[int, doc("neurons of the layer that were followed", 64)]


def _layer(say: Speaker, at: Mapping[str, Any]) -> Carriers | None:
    attacked, noisy = _changes(say, at["layer"])
    if not attacked:
        return None
    first = sorted(attacked, key=lambda channel: (-attacked[channel], channel))[:MOVERS]
    items: list[Mover] = [
        {"neuron": tile(say, say.store.layers.number(at["layer"], channel)), "change": attacked[channel],
         "noise": noisy.get(channel)}
        for channel in first
    ]  # fmt: skip
    return {
        "items": items,
        "median": median(attacked.values()),
        "noise": median(noisy.values()) if noisy else None,
        "neurons": len(attacked),
    }


IMAGE = Section(
    PART, "image", "What fools the network", Attacks, _image, "sections/adversarial.html", part=PART, table=PART
)
MARGINS = Section(
    "margins", "image", "How little fools it", Margins, _margins, "sections/margins.html", part=PART, table="margins"
)
CARRIERS = Section(
    "carriers", "neuron", "What an attack does to it", Carrier, _carrier, "sections/carrier.html", part=PART,
    table="carriers",
)  # fmt: skip
LAYER = Section(
    "carriers", "layer", "Neurons that carry an attack", Carriers, _layer, "sections/carriers.html", part=PART
)
