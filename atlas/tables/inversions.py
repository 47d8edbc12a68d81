"""Images made again from what a layer keeps of them."""

from __future__ import annotations

import pyarrow as pa

from atlas.tables.columns import column, picture, schema
from atlas.tables.registry import Table, image

INVERSIONS = Table(
    "inversions",
    "image",
    "images made again from what a layer keeps of them, and cells of the map from their mean codes",
    schema(
        column("image_id", pa.int64(), "the image; null: a cell of the map", null=True),
        column("grid_row", pa.int32(), "of a cell of the map its row", null=True),
        column("grid_column", pa.int32(), "of a cell of the map its column", null=True),
        column("layer", pa.string(), "module whose output was inverted; logits, log_probabilities, code too"),
        column("depth", pa.int32(), "the layer's place in the row, from the input"),
        column("method", pa.string(), "tv: α-norm and total variation"),
        column("repeat", pa.int32(), "from 0: the same from another start"),
        column("error", pa.float32(), "‖Φ(x) − Φ₀‖² ÷ ‖Φ₀‖², from the stored picture", null=True),
        column("error_other", pa.float32(), "the same distance from another image's (cell's), drawn at random",
               null=True),
        column("psnr", pa.float32(), "of the stored picture against what the network saw of the image; at most 99",
               "dB", null=True),
        column("rank", pa.int32(),
               "place of the original among all images by the picture's own code, 0 is nearest; null where the code "
               "follows from the layer at once, or comes before it", null=True),
        picture("picture", "lossless, as large as the network's input"),
    ),
    key=("image_id", "grid_row", "grid_column", "depth", "layer", "repeat"),
    references=(image(),),
    part="inversions",
)  # fmt: skip
