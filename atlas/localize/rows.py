"""What methods say of images, as rows; and from them, with true boxes, the tables of the part."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from atlas.localize import scores
from atlas.localize.boxes import LEVELS, best_iou, centre
from atlas.localize.edits import EDITS
from atlas.localize.locate import Located
from atlas.localize.scores import Judged, Way
from atlas.localize.settings import CONTROLS, USUAL
from atlas.tables.columns import PICTURE
from atlas.tables.localization import LOCALIZATION, LOCALIZATION_DIFFERENCES, LOCALIZATION_SCORES, SHAPE_TEXTURE
from atlas.types import Box

FOUND = pa.schema(
    [
        ("image_id", pa.int64()), ("class_id", pa.int32()), ("of", pa.string()), ("method", pa.string()),
        ("boxes", pa.list_(pa.float64())), ("area", pa.float32()), ("why", pa.string()),
        ("saliency", PICTURE), ("mask", PICTURE),
    ]
)  # fmt: skip
"""What a method says of an image: its boxes, four edges a level, NaN where there is none."""
SEEN = pa.schema(
    [
        ("image_id", pa.int64()), ("class_id", pa.int32()), ("predicted", pa.int32()), ("place", pa.int32()),
        *((edit, pa.int32()) for edit in EDITS),
    ]
)  # fmt: skip
"""What the network says of an image: `place` of its true class among the logits, and of its edits."""
TOLERANCE = 0.5
"""Largest distance of an edge, in stored pixels, of a box that is made again."""
_EDGES = ("left", "top", "right", "bottom")
_NONE = (float("nan"),) * 4


def middle(width: int, height: int) -> list[Box | None]:
    """Boxes in the middle of the stored image, a side a level."""
    return [centre(width, height, level) for level in LEVELS]


def found_row(
    image_id: int, class_id: int, of: str, each: Located, boxes: Sequence[Box | None], pictures: Mapping[str, Any]
) -> dict[str, Any]:
    """A row of `FOUND`; `boxes` in pixels of the image as stored."""
    edges = [edge for box in boxes for edge in ((box.left, box.top, box.right, box.bottom) if box else _NONE)]
    area = None if each.mask is None else float(each.mask.mean())
    return {
        "image_id": image_id, "class_id": class_id, "of": of, "method": each.method, "boxes": edges, "area": area,
        "why": each.why, **pictures,
    }  # fmt: skip


def sampled(images: pa.Table, boxes: Mapping[int, Any], count: int, seed: int, first: bool = False) -> list[int]:
    """Image ids, ascending: `count` by the smallest hashes of (seed, content), 0 for all, and those with boxes.

    `first`: those with boxes count towards `count`, come first, and none are taken where it is 0.
    """
    ids, contents = images.column("image_id").to_pylist(), images.column("content").to_pylist()
    keyed = sorted((hashlib.blake2b(c, digest_size=16, salt=seed.to_bytes(8, "little")).digest(), i)
                   for i, c in zip(ids, contents, strict=True))  # fmt: skip
    if first:
        return [i for _, i in sorted(keyed, key=lambda each: (each[1] not in boxes, each[0]))][:count]
    chosen = [i for _, i in keyed]
    return sorted({*(chosen[:count] if count else chosen), *boxes})


def boxes_in(row: Mapping[str, Any]) -> list[Box | None]:
    """The boxes of a row of `FOUND`, one a level."""
    edges = row["boxes"]
    parts = [edges[i : i + 4] for i in range(0, len(edges), 4)]
    return [None if np.isnan(part[0]) else Box(*part) for part in parts]


def nearest(row: Mapping[str, Any], old: Mapping[str, Any]) -> float:
    """How far the box of a row of the table is from the nearest one of `FOUND`: its largest distance of an edge."""
    if old["left"] is None:
        return 0.0 if any(box is None for box in boxes_in(row)) else float("inf")
    gaps = [
        max(abs(getattr(box, edge) - old[edge]) for edge in _EDGES) for box in boxes_in(row) if box is not None
    ]  # fmt: skip
    return float(min(gaps, default=float("inf")))


@dataclass(frozen=True, eq=False)
class Told:
    """The tables, and a few figures for people."""

    rows: pa.Table
    scores: pa.Table
    differences: pa.Table
    summary: dict[str, Any]


def judge(found: pa.Table, seen: pa.Table, images: pa.Table, truths: Mapping[int, Sequence[Box]], seed: int) -> Told:
    """Each box at the level that the other half of the images chose, with its overlap; the scores of all methods."""
    listed, ids = found.to_pylist(), [i for i in seen.column("image_id").to_pylist() if i in truths]
    judged = _judged(listed, seen, images, truths, sorted(ids), seed)
    content = dict(zip(images.column("image_id").to_pylist(), images.column("content").to_pylist(), strict=True))
    pairs = {way: scores.levels_of(judged, way) for way in judged.overlaps} if ids else {}
    sizes = {row["image_id"]: row["width"] * row["height"] for row in images.to_pylist()}
    made = []
    for row in listed:
        boxes = boxes_in(row)
        level = 0
        if len(boxes) > 1:
            usual = int(np.argmin([abs(each - USUAL[row["method"]]) for each in LEVELS]))
            pair = pairs.get(Way(row["method"], row["of"]), (usual, usual))
            level = pair[0] if scores.in_first(content[row["image_id"]], seed) else pair[1]
        made.append(_table_row(row, boxes[level], truths.get(row["image_id"]), sizes[row["image_id"]]))
    scored = scores.scores(judged) if ids else []
    gaps = scores.differences(judged, CONTROLS, seed) if ids else []
    return Told(
        pa.Table.from_pylist(made, schema=LOCALIZATION.columns),
        pa.Table.from_pylist([row._asdict() for row in scored], schema=LOCALIZATION_SCORES.columns),
        pa.Table.from_pylist([row._asdict() for row in gaps], schema=LOCALIZATION_DIFFERENCES.columns),
        _summary(len(seen), scored),
    )


def _table_row(row: Mapping[str, Any], box: Box | None, truth: Sequence[Box] | None, size: int) -> dict[str, Any]:
    why = row["why"] or (None if box is not None else "the map is the same everywhere, or nothing is inside the image")
    area = row["area"]
    if area is None and box is not None:
        area = box.width * box.height / size
    return {
        **{name: row[name] for name in ("image_id", "class_id", "of", "method", "saliency", "mask")},
        **{edge: None if box is None else getattr(box, edge) for edge in _EDGES},
        "area": area, "iou": None if truth is None else best_iou(box, truth), "why": why,
    }  # fmt: skip


def _judged(
    found: Sequence[Mapping[str, Any]], seen: pa.Table, images: pa.Table, truths: Mapping[int, Sequence[Box]],
    ids: Sequence[int], seed: int,
) -> Judged:  # fmt: skip
    content = dict(zip(images.column("image_id").to_pylist(), images.column("content").to_pylist(), strict=True))
    place = {image_id: row for row, image_id in enumerate(ids)}
    ranks = {row["image_id"]: row["place"] for row in seen.to_pylist()}
    overlaps: dict[Way, Any] = {}
    for row in found:
        if row["image_id"] in place:
            boxes = boxes_in(row)
            way = Way(row["method"], row["of"])
            if way not in overlaps:
                overlaps[way] = np.full((len(ids), len(boxes)), np.nan)
            overlaps[way][place[row["image_id"]]] = [best_iou(box, truths[row["image_id"]]) for box in boxes]
    rank = np.array([-1 if ranks[i] is None else ranks[i] for i in ids], np.int64)
    levels = {way.method: LEVELS for way, each in overlaps.items() if each.shape[1] > 1}
    first = np.array([scores.in_first(content[i], seed) for i in ids], bool)
    return Judged(overlaps, levels, first, rank == 0, (rank >= 0) & (rank < 5))


def _summary(images: int, scored: Sequence[scores.Score]) -> dict[str, Any]:
    known = {
        row.method: round(row.value, 3)
        for row in scored
        if (row.of, row.measure, row.split) == ("true", "gt_known_loc", "both")
    }
    counted = {row.n for row in scored if row.split == "both"}
    return {"images": images, **({"with boxes": max(counted)} if counted else {}), **known}


def shape_texture(seen: pa.Table) -> pa.Table:
    """Rows of `SHAPE_TEXTURE`, over the images that have both edits and a class."""
    listed = [
        row for row in seen.to_pylist() if row["class_id"] is not None and all(row[e] is not None for e in EDITS)
    ]  # fmt: skip
    made = []
    for edit in ("original", *EDITS):
        said = [row["predicted"] if edit == "original" else row[edit] for row in listed]
        right = [a == row["class_id"] for a, row in zip(said, listed, strict=True)]
        same = [a == row["predicted"] for a, row in zip(said, listed, strict=True)]
        if listed:
            made.append({"edit": edit, "n": len(listed), "top1": float(np.mean(right)), "same": float(np.mean(same))})
    return pa.Table.from_pylist(made, schema=SHAPE_TEXTURE.columns)
