"""What columns are made of: types that several tables share, and columns that carry their meaning and unit."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

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
EDGES = ("left", "top", "right", "bottom")
MEASURES = ("sufficiency", "comprehensiveness", "sufficiency_random", "comprehensiveness_random")
"""What the evidence for a picture says; `atlas.explain.masking` defines them."""


def column(name: str, kind: pa.DataType, meaning: str, unit: str = "", *, null: bool = False) -> pa.Field:
    """A column that carries its meaning and unit."""
    return pa.field(name, kind, nullable=null, metadata={"meaning": meaning, "unit": unit})


def schema(*columns: pa.Field) -> pa.Schema:
    """The columns of a table, in their order."""
    return pa.schema(list(columns))


def picture(name: str, meaning: str) -> pa.Field:
    """A column of pictures: a value is one picture, or the reason why there is none."""
    return column(name, PICTURE, meaning)


def boxed(prefix: str, kind: pa.DataType, meaning: str, unit: str) -> Sequence[pa.Field]:
    """Four columns of a half-open box `[left, right) × [top, bottom)`, x to the right, y down."""
    return [column(f"{prefix}{edge}", kind, meaning, unit) for edge in EDGES]


def measures() -> Sequence[pa.Field]:
    """The four columns of evidence, null where a picture was not put to the test."""
    meanings = {
        "sufficiency": "share of the response (above the neuron's reference) that the marked fifth keeps alone",
        "comprehensiveness": "share of it that is lost without the marked fifth",
        "sufficiency_random": "share of it that the same mask, shifted at random, keeps alone",
        "comprehensiveness_random": "share of it that is lost without that mask",
    }
    return [column(name, pa.float32(), meanings[name], null=True) for name in MEASURES]


LAYER = column("layer", pa.string(), "layer, as in named_modules(); name@2 for a second call")
CHANNEL = column("channel", pa.int32(), "feature map, or unit of a linear layer")
NEURON = (LAYER, CHANNEL)
SIDE = column("side", pa.string(), "max, min or spread")
RANK = column("rank", pa.int32(), "order, from 0")
IMAGE = column("image_id", pa.int64(), "image, counted over all sources in order")
