"""Which neurons feed a neuron, how exactly its response was taken apart, and what the removal of its inputs takes."""

from __future__ import annotations

import pyarrow as pa

from atlas.tables.columns import LAYER, NEURON, RANK, column, schema
from atlas.tables.registry import Rule, Table, layer, neuron

CONNECTIONS = Table(
    "connections",
    "neuron",
    "the maps that a neuron's response is made of, and the neurons that it goes into, strongest first",
    schema(
        *NEURON,
        column("direction", pa.string(), "from: the other feeds this neuron; to: this neuron feeds the other"),
        RANK,
        column("other_layer", pa.string(), "layer of the other neuron; null where it is no recorded neuron", null=True),
        column("other_channel", pa.int32(), "its channel, or that of what `source` names"),
        column("source", pa.string(), "what is read where that is no recorded neuron: image, or an operation",
               null=True),
        column("contribution", pa.float32(), "mean over the strongest examples of contribution ÷ sum of absolute ones"),
        column("contribution_spread", pa.float32(), "the same over the examples of side spread", null=True),
        column("weight", pa.float32(), "norm of the kernel slice of this map, the batch norm folded"),
        column("drop", pa.float32(),
               "share of the response, above that to the mean colour, that held-out examples lose when the first "
               "rank + 1 maps are held at their means; null but for ranks 0, 2, 9 of direction from", null=True),
        column("drop_random", pa.float32(), "the same for as many other maps of equal mean activation", null=True),
    ),
    key=("layer", "channel", "direction", "rank"),
    references=(neuron(), neuron(layer="other_layer", channel="other_channel")),
    rules=(
        Rule(
            "an edge is neither to a neuron nor to something that is named",
            "SELECT layer, channel FROM connections WHERE (other_layer IS NULL) = (source IS NULL)",
        ),
        Rule(
            "an edge has a rank of the other sign",
            "SELECT layer, channel FROM connections WHERE contribution = 0 OR (rank < 10) <> (contribution > 0)",
        ),
    ),
    part="connections",
)  # fmt: skip
ADDITIVITY = Table(
    "additivity",
    "layer",
    "how exactly each layer's response is the sum of the contributions of the maps that it reads",
    schema(
        LAYER,
        column("error", pa.float64(), "largest miss ÷ root mean square of the sums; null where it was not taken apart",
               null=True),
        column("inputs", pa.int32(), "maps that one of its neurons reads"),
        column("half", pa.float32(), "median number of maps that carry half of a neuron's absolute contributions",
               "map", null=True),
        column("why", pa.string(), "why it cannot be taken apart; null where it was", null=True),
    ),
    key=("layer",),
    references=(layer(),),
    part="connections",
)  # fmt: skip
REMOVALS = Table(
    "removals",
    "layer",
    "what the removal of a neuron's inputs takes from its response to held-out examples, by how they are chosen",
    schema(
        LAYER,
        column("ranking", pa.string(),
               "contribution: the strongest; random: others; equal: others of equal activation; active: the most "
               "active; weight: the largest weight sums; shuffled: the strongest in a network of shuffled weights; "
               "chance: any"),
        column("removed", pa.int32(), "how many maps are held at their means"),
        column("drop", pa.float32(), "median over neurons of the share of the response that is lost"),
        column("less", pa.float32(), "median over neurons of how much less that is than by the strongest"),
        column("activity", pa.float32(), "median of the removed maps' activation ÷ that of the strongest"),
        column("neurons", pa.int32(), "neurons that were tested"),
    ),
    key=("layer", "ranking", "removed"),
    references=(layer(),),
    part="connections",
)  # fmt: skip
PATHWAYS = Table(
    "pathways",
    "atlas",
    "how much of each layer's responses comes from the maps of each other layer",
    schema(
        LAYER,
        column("other_layer", pa.string(), "layer that is read; null where it is no recorded one", null=True),
        column("source", pa.string(), "what is read where that is no recorded layer", null=True),
        column("share", pa.float32(), "mean over the layer's neurons of the share of absolute contributions"),
    ),
    key=("layer", "other_layer", "source"),
    references=(layer(), layer("other_layer")),
    part="connections",
)
