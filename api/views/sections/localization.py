"""Where in an image its class is, by method; and what all methods are worth beside a box without a network."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Annotated, Any

from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.views.speaker import Speaker
from api.views.values import Box, ClassName, ImageId, Picture, box_of, mapping
from api.views.view import Section
from atlas import placing
from atlas.types import Box as Corners

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
    input: Annotated[Box | None, doc("where the network's input, and so a map or mask, lies on it; null: not known")]


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
    whole = say.at(say.urls.whole(image.image_id), image.picture.why)
    shown = whole if whole["url"] else say.thumbnail(image.image_id, image.thumbnail.why)
    place = _input(say, image.width, image.height)
    return {"items": items, "width": image.width, "height": image.height, "picture": shown, "input": place}


def _input(say: Speaker, width: int, height: int) -> Box | None:
    """Where the network's input lies on an image, in its pixels."""
    about = mapping(say.shelf.atlas.about.get("preprocessing"))
    resize, crop = about.get("resize"), about.get("crop")
    if not isinstance(resize, int) or not isinstance(crop, int) or min(resize, crop) < 1:
        return None
    placement = placing.place(width, height, resize, crop, str(about.get("crop_mode", "center")))
    box = placement.to_stored(Corners(0, 0, crop, crop))
    return box_of([box.left, box.top, box.right, box.bottom])


OF_CLASS = 300
"""Images of a class whose boxes are drawn on one frame."""
CUT, CENTRE, GAUSSIAN = "saliency_grabcut", "centre", "gaussian_grabcut"


@closed
class Lies(TypedDict):
    """Where the mask of an image of the class lies."""

    image_id: ImageId
    box: Annotated[Box, doc("its box, in shares of the image's width and height")]


@closed
class Overlap(TypedDict):
    """How much of a method's boxes is the box in the middle, and how often they are right."""

    method: Annotated[str, doc("how boxes are made", "saliency_grabcut")]
    centre: Annotated[float | None, doc("median overlap with the box in the middle of the same image", 0.6)]
    right: Annotated[float | None, doc("share that overlaps a true box by half; null where none is known", 0.5)]
    n: Annotated[int, doc("images", 40)]
    judged: Annotated[int, doc("of them, images with true boxes", 3)]


@closed
class Lying(TypedDict):
    """Where the masks of the images of a class lie."""

    items: Annotated[list[Lies], doc("boxes of masks, an image each", [])]
    centre: Annotated[Box | None, doc("the box in the middle, which knows nothing of the image, in the same shares")]
    overlaps: Annotated[list[Overlap], doc("the masks, and a Gaussian in their place, beside the middle", [])]
    looked_at: Annotated[int, doc("images of the class that have rows here, at most 300", 40)]


def _class(say: Speaker, at: Mapping[str, Any]) -> Lying | None:
    images = say.store.images.of_class(at["class_id"], 0, OF_CLASS)
    boxes: dict[str, dict[int, Corners]] = {CUT: {}, GAUSSIAN: {}, CENTRE: {}}
    shares: dict[str, dict[int, Corners]] = {CUT: {}, CENTRE: {}}
    judged: dict[str, list[float]] = {name: [] for name in boxes}
    looked_at = set()
    for image in images:
        for row in say.rows(PART, {"image_id": image.image_id}):
            name = row["method"]
            if row["of"] != "true" or row["class_id"] != at["class_id"]:
                continue
            looked_at.add(image.image_id)
            if name not in boxes or row["left"] is None:
                continue
            box = boxes[name][image.image_id] = Corners(*(row[edge] for edge in EDGES))
            if name in shares:
                shares[name][image.image_id] = Corners(
                    box.left / image.width, box.top / image.height, box.right / image.width, box.bottom / image.height
                )
            if row["iou"] is not None:
                judged[name].append(row["iou"])
    if not looked_at:
        return None
    middle = next(iter(shares[CENTRE].values()), None)
    return {
        "items": [{"image_id": image_id, "box": _edges(box)} for image_id, box in shares[CUT].items()],
        "centre": None if middle is None else _edges(middle),
        "overlaps": [_overlap(name, found, boxes[CENTRE], judged[name]) for name, found in boxes.items() if found],
        "looked_at": len(looked_at),
    }


def _edges(box: Corners) -> Box:
    return box_of([getattr(box, edge) for edge in EDGES])


def _overlap(method: str, found: Mapping[int, Corners], centres: Mapping[int, Corners], judged: list[float]) -> Overlap:
    from atlas.localize.boxes import iou  # with scipy, which nothing else here needs

    shared = [iou(box, centres[image_id]) for image_id, box in found.items() if image_id in centres]
    return {
        "method": method,
        "centre": median(shared) if shared and method != CENTRE else None,
        "right": sum(each >= 0.5 for each in judged) / len(judged) if judged else None,
        "n": len(found),
        "judged": len(judged),
    }


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
CLASS = Section(
    PART, "class", "Where it is in its images", Lying, _class, "sections/localization_class.html", part=PART
)
ATLAS = Section(
    PART, "atlas", "Where classes are", Worth, _atlas, "sections/localization_scores.html", part=PART,
    table="localization_scores",
)  # fmt: skip
