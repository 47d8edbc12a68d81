"""The part `occlusion`: where a grey square makes a neuron's response fall."""

from __future__ import annotations

from atlas.tables.columns import NEURON, RANK, SIDE, picture, schema
from atlas.tables.registry import Reference, Table

OCCLUSION = Table(
    "occlusion",
    "neuron",
    "where a grey square that hides the image makes the response fall (Zeiler & Fergus 2014)",
    schema(
        *NEURON,
        SIDE,
        RANK,
        picture("picture", "fall of the response, on the same box as the crop; `scale`: the largest change"),
    ),
    key=("layer", "channel", "side", "rank"),
    references=(Reference(("layer", "channel", "side", "rank"), "examples", ("layer", "channel", "side", "rank")),),
    part="occlusion",
)
