"""Optimised pictures of neurons and of classes, with what each is worth."""

from __future__ import annotations

import pyarrow as pa

from atlas.tables.columns import CHANNEL, NEURON, column, picture, schema
from atlas.tables.registry import Table, layer, neuron

_SHARE = "share of right answers of the two-choice test (chance: 0.5)"
VISUALIZATIONS = Table(
    "visualizations",
    "neuron",
    "pictures made to drive a neuron, or a class, and what each is worth",
    schema(
        column("target", pa.string(), "neuron, or class: then layer and channel are the unit that gives its logit"),
        *NEURON,
        column("sign", pa.int8(), "1: made to drive it most; -1: least"),
        column("method", pa.string(), "fourier, maco or l2: what was varied"),
        column("objective", pa.string(), "response (of a class: its logit) or probability: what was raised"),
        column("repeat", pa.int32(), "from 0: the same from another start"),
        column("steps", pa.int32(), "steps of ascent"),
        column("response", pa.float32(), "of the stored picture, read again; of a class its logit", "response",
               null=True),
        column("attained", pa.float32(), "response ÷ the largest over the data (sign -1: the smallest); null where "
               "that lies on the other side of 0", null=True),
        column("probability", pa.float32(), "of a class: the network's own, from the stored picture", null=True),
        column("predicted", pa.bool_(), "of a class: whether the stored picture is classified as it", null=True),
        column("choice", pa.float32(), f"{_SHARE}, the picture being the reference", null=True),
        column("choice_natural", pa.float32(), f"{_SHARE}, the neuron's natural nine being it", null=True),
        column("choice_other", pa.float32(), f"{_SHARE}, another neuron's nine being it: at chance", null=True),
        column("choice_shuffled", pa.float32(), f"{_SHARE}, a picture made on shuffled weights being it: at chance",
               null=True),
        column("path", pa.float32(), "how it travels through the layers: 1 as the natural nine do, 0 as random images",
               null=True),
        column("agreement", pa.float32(), "1 where the nearest picture of another repeat is its own neuron's, else 0",
               null=True),
        column("transfer", pa.float32(), "of a class: probability that another network gives it", null=True),
        picture("picture", "lossless, at canvas size: read back as it is"),
    ),
    key=("target", "layer", "channel", "method", "objective", "sign", "repeat"),
    references=(neuron(),),
    part="visualizations",
)  # fmt: skip
SENSITIVITY = Table(
    "sensitivity",
    "layer",
    "the response of each neuron to every other's picture (Erhan et al. 2009)",
    schema(
        *NEURON,
        column("other_channel", CHANNEL.type, "the neuron of the same layer whose picture is shown"),
        column("response", pa.float32(), "of `channel` to the picture of `other_channel`", "response"),
    ),
    key=("layer", "channel", "other_channel"),
    references=(layer(), neuron(), neuron(channel="other_channel")),
    part="visualizations",
)
