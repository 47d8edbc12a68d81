"""The network: its layers, its filters, and how far pictures of it depend on its weights."""

from __future__ import annotations

import pyarrow as pa

from atlas.tables.columns import LAYER, NEURON, YX, column, picture, schema
from atlas.tables.registry import Reference, Rule, Table, layer, neuron

AXIS = pa.struct(
    [
        (f"{measure}_{who}", pa.float32())
        for measure in ("selectivity", "purity", "closeness")
        for who in ("neurons", "random")
    ]
)

LAYERS = Table(
    "layers",
    "layer",
    "each recorded layer, with its shape and receptive field",
    schema(
        LAYER,
        column("index", pa.int32(), "order of the layer in the forward pass, from 0"),
        column("kind", pa.string(), "conv, linear or block"),
        column("tokens", pa.bool_(), "the map is of tokens: its patch tokens lie on their grid"),
        column("channels", pa.int32(), "number of neurons"),
        column("height", pa.int32(), "height of the map at the build's crop", "position"),
        column("width", pa.int32(), "width of the map at the build's crop", "position"),
        column("prefix_tokens", pa.int32(), "tokens before the patches (class, registers): positions y = -1", "token"),
        column("field_size", YX, "size of the receptive field", "input pixel"),
        column("field_stride", YX, "step of the receptive field from one position to the next", "input pixel"),
        column("field_start", YX, "first input pixel that position 0 sees; negative in the padding", "input pixel"),
        column("global_field", pa.bool_(), "every position can see the whole input"),
        column("gated", pa.bool_(), "only a gate sees the whole input: field_* is the box of the local paths"),
        column("rectified", pa.bool_(), "a rectifier follows"),
        column(
            "normalised",
            pa.string(),
            "batch norm that is fused, by its module or scale; null without one",
            null=True,
        ),
        column("axis", AXIS, "medians over its neurons, and over as many random directions of the layer", null=True),
    ),
    key=("layer",),
    references=(Reference(("layer",), "neurons", ("layer",)),),
    rules=(
        Rule(
            "a layer has other neurons than channels",
            "SELECT layer, channels, n FROM layers JOIN "
            "(SELECT layer, count(*) AS n, max(channel) + 1 AS last FROM neurons GROUP BY layer) USING (layer) "
            "WHERE n <> channels OR last <> channels",
        ),
    ),
    required=True,
)
FILTERS = Table(
    "filters",
    "neuron",
    "what a neuron's kernel looks like, where that is a picture",
    schema(
        *NEURON,
        column("kind", pa.string(), "weights (first layer), combination (Lee et al. 2008) or kernel (raw, as a grid)"),
        picture("picture", "the filter, around mid-grey"),
    ),
    key=("layer", "channel", "kind"),
    references=(neuron(),),
)
SANITY = Table(
    "sanity",
    "layer",
    "how far each kind of picture depends on the weights (Adebayo et al. 2018)",
    schema(
        LAYER,
        column("kind", pa.string(), "kind of picture"),
        column("randomised", pa.string(), "own, cascade or all: which weights were permuted"),
        column("measure", pa.string(), "rank or ssim, of absolute or signed values"),
        column("neurons", pa.int32(), "neurons compared"),
        column("similarity", pa.float32(), "median similarity before and after; 1 is unchanged"),
    ),
    key=("layer", "kind", "randomised", "measure"),
    references=(layer(),),
)
