"""How each neuron usually responds: over all images, a class, the response sample."""

from __future__ import annotations

import pyarrow as pa

from atlas.tables.columns import IMAGE, LAYER, NEURON, column, schema
from atlas.tables.registry import Rule, Table, image, layer, neuron

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
QUANTILE = pa.struct([(f"p{round(100 * q):02d}", pa.float32()) for q in QUANTILES])
BIN = pa.struct([("left", pa.float32()), ("right", pa.float32()), ("count", pa.int64())])
TOP_CLASS = pa.struct([("class_id", pa.int32()), ("mean", pa.float32()), ("share", pa.float32())])

NEURONS = Table(
    "neurons",
    "neuron",
    "statistics, histogram, classes and selectivity of each neuron",
    schema(
        *NEURON,
        column("images", pa.int64(), "images scanned"),
        column("mean", pa.float64(), "mean over images of the side-max response", "response"),
        column("std", pa.float64(), "standard deviation over images of the side-max response", "response"),
        column("min", pa.float32(), "least side-min response", "response"),
        column("max", pa.float32(), "largest side-max response", "response"),
        column("activation_rate", pa.float64(),
               "share of images whose side-max response is above 0; null where no rectifier follows", null=True),
        column("reference_max", pa.float32(), "an example of side max has something to explain above this: 0 where a "
               "rectifier follows, else the median side-max response of the response sample", "response"),
        column("reference_min", pa.float32(), "likewise of side min, below this", "response"),
        column("map_mean", pa.float64(), "mean of the map, over images and positions", "response"),
        column("dead", pa.bool_(), "a rectifier follows and no image is above 0; null where none follows", null=True),
        column("why_max", pa.string(), "why side max has no examples; null where it has", null=True),
        column("why_min", pa.string(), "why side min has no examples; null where it has", null=True),
        column("quantiles", QUANTILE, "quantiles of the side-max response, from the histogram", "response"),
        column("histogram", pa.list_(BIN), "bins of the side-max response that hold images, ascending", "response"),
        column("top_classes", pa.list_(TOP_CLASS), "classes of the largest mean response, at most five"),
        column("selectivity", pa.float32(), "class selectivity index (Morcos et al. 2018); null without two classes",
               null=True),
        column("vector", pa.list_(pa.float32()), "response-weighted mean code of its strongest examples", null=True),
    ),
    key=("layer", "channel"),
    references=(layer(),),
    rules=(
        Rule(
            "a histogram does not count every image",
            "SELECT layer, channel FROM neurons WHERE list_sum(list_transform(histogram, lambda b: b.count)) <> images",
        ),
        Rule(
            "a side without examples does not say why",
            "SELECT n.layer, n.channel FROM neurons n WHERE why_max IS NULL AND NOT EXISTS (SELECT 1 FROM examples e "
            "WHERE e.layer = n.layer AND e.channel = n.channel AND e.side = 'max')",
        ),
    ),
    required=True,
)  # fmt: skip
CLASSES = Table(
    "classes",
    "neuron",
    "the class profile: mean response, and share of images that activate, a neuron and class",
    schema(
        *NEURON,
        column("class_id", pa.int32(), "class"),
        column("mean", pa.float32(), "mean side-max response over the images of the class", "response"),
        column("share", pa.float32(),
               "share of the images of the class with a response above 0; null where no rectifier follows", null=True),
    ),
    key=("layer", "channel", "class_id"),
    references=(neuron(),),
)  # fmt: skip


def _responses(vector: pa.DataType) -> pa.Schema:
    return schema(
        LAYER,
        IMAGE,
        column("max", vector, "side-max response of every channel", "response"),
        column("min", vector, "side-min response of every channel", "response"),
    )


def responses(channels: int) -> pa.Schema:
    """Schema of one layer's file of the response sample."""
    return _responses(pa.list_(pa.float32(), channels))


RESPONSES = Table(
    "responses",
    "layer",
    "the response sample: responses of all neurons to a fixed random set of images",
    _responses(pa.list_(pa.float32())),
    key=("layer", "image_id"),
    references=(layer(), image()),
    files=True,
)
