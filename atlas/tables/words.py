"""Part `words`: formulas over concepts for every neuron."""

from __future__ import annotations

import pyarrow as pa

from atlas.tables.columns import CHANNEL, LAYER, column, schema
from atlas.tables.registry import Rule, Table, neuron

PART = "words"

WORDS = Table(
    "words",
    "neuron",
    "what a neuron stands for: formulas over concepts, found on one half of the response sample, reported on the other",
    schema(
        LAYER,
        CHANNEL,
        column("side", pa.string(), "max or min: which responses are strong"),
        column("rank", pa.int32(), "order by excess, from 0"),
        column("words", pa.string(), "formula; null where the responses of a half are all equal", null=True),
        column("length", pa.int32(), "concepts in the formula", null=True),
        column("auprc", pa.float64(), "area under precision and recall on the half that was searched", null=True),
        column("base_rate", pa.float64(), "share of that half for which the formula holds: auprc by chance", null=True),
        column(
            "excess", pa.float64(), "auprc above its mean over all orders of the images, for the same formula",
            "deviation", null=True,
        ),
        column("correlation", pa.float64(), "Pearson's, of response and formula on the other half", null=True),
        column("auc", pa.float64(), "area under the receiver operating characteristic on the other half", null=True),
        column("held_out", pa.float64(), "auprc on the other half", null=True),
        column("held_out_excess", pa.float64(), "excess on the other half", "deviation", null=True),
        column(
            "iou", pa.float64(), "intersection over union of the strongest places and the concept's masks; null "
            "without masks", null=True,
        ),
        column(
            "p", pa.float64(), "share of shuffled orders in which the whole search finds as much (rank 0), or a "
            "formula as much above chance (further ranks)", null=True,
        ),
        column("q", pa.float64(), "false discovery rate over neurons and sides (Benjamini & Hochberg 1995)", null=True),
        column("n", pa.int32(), "images of both halves for which the formula holds", null=True),
    ),
    key=("layer", "channel", "side", "rank"),
    references=(neuron(),),
    rules=(
        Rule("p or q outside 0 to 1", "SELECT 1 FROM words WHERE NOT (p BETWEEN 0 AND 1) OR NOT (q BETWEEN 0 AND 1)"),
        Rule("words without their measures", "SELECT 1 FROM words WHERE (words IS NULL) <> (auprc IS NULL)"),
    ),
    part=PART,
)  # fmt: skip

EMBEDDINGS = Table(
    "embeddings",
    "atlas",  # vectors are for `find`: no page lists their numbers
    "where the strongest crops of a neuron lie in the space of a text-image encoder, for free words",
    schema(
        LAYER,
        CHANNEL,
        column(
            "embedding", pa.list_(pa.float32()), "mean of the unit vectors of at most nine crops of side max, near "
            "duplicates left out, itself of length 1",
        ),
    ),
    key=("layer", "channel"),
    references=(neuron(),),
    rules=(
        Rule(
            "an embedding of another length than 1",
            "SELECT 1 FROM embeddings WHERE NOT abs(list_inner_product(embedding, embedding) - 1) < 1e-4",
        ),
        Rule("embeddings of several sizes", "SELECT 1 FROM embeddings HAVING count(DISTINCT len(embedding)) > 1"),
    ),
    part=PART,
)  # fmt: skip
