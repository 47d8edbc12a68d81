"""Where in an image its class is, by method; and what all methods are worth beside a box without a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.views.speaker import Speaker
from api.views.values import Box, ClassName, Picture, box_of
from api.views.view import Section

PART = "localization"
EDGES = ("left", "top", "right", "bottom")


@closed
class Found(TypedDict):
    """What one method says of where a class is."""

    of: Annotated[str, doc("predicted or true: of which class", "true")]
    class_id: Annotated[int, doc("class that is looked for", 3)]
    class_name: ClassName
    method: Annotated[str, doc("how the box is made", "saliency_grabcut")]
    box: Annotated[Box | None, doc("in pixels of the image as stored; null where there is none")]
    area: Annotated[float | None, doc("share of the input that the mask, or of the image that the box covers", 0.3)]
    iou: Annotated[float | None, doc("largest overlap with a true box; null where none is known", 0.7)]
    why: Annotated[str | None, doc("why there is no box, or what was done about ties", None)]
    saliency: Annotated[Picture, doc("the map that the box is made of")]
    mask: Annotated[Picture, doc("the mask's largest component")]


@closed
class Localization(TypedDict):
    """Where the class of an image is."""

    items: Annotated[list[Found], doc("by class, then by method", [])]
    width: Annotated[int, doc("width of the image as stored", 500)]
    height: Annotated[int, doc("height of the image as stored", 375)]
    picture: Annotated[Picture, doc("the image that the boxes lie on")]


def _image(say: Speaker, at: Mapping[str, Any]) -> Localization | None:
    rows = say.rows("localization", at)
    if not rows:
        return None
    items: list[Found] = [
        {
            "of": row["of"],
            "class_id": row["class_id"],
            "class_name": say.class_name(row["class_id"]),
            "method": row["method"],
            "box": None if row["left"] is None else box_of([row[edge] for edge in EDGES]),
            "area": row["area"],
            "iou": row["iou"],
            "why": row["why"],
            "saliency": say.cell(row["saliency"], row["part"]),
            "mask": say.cell(row["mask"], row["part"]),
        }
        for row in rows
    ]
    image = say.store.images.get(at["image_id"])
    thumbnail = say.thumbnail(at["image_id"], None)
    return {"items": items, "width": image.width, "height": image.height, "picture": thumbnail}


@closed
class Measured(TypedDict):
    """How often a method's boxes are right."""

    method: Annotated[str, doc("how boxes are made", "saliency_grabcut")]
    of: Annotated[str, doc("predicted or true", "true")]
    measure: Annotated[str, doc("top1_loc, top5_loc, gt_known_loc or max_box_acc_v2", "gt_known_loc")]
    value: Annotated[float, doc("share of images whose box is right", 0.57)]
    n: Annotated[int, doc("images with true boxes", 65)]


@closed
class Gap(TypedDict):
    """How many more images one method gets right than another."""

    method: Annotated[str, doc("a method", "saliency_grabcut")]
    other: Annotated[str, doc("the one it is compared with", "gaussian_grabcut")]
    difference: Annotated[float, doc("share of images more, of the true class, at half overlap", 0.37)]
    low: Annotated[float, doc("lower end of the 95 % interval", 0.22)]
    high: Annotated[float, doc("upper end of the 95 % interval", 0.51)]
    n: Annotated[int, doc("images that both were asked about", 65)]


@closed
class Edit(TypedDict):
    """What the network says of shape, or texture, alone."""

    edit: Annotated[str, doc("original, silhouette or texture", "silhouette")]
    n: Annotated[int, doc("images", 500)]
    top1: Annotated[float, doc("share whose true class is predicted", 0.1)]
    same: Annotated[float, doc("share that is predicted as the original is", 0.12)]


@closed
class Worth(TypedDict):
    """What boxes without boxes are worth, beside their controls."""

    scores: Annotated[list[Measured], doc("over both halves, each at the levels of the other", [])]
    differences: Annotated[list[Gap], doc("of GT-known localisation, paired", [])]
    edits: Annotated[list[Edit], doc("is it the shape, is it the texture?", [])]


def _atlas(say: Speaker, at: Mapping[str, Any]) -> Worth | None:
    scored, gaps, edits = (
        say.table(name).to_pylist() for name in ("localization_scores", "localization_differences", "shape_texture")
    )
    if not scored and not edits:
        return None
    return {
        "scores": [
            {"method": r["method"], "of": r["of"], "measure": r["measure"], "value": r["value"], "n": r["n"]}
            for r in scored
            if r["split"] == "both"
        ],
        "differences": [
            {
                "method": r["method"],
                "other": r["other"],
                "difference": r["difference"],
                "low": r["low"],
                "high": r["high"],
                "n": r["n"],
            }
            for r in gaps
            if r["measure"] == "gt_known_loc"
        ],
        "edits": [{"edit": r["edit"], "n": r["n"], "top1": r["top1"], "same": r["same"]} for r in edits],
    }


IMAGE = Section(
    PART, "image", "Where it is", Localization, _image, "sections/localization.html", part=PART, table="localization"
)
ATLAS = Section(
    PART, "atlas", "Where classes are", Worth, _atlas, "sections/localization_scores.html", part=PART,
    table="localization_scores",
)  # fmt: skip
