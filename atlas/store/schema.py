"""Every table of a sealed atlas: its columns, their types, meanings and units. The folder format is this file."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from atlas.types import PROJECTIONS

PICTURE = pa.struct(
    [
        ("pack", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("crc32", pa.uint32()),
        ("why", pa.string()),
        ("seed", pa.float32()),
        ("scale", pa.float32()),
    ]
)
"""One read of `length` bytes at `offset` of `pictures/<pack>` is an image file; `why` says why there is none."""

YX = pa.struct([("y", pa.int32()), ("x", pa.int32())])
EVIDENCE = pa.struct([(name, pa.float32()) for name in ("keeps", "loses", "keeps_random", "loses_random")])
EVIDENCES = pa.struct([(kind, EVIDENCE) for kind in PROJECTIONS])
TRUST = pa.struct([*((field.name, field.type) for field in EVIDENCE), ("score", pa.float32()), ("n", pa.int32())])
TRUSTS = pa.struct([(kind, TRUST) for kind in PROJECTIONS])
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
QUANTILE = pa.struct([(f"p{round(100 * q):02d}", pa.float32()) for q in QUANTILES])
BIN = pa.struct([("left", pa.float32()), ("right", pa.float32()), ("count", pa.int64())])
TOP_CLASS = pa.struct([("class_id", pa.int32()), ("mean", pa.float32()), ("share", pa.float32())])
AXIS = pa.struct(
    [
        (f"{measure}_{who}", pa.float32())
        for measure in ("selectivity", "purity", "closeness")
        for who in ("neurons", "random")
    ]
)


def column(name: str, kind: pa.DataType, meaning: str, unit: str = "", *, null: bool = False) -> pa.Field:
    """A column that carries its meaning and unit."""
    return pa.field(name, kind, nullable=null, metadata={"meaning": meaning, "unit": unit})


def _table(columns: Sequence[pa.Field]) -> pa.Schema:
    return pa.schema(list(columns))


_LAYER = column("layer", pa.string(), "layer, as in named_modules(); name@2 for a second call")
_CHANNEL = column("channel", pa.int32(), "feature map, or unit of a linear layer")
_NEURON = (_LAYER, _CHANNEL)
_IMAGE = column("image_id", pa.int64(), "image, counted over all sources in order")


def _picture(name: str, meaning: str) -> pa.Field:
    return column(name, PICTURE, meaning)


IMAGES = _table(
    [
        _IMAGE,
        column("source", pa.string(), "source of images, as given to build"),
        column("key", pa.string(), "name of the image within its source"),
        column("class_id", pa.int32(), "class of the image; null where it has none", null=True),
        column("class_name", pa.string(), "readable name of the class", null=True),
        column("width", pa.int32(), "width of the image as stored", "pixel"),
        column("height", pa.int32(), "height of the image as stored", "pixel"),
        column("predicted", pa.int32(), "class with the largest logit"),
        column("probability", pa.float32(), "softmax of the predicted class"),
        column("loss", pa.float32(), "cross entropy of the image's class; null without one", "nat", null=True),
        _picture("thumbnail", "whole image, small"),
        _picture("picture", "whole image, large enough to draw a field on; only of images that are examples"),
    ]
)
QUARANTINE = _table(
    [
        _IMAGE,
        column("source", pa.string(), "source of images, as given to build"),
        column("key", pa.string(), "name of the image within its source"),
        column("reason", pa.string(), "why it could not be used, in a word"),
        column("detail", pa.string(), "why it could not be used, in a line"),
    ]
)
LAYERS = _table(
    [
        _LAYER,
        column("index", pa.int32(), "order of the layer in the forward pass, from 0"),
        column("kind", pa.string(), "conv, linear or block"),
        column("channels", pa.int32(), "number of neurons"),
        column("height", pa.int32(), "height of the map at the build's crop", "position"),
        column("width", pa.int32(), "width of the map at the build's crop", "position"),
        column("field_size", YX, "size of the receptive field", "input pixel"),
        column("field_stride", YX, "step of the receptive field from one position to the next", "input pixel"),
        column("field_start", YX, "first input pixel that position 0 sees; negative in the padding", "input pixel"),
        column("whole_input", pa.bool_(), "every position can see the whole input"),
        column("rectified", pa.bool_(), "a rectifier follows"),
        column("trust", TRUSTS, "median over its neurons of the evidence for each kind of picture", null=True),
        column("axis", AXIS, "medians over its neurons, and over as many random directions of the layer", null=True),
    ]
)
NEURONS = _table(
    [
        *_NEURON,
        column("images", pa.int64(), "images scanned"),
        column("mean", pa.float64(), "mean over images of the side-max response", "response"),
        column("std", pa.float64(), "standard deviation over images of the side-max response", "response"),
        column("min", pa.float32(), "least side-min response", "response"),
        column("max", pa.float32(), "largest side-max response", "response"),
        column("fires", pa.float64(), "share of images whose side-max response is above 0"),
        column("dead", pa.bool_(), "a rectifier follows and no image is above 0; null where none follows", null=True),
        column("why_max", pa.string(), "why side max has no examples; null where it has", null=True),
        column("why_min", pa.string(), "why side min has no examples; null where it has", null=True),
        column("quantiles", QUANTILE, "quantiles of the side-max response, from the histogram", "response"),
        column("histogram", pa.list_(BIN), "bins of the side-max response that hold images, ascending", "response"),
        column("top_classes", pa.list_(TOP_CLASS), "classes of the largest mean response, at most five"),
        column("selectivity", pa.float32(), "class selectivity index (Morcos et al. 2018); null without two classes",
               null=True),
        column("trust", TRUSTS, "median over its examples of the evidence for each kind of picture", null=True),
        column("vector", pa.list_(pa.float32()), "response-weighted mean code of its strongest examples", null=True),
    ]
)  # fmt: skip
EXAMPLES = _table(
    [
        *_NEURON,
        column("side", pa.string(), "max, min or spread"),
        column("rank", pa.int32(), "order within the side, from 0"),
        _IMAGE,
        column("response", pa.float32(), "response of the neuron to the image", "response"),
        column("y", pa.int32(), "position in the map, down", "position"),
        column("x", pa.int32(), "position in the map, to the right", "position"),
        *(
            column(f"field_{edge}", pa.int32(), "field of the position, before clipping", "input pixel")
            for edge in ("left", "top", "right", "bottom")
        ),
        *(
            column(f"image_{edge}", pa.float64(), "the same box in the image as stored", "pixel")
            for edge in ("left", "top", "right", "bottom")
        ),
        _picture("crop", "the field cut from the image as stored; outside the image it is padded"),
        *(_picture(kind, f"{kind} projection, on the same box as the crop") for kind in PROJECTIONS),
        _picture("gradient_max", "channel maximum of the absolute gradient (Simonyan et al. 2014)"),
        _picture("occlusion", "response where a grey square hides the image (Zeiler & Fergus 2014)"),
        column("evidence", EVIDENCES, "what the marked fifth of the field keeps and loses", null=True),
        column("duplicate_of", pa.int64(), "image_id of an earlier example of this side that is nearly the same image",
               null=True),
    ]
)  # fmt: skip
CLASSES = _table(
    [
        *_NEURON,
        column("class_id", pa.int32(), "class"),
        column("mean", pa.float32(), "mean side-max response over the images of the class", "response"),
        column("share", pa.float32(), "share of the images of the class with a response above 0"),
    ]
)
MAP = _table(
    [
        _IMAGE,
        column("kind", pa.string(), "tsne, pca, or pca of a layer (pca:<layer>)"),
        column("x", pa.float32(), "coordinate"),
        column("y", pa.float32(), "coordinate"),
        column("grid_row", pa.int32(), "row of the image's own cell in the grid arrangement", null=True),
        column("grid_column", pa.int32(), "column of the image's own cell in the grid arrangement", null=True),
    ]
)
SIMILAR = _table(
    [
        *_NEURON,
        column("rank", pa.int32(), "order, from 0"),
        column("other_layer", pa.string(), "layer of the similar neuron"),
        column("other_channel", pa.int32(), "channel of the similar neuron"),
        column("by", pa.string(), "code, classes or responses: what is compared"),
        column("similarity", pa.float32(), "cosine (code; classes: of centred profiles) or correlation (responses)"),
    ]
)
NEAR_MISSES = _table(
    [
        *_NEURON,
        column("rank", pa.int32(), "order by similarity, from 0"),
        _IMAGE,
        column("similarity", pa.float32(), "cosine of its code with the mean code of the neuron's examples"),
        column("response", pa.float32(), "its response, which is low", "response"),
    ]
)
PROPERTIES = _table(
    [
        *_NEURON,
        column("property", pa.string(), "simple property of the image"),
        column("association", pa.float32(), "rank correlation; circular-linear for angles"),
        column("n", pa.int32(), "images of the response sample that were compared"),
        column("significant", pa.bool_(), "beyond the threshold that allows for the number of tests"),
    ]
)
FILTERS = _table(
    [
        *_NEURON,
        column("kind", pa.string(), "weights (first layer) or combination (Lee et al. 2008)"),
        _picture("picture", "the filter, around mid-grey"),
    ]
)
SANITY = _table(
    [
        _LAYER,
        column("kind", pa.string(), "kind of projection"),
        column("randomised", pa.string(), "own, cascade or all: which weights were permuted"),
        column("measure", pa.string(), "rank or ssim, of absolute or signed values"),
        column("neurons", pa.int32(), "neurons compared"),
        column("similarity", pa.float32(), "median similarity before and after; 1 is unchanged"),
    ]
)

SCHEMAS: dict[str, pa.Schema] = {
    "images": IMAGES,
    "quarantine": QUARANTINE,
    "layers": LAYERS,
    "neurons": NEURONS,
    "examples": EXAMPLES,
    "classes": CLASSES,
    "map": MAP,
    "similar": SIMILAR,
    "near_misses": NEAR_MISSES,
    "properties": PROPERTIES,
    "filters": FILTERS,
    "sanity": SANITY,
}


def responses(channels: int) -> pa.Schema:
    """Schema of one layer's part of the response sample."""
    vector = pa.list_(pa.float32(), channels)
    return _table(
        [
            _LAYER,
            _IMAGE,
            column("max", vector, "side-max response of every channel", "response"),
            column("min", vector, "side-min response of every channel", "response"),
        ]
    )


def codes(dimensions: int, *, half: bool = False) -> pa.Schema:
    """Schema of the codes."""
    vector = pa.list_(pa.float16() if half else pa.float32(), dimensions)
    return _table([_IMAGE, column("code", vector, "input of the last convolution or linear layer, spatial mean")])
