"""Neurons beside other neurons, beside images, and beside simple properties of images."""

from __future__ import annotations

import pyarrow as pa

from atlas.tables.columns import IMAGE, NEURON, RANK, column, schema
from atlas.tables.registry import Table, image, neuron

SIMILAR = Table(
    "similar",
    "neuron",
    "neurons that resemble each other",
    schema(
        *NEURON,
        RANK,
        column("other_layer", pa.string(), "layer of the similar neuron"),
        column("other_channel", pa.int32(), "channel of the similar neuron"),
        column("by", pa.string(), "code, classes or responses: what is compared"),
        column("similarity", pa.float32(), "cosine (code; classes: of centred profiles) or correlation (responses)"),
    ),
    key=("layer", "channel", "by", "rank"),
    references=(neuron(), neuron(layer="other_layer", channel="other_channel")),
)
NEAR_MISSES = Table(
    "near_misses",
    "neuron",
    "images that ought to drive a neuron, and do not",
    schema(
        *NEURON,
        RANK,
        IMAGE,
        column("similarity", pa.float32(), "cosine of its code with the mean code of the neuron's examples"),
        column("response", pa.float32(), "its response, which is low", "response"),
    ),
    key=("layer", "channel", "rank"),
    references=(neuron(), image()),
)
PROPERTIES = Table(
    "properties",
    "neuron",
    "association of each neuron's response with simple properties of the image",
    schema(
        *NEURON,
        column("property", pa.string(), "simple property of the image"),
        column("association", pa.float32(), "rank correlation; circular-linear for angles"),
        column("n", pa.int32(), "images of the response sample that were compared"),
        column("significant", pa.bool_(), "beyond the threshold that allows for the number of tests"),
    ),
    key=("layer", "channel", "property"),
    references=(neuron(),),
)
