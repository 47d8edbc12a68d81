"""The examples of each neuron, their pictures, and how far these can be trusted."""

from __future__ import annotations

import pyarrow as pa

from atlas.tables.columns import IMAGE, LAYER, NEURON, RANK, SIDE, boxed, column, measures, picture, schema
from atlas.tables.registry import Reference, Rule, Table, image, layer, neuron

EXAMPLES = Table(
    "examples",
    "neuron",
    "the images that drive each neuron most and least, and ten in between: position, field, crop",
    schema(
        *NEURON,
        SIDE,
        RANK,
        IMAGE,
        column("response", pa.float32(), "response of the neuron to the image", "response"),
        column("y", pa.int32(), "position in the map, down; -1 for a prefix token", "position"),
        column("x", pa.int32(), "position in the map, to the right", "position"),
        *boxed("field_", pa.int32(), "field of the position, before clipping", "input pixel"),
        *boxed("cell_", pa.float64(), "the position's own share of the input", "input pixel"),
        *boxed("image_", pa.float64(), "the field in the image as stored", "pixel"),
        picture("crop", "the field cut from the image as stored; outside the image it is padded"),
        column("duplicate_of", pa.int64(), "image_id of an earlier example of this side that is nearly the same image",
               null=True),
    ),
    key=("layer", "channel", "side", "rank"),
    references=(neuron(), image(), image("duplicate_of")),
    rules=(
        Rule(
            "ranks do not run from 0",
            "SELECT layer, channel, side FROM examples GROUP BY ALL "
            "HAVING min(rank) <> 0 OR max(rank) <> count(*) - 1 OR count(DISTINCT rank) <> count(*)",
        ),
        Rule(
            "an image is twice on a side",
            "SELECT layer, channel, side, image_id FROM examples GROUP BY ALL HAVING count(*) > 1",
        ),
        Rule(
            "ranks are not in the order of responses",
            "SELECT layer, channel, side, rank FROM (SELECT *, lag(response) OVER w AS r, lag(image_id) OVER w AS i "
            "FROM examples WINDOW w AS (PARTITION BY layer, channel, side ORDER BY rank)) WHERE "
            "CASE WHEN side = 'min' THEN r > response ELSE r < response END OR (r = response AND i > image_id)",
        ),
        Rule(
            "the first example is not the neuron's extreme",
            "SELECT layer, channel, side FROM examples JOIN neurons USING (layer, channel) WHERE rank = 0 AND "
            "((side = 'max' AND response <> neurons.max) OR (side = 'min' AND response <> neurons.min))",
        ),
        Rule(
            "a field is empty",
            "SELECT layer, channel, side, rank FROM examples "
            "WHERE field_left >= field_right OR field_top >= field_bottom",
        ),
    ),
    required=True,
)  # fmt: skip
EXPLANATIONS = Table(
    "explanations",
    "neuron",
    "the pictures of examples, a row each, with their evidence",
    schema(
        *NEURON,
        SIDE,
        RANK,
        column("kind", pa.string(), "kind of picture; `atlas.explain.kinds` lists them"),
        picture("picture", "the picture, on the same box as the crop"),
        *measures(),
    ),
    key=("layer", "channel", "side", "rank", "kind"),
    references=(Reference(("layer", "channel", "side", "rank"), "examples", ("layer", "channel", "side", "rank")),),
)
TRUST = Table(
    "trust",
    "neuron",
    "how far each kind of picture of a neuron, or of a layer, can be trusted: medians of the evidence",
    schema(
        LAYER,
        column("channel", pa.int32(), "the neuron's channel; null in the row of the layer as a whole", null=True),
        column("kind", pa.string(), "kind of picture"),
        *measures(),
        column("score", pa.float32(), "how far beyond a random mask: 0 is chance, about 1 the most"),
        column("n", pa.int32(), "examples (of a neuron), neurons (of a layer) behind the medians"),
    ),
    key=("layer", "channel", "kind"),
    references=(layer(), neuron()),
)
