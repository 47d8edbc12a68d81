"""What the network finds hard, of an atlas and of a class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.http.urls import with_query
from api.views.attributes import Bin, Curve, hard
from api.views.images import ImageItem, image_item
from api.views.speaker import Speaker
from api.views.view import Section
from atlas.tables.attributes import ANGLES

PART = "attributes"
OF_ATLAS = 4
OF_CLASS = 12


@closed
class OfAtlas(TypedDict):
    """What the network finds hard: the attributes that matter most; the first that were tested, where none does."""

    everything: Annotated[Bin | None, doc("over all images with a class and a prediction")]
    items: Annotated[list[Curve], doc("attributes, the significant by effect, at most 4", [])]
    looked_at: Annotated[int, doc("attributes that were looked at", 11)]
    page: Annotated[str, doc("page of all attributes", "/digits/attributes")]


def _atlas(say: Speaker, at: Mapping[str, Any]) -> OfAtlas | None:
    told = hard(say)
    if not told["items"]:
        return None
    tested = [curve for curve in told["items"] if curve["why"] is None]
    found = [curve for curve in tested if curve["significant"]] or tested
    page = say.urls.of("attributes")[1]
    return {"everything": told["everything"], "items": found[:OF_ATLAS], "looked_at": len(told["items"]), "page": page}


@closed
class Difference(TypedDict):
    """In how far a class's wrongly taken images differ from the others in an attribute."""

    attribute: Annotated[str, doc("a measured property, or a number of the user's table", "brightness")]
    angle: Annotated[bool, doc("the values are angles, radian", False)]
    n: Annotated[int, doc("images with a value", 60)]
    wrong: Annotated[int, doc("of them taken for another class", 9)]
    right_value: Annotated[float, doc("median over those taken rightly; angles: circular mean", 0.5)]
    wrong_value: Annotated[float, doc("median over those taken wrongly; angles: circular mean", 0.2)]
    effect: Annotated[float, doc("above 0: wrongly taken ones have more of it, -1 to 1; angles: 0 to 1", -0.6)]
    p: Annotated[float, doc("p of the test of that", 0.002)]
    significant: Annotated[bool, doc("q below 0.05 over all classes and attributes", True)]


@closed
class OfClass(TypedDict):
    """A class's surest, least sure and wrongly taken images, and in what the latter differ."""

    surest: Annotated[list[ImageItem], doc("taken for this class, the surest first, at most 12", [])]
    least_sure: Annotated[list[ImageItem], doc("taken for this class, the least sure first, at most 12", [])]
    wrong: Annotated[list[ImageItem], doc("taken for something else, the largest loss first, at most 12", [])]
    wrong_total: Annotated[int, doc("images of the class that are taken for something else", 9)]
    differences: Annotated[list[Difference], doc("by size; empty without the part, or with fewer than 5 wrong", [])]
    surest_page: Annotated[str, doc("page of all, the surest first", "/digits/images?class=3&sort=probability")]
    wrong_page: Annotated[str, doc("page of all that are taken for something else", "/digits/images?class=3")]


def _class(say: Speaker, at: Mapping[str, Any]) -> OfClass | None:
    class_id, images = at["class_id"], say.store.images
    if not images.judged_singly or class_id not in images.classes:
        return None

    def few(sort: str, descending: bool, right: bool) -> tuple[int, list[ImageItem]]:
        total, rows = images.orders.page(0, OF_CLASS, class_id, sort, descending, right)
        return total, [image_item(say, row) for row in rows]

    count, wrong = few("loss", True, False)
    differences: list[Any] = [
        {"angle": row["attribute"] in ANGLES, **{name: row[name] for name in _DIFFERENCE}}
        for row in say.rows("class_differences", at)
    ]
    differences.sort(key=lambda row: (not row["significant"], -abs(row["effect"])))
    page, query = say.urls.of("images")[1], {"class": class_id}
    return {
        "surest": few("probability", True, True)[1],
        "least_sure": few("probability", False, True)[1],
        "wrong": wrong,
        "wrong_total": count,
        "differences": differences,
        "surest_page": with_query(page, {**query, "sort": "probability", "right": "true"}),
        "wrong_page": with_query(page, {**query, "sort": "loss", "right": "false"}),
    }


_DIFFERENCE = tuple(name for name in Difference.__annotations__ if name != "angle")
ATLAS = Section(
    "attributes", "atlas", "What it finds hard", OfAtlas, _atlas, "sections/attributes.html", part=PART,
    table="attributes",
)  # fmt: skip
CLASS = Section(
    "sureness", "class", "Surest, least sure, mistaken", OfClass, _class, "sections/sureness.html", part=PART,
    table="class_differences",
)  # fmt: skip
