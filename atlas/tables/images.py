"""The images of an atlas, and those that could not be used."""

from __future__ import annotations

import pyarrow as pa

from atlas.tables.columns import IMAGE, column, picture, schema
from atlas.tables.registry import Reference, Rule, Table

_SOURCE = column("source", pa.string(), "source of images, as given to build")
_KEY = column("key", pa.string(), "name of the image within its source")

IMAGES = Table(
    "images",
    "image",
    "each image that was scanned: its class, what the network says, its thumbnail",
    schema(
        IMAGE,
        _SOURCE,
        _KEY,
        column("content", pa.binary(), "SHA-256 of the image's bytes as stored"),
        column("class_id", pa.int32(), "class of the image; null where it has none, or several", null=True),
        column("class_ids", pa.list_(pa.int32()), "classes of an image with several labels", null=True),
        column("class_name", pa.string(), "readable name of the class", null=True),
        column("width", pa.int32(), "width of the image as stored", "pixel"),
        column("height", pa.int32(), "height of the image as stored", "pixel"),
        column("predicted", pa.int32(), "class with the largest logit; null without classes", null=True),
        column(
            "probability",
            pa.float32(),
            "softmax of the predicted class, of data with lists of classes its sigmoid; null without classes",
            null=True,
        ),
        column(
            "loss",
            pa.float32(),
            "cross entropy of the image's class, of a list of classes binary, mean over classes; null without one",
            "nat",
            null=True,
        ),
        picture("thumbnail", "whole image, small"),
        picture("picture", "whole image, large enough to draw a field on; only of images that are examples"),
    ),
    key=("image_id",),
    references=(Reference(("image_id",), "codes", ("image_id",)),),
    rules=(
        Rule("images and quarantine overlap", "SELECT image_id FROM images JOIN quarantine USING (image_id)"),
        Rule("a content is no SHA-256", "SELECT image_id FROM images WHERE octet_length(content) <> 32"),
    ),
    required=True,
)
QUARANTINE = Table(
    "quarantine",
    "image",
    "each image that could not be used, and why",
    schema(
        IMAGE,
        _SOURCE,
        _KEY,
        column("reason", pa.string(), "why it could not be used, in a word"),
        column("detail", pa.string(), "why it could not be used, in a line"),
    ),
    key=("image_id",),
    required=True,
)
