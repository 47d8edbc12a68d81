"""Where in each image its class is, found without boxes, and how far that beats a box without a network."""

from __future__ import annotations

import pyarrow as pa

from atlas.tables.columns import IMAGE, boxed, column, picture, schema
from atlas.tables.registry import Rule, Table, image

_METHOD = column("method", pa.string(), "how the box is made; `atlas.localize.settings.METHODS` says each")
_OF = column("of", pa.string(), "predicted or true: of which class")
_MEASURE = column("measure", pa.string(), "top1_loc, top5_loc, gt_known_loc or max_box_acc_v2: a share of right boxes")

LOCALIZATION = Table(
    "localization",
    "image",
    "boxes and masks of where the class of an image is, by method",
    schema(
        IMAGE,
        column("class_id", pa.int32(), "class that is looked for"),
        _OF,
        _METHOD,
        *(field.with_nullable(True) for field in boxed("", pa.float64(), "box; null where there is none", "pixel")),
        column("area", pa.float32(), "share of the input that the mask, or the box, covers", null=True),
        column("iou", pa.float32(), "largest overlap with a true box; null where none is known", null=True),
        column("why", pa.string(), "why there is no box, or what was done about ties", null=True),
        picture("saliency", "the map that the box is made of, from black, at the input's size"),
        picture("mask", "its mask's largest component, one bit, at the input's size"),
    ),
    key=("image_id", "of", "method"),
    references=(image(),),
    rules=(
        Rule("a box is empty", 'SELECT image_id FROM localization WHERE "left" >= "right" OR "top" >= bottom'),
        Rule(
            "a box lies outside its image",
            'SELECT image_id FROM localization JOIN images USING (image_id) WHERE "left" < 0 OR "top" < 0 '
            'OR "right" > width + 1e-6 OR bottom > height + 1e-6',
        ),
    ),
    part="localization",
)
LOCALIZATION_SCORES = Table(
    "localization_scores",
    "atlas",
    "how often boxes are right: a threshold is chosen on one half of the images and counts on the other",
    schema(
        _METHOD,
        _OF,
        _MEASURE,
        column("value", pa.float64(), "share of images whose box is right"),
        column("n", pa.int32(), "images with true boxes"),
        column("threshold", pa.float32(), "level at which the box is made, chosen on the other half", null=True),
        column("split", pa.string(), "a or b: the half that is counted; both: all images, each at the other half's"),
    ),
    key=("method", "of", "measure", "split"),
    part="localization",
)
LOCALIZATION_DIFFERENCES = Table(
    "localization_differences",
    "atlas",
    "how many more images one method gets right than another, paired, with 95 % bootstrap intervals",
    schema(
        _METHOD,
        column("other", pa.string(), "the method that it is compared with"),
        _OF,
        _MEASURE,
        column("difference", pa.float64(), "share of images more"),
        column("low", pa.float64(), "lower end of the interval"),
        column("high", pa.float64(), "upper end of the interval"),
        column("n", pa.int32(), "images with true boxes"),
    ),
    key=("method", "other", "of", "measure"),
    part="localization",
)
SHAPE_TEXTURE = Table(
    "shape_texture",
    "atlas",
    "how often the network still says the same of the mask's shape alone, or of its texture alone",
    schema(
        column("edit", pa.string(), "original, silhouette (the shape in grey on white) or texture (tiled)"),
        column("n", pa.int32(), "images that have a mask and a class"),
        column("top1", pa.float64(), "share whose true class is predicted"),
        column("same", pa.float64(), "share that is predicted as the original is"),
    ),
    key=("edit",),
    part="localization",
)
