"""What fools the network about an image; the neurons that carry the change; what fools it of all images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.views.speaker import Speaker
from api.views.values import ClassName, Picture
from api.views.view import Section

PART = "adversarial"


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


IMAGE = Section(
    PART, "image", "What fools the network", Attacks, _image, "sections/adversarial.html", part=PART, table=PART
)
