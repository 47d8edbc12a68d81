"""Part `compare@AS`: this atlas beside another one, or beside a table of answers, over the images that both hold."""

from __future__ import annotations

import pyarrow as pa

from atlas.tables.columns import IMAGE, LAYER, NEURON, RANK, column, schema
from atlas.tables.registry import Rule, Table, image, layer, neuron

PART = "compare"
_OTHER_LAYER = column("other_layer", pa.string(), "layer of the other atlas", null=True)
_OTHER_CHANNEL = column("other_channel", pa.int32(), "channel of the other atlas", null=True)

MATCHES = Table(
    "matches",
    "neuron",
    "the neuron of the other atlas whose responses to the shared sample correlate most",
    schema(
        *NEURON,
        _OTHER_LAYER,
        _OTHER_CHANNEL,
        column(
            "correlation", pa.float64(), "Pearson's, of side-max responses; null where they never change", null=True
        ),
        column("mutual", pa.bool_(), "the other's own best match is this neuron"),
        column("null95", pa.float64(), "95 % of the layer's neurons with shuffled images match no better", null=True),
    ),
    key=("layer", "channel"),
    references=(neuron(),),
    rules=(Rule("a correlation outside -1 to 1", "SELECT 1 FROM matches WHERE NOT (correlation BETWEEN -1 AND 1)"),),
    part=PART,
)
LAYERS_CKA = Table(
    "layers_cka",
    "layer",
    "how alike layers of both atlases are: debiased linear CKA of the side-max responses to the shared sample",
    schema(
        LAYER,
        column("other_layer", pa.string(), "layer of the other atlas"),
        column("cka", pa.float64(), "1 is the same up to rotation and scale; null where a layer tells nothing apart",
               null=True),
        column("low", pa.float64(), "lower end of its 95 % interval over images", null=True),
        column("high", pa.float64(), "upper end of its 95 % interval", null=True),
    ),
    key=("layer", "other_layer"),
    references=(layer(),),
    part=PART,
)  # fmt: skip
FLIPS = Table(
    "flips",
    "image",
    "images that the two answer differently",
    schema(
        IMAGE,
        column("other_image_id", pa.int64(), "the image in the other atlas; null for a table of answers", null=True),
        column("predicted", pa.int32(), "class that this network predicts"),
        column("other_predicted", pa.int32(), "class that the other predicts; null where this atlas has no such class",
               null=True),
        column("class_id", pa.int32(), "class of the image; null where it has none", null=True),
    ),
    key=("image_id",),
    references=(image(),),
    part=PART,
)  # fmt: skip
MOVED = Table(
    "moved",
    "image",
    "the matched neurons whose response to a flipped image of the shared sample differs most",
    schema(
        IMAGE,
        RANK,
        *NEURON,
        _OTHER_LAYER,
        _OTHER_CHANNEL,
        column("change", pa.float64(), "response of the other less that of this, each in deviations over the sample",
               "deviation"),
    ),
    key=("image_id", "rank"),
    references=(image(), neuron()),
    part=PART,
)  # fmt: skip
CLASS_CHANGES = Table(
    "class_changes",
    "class",
    "classes that gained and lost over the shared images",
    schema(
        column("class_id", pa.int32(), "class"),
        column("n", pa.int64(), "shared images of the class that both answer"),
        column("accuracy", pa.float64(), "share of them that this network names rightly"),
        column("other_accuracy", pa.float64(), "share that the other names rightly"),
        column("agreement", pa.float64(), "share that both answer alike"),
        column("gained", pa.int64(), "images that the other alone names rightly"),
        column("lost", pa.int64(), "images that this network alone names rightly"),
        column("p", pa.float64(), "McNemar's exact p of gained against lost"),
    ),
    key=("class_id",),
    part=PART,
)
TRUST_CHANGES = Table(
    "trust_changes",
    "layer",
    "trust in each kind of picture beside that of the most similar layer of the other atlas",
    schema(
        LAYER,
        column("other_layer", pa.string(), "the other's layer of the largest CKA"),
        column("kind", pa.string(), "kind of picture"),
        column("score", pa.float32(), "median trust here", null=True),
        column("other_score", pa.float32(), "median trust there", null=True),
    ),
    key=("layer", "kind"),
    references=(layer(),),
    part=PART,
)
