"""What the network finds hard: accuracy and loss as a function of what images are like."""

from __future__ import annotations

from typing import Annotated, Any

from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.views.call import Call
from api.views.speaker import Speaker
from api.views.values import Next
from api.views.view import Context, Sheet, View
from api.views.view import Page as HtmlPage
from atlas.tables.attributes import MEASURED

ALL = "(all)"
"""The attribute that every image shares."""


@closed
class Bin(TypedDict):
    """Images that are alike in an attribute."""

    low: Annotated[float | None, doc("numbers: smallest value; angles: start of the sector, radian", 0.1)]
    high: Annotated[float | None, doc("numbers: largest value; angles: end of the sector, radian", 0.2)]
    value: Annotated[str | None, doc("words: the word", None)]
    n: Annotated[int, doc("images", 100)]
    top1: Annotated[float, doc("share of them that the network takes for what they are", 0.6)]
    top1_low: Annotated[float, doc("lower end of its 95 % interval (Wilson 1927)", 0.5)]
    top1_high: Annotated[float, doc("upper end of its 95 % interval", 0.69)]
    top1_within_class: Annotated[float | None, doc("accuracy had every bin the same mix of classes", 0.62)]
    loss: Annotated[float | None, doc("mean cross entropy, nat", 1.7)]
    answered: Annotated[int | None, doc("images that people answered too", None)]
    human_top1: Annotated[float | None, doc("share of the answered that people take for what they are", None)]
    answered_top1: Annotated[float | None, doc("the network's share of the same images", None)]
    agreement: Annotated[float | None, doc("share of the answered where both say the same class", None)]
    only_network: Annotated[float | None, doc("share of the answered where the network alone is right", None)]
    only_human: Annotated[float | None, doc("share of the answered where people alone are right", None)]


@closed
class Curve(TypedDict):
    """Accuracy as a function of an attribute."""

    attribute: Annotated[str, doc("a measured property, or a column of the user's table", "brightness")]
    meaning: Annotated[str | None, doc("what it is; null for a column of the user's", "mean luma, 0 to 1")]
    kind: Annotated[str, doc("number, angle or words", "number")]
    n: Annotated[int, doc("images with a class, a prediction and a value", 1000)]
    effect: Annotated[float | None, doc("Cramer's V of being right with the bin, 0 to 1; null without a test", 0.2)]
    p: Annotated[float | None, doc("p of the Cochran-Mantel-Haenszel test of that", 0.001)]
    significant: Annotated[bool, doc("p is below 0.05 when allowed for all attributes (Holm 1979)", True)]
    within_class: Annotated[bool, doc("tested within classes; else over all images", True)]
    why: Annotated[str | None, doc("why there is no test", None)]
    bins: Annotated[list[Bin], doc("from the smallest value; words by their number of images", [])]


@closed
class Hard(TypedDict):
    """What the network finds hard."""

    everything: Annotated[Bin | None, doc("over all images with a class and a prediction; null without the part")]
    items: Annotated[list[Curve], doc("attributes: the significant first, by effect", [])]
    next: Next


_BIN = tuple(Bin.__annotations__)


def hard(say: Speaker) -> Hard:
    """All curves; empty without the part."""
    bins: dict[str, list[Bin]] = {}
    for row in say.table("accuracy").to_pylist():
        told: Any = {name: row[name] for name in _BIN}
        bins.setdefault(row["attribute"], []).append(told)
    items: list[Curve] = [
        {
            "attribute": row["attribute"], "meaning": MEASURED.get(row["attribute"]), "kind": row["kind"],
            "n": row["n"], "effect": row["effect"], "p": row["p"], "significant": row["significant"],
            "within_class": row["within_class"], "why": row["why"], "bins": bins.get(row["attribute"], []),
        }
        for row in say.table("attributes").to_pylist()
    ]  # fmt: skip
    items.sort(
        key=lambda each: (each["why"] is not None, not each["significant"], -(each["effect"] or 0.0), each["attribute"])
    )
    return {"everything": next(iter(bins.get(ALL, [])), None), "items": items, "next": None}


def _answer(call: Call) -> Hard:
    return hard(call.say)


def _page(call: Call) -> Context:
    return {"hard": _answer(call), "json": call.say.urls.of("attributes")[0]}


VIEW = View(
    "attributes", "/attributes", "What the network finds hard: accuracy as a function of what images are like",
    _answer, Hard, slow=True,
    page=HtmlPage("attributes.html", _page, slow=True, sheets=lambda say: [Sheet({}, {}, "attributes")]),
)  # fmt: skip
