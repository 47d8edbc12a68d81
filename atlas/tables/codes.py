"""CNN codes of the images, and the maps made of them."""

from __future__ import annotations

import pyarrow as pa

from atlas.tables.columns import IMAGE, column, schema
from atlas.tables.registry import Table, image

_MEANING = "input of the last convolution or linear layer, spatial mean"


def codes(dimensions: int, *, half: bool = False) -> pa.Schema:
    """Schema of the files of codes."""
    return schema(IMAGE, column("code", pa.list_(pa.float16() if half else pa.float32(), dimensions), _MEANING))


CODES = Table(
    "codes",
    "image",
    "the CNN code of every image",
    schema(IMAGE, column("code", pa.list_(pa.float32()), _MEANING)),
    key=("image_id",),
    references=(image(),),
    files=True,
)
MAP = Table(
    "map",
    "image",
    "t-SNE and PCA of the codes, with a grid arrangement",
    schema(
        IMAGE,
        column("kind", pa.string(), "tsne, pca, or pca of a layer (pca:<layer>)"),
        column("x", pa.float32(), "coordinate"),
        column("y", pa.float32(), "coordinate"),
        column("grid_row", pa.int32(), "row of the image's own cell in the grid arrangement", null=True),
        column("grid_column", pa.int32(), "column of the image's own cell in the grid arrangement", null=True),
    ),
    key=("image_id", "kind"),
    references=(image(),),
)
