"""What the models of the service are made of: addresses, names, boxes, pictures, evidence, problems."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

closed = with_config(ConfigDict(extra="forbid"))
"""A model whose documented fields are all there are."""


def doc(text: str, *example: Any) -> Any:
    """Meaning (and unit) of a field, with an example unless its own fields have them."""
    return Field(description=text, examples=list(example)) if example else Field(description=text)


Url = Annotated[str, doc("address of the JSON", "/api/v1/atlases/digits")]
Page = Annotated[str, doc("address of the page", "/digits")]
LayerName = Annotated[str, doc("layer, as in named_modules(); name@2 for a second call", "features.3.expand3x3")]
Channel = Annotated[int, doc("feature map, or unit of a linear layer", 17)]
ImageId = Annotated[int, doc("image, counted over all sources in order", 281)]
ClassId = Annotated[int | None, doc("class; null where the image has none", 3)]
ClassName = Annotated[str | None, doc("readable name of the class; null where there is none", "tabby cat")]
Response = Annotated[float, doc("response of the neuron to the image", 11.25)]
Similarity = Annotated[float, doc("cosine similarity, -1 to 1", 0.91)]
Next = Annotated[str | None, doc("cursor of the following page; null on the last", "eyJvIjo2MH0")]


@closed
class Picture(TypedDict):
    """One picture, or why there is none."""

    url: Annotated[
        str | None,
        doc(
            "address of the image file; null where there is none",
            "/api/v1/atlases/digits/pictures/harvest-000000.tar/512-900",
        ),
    ]
    why: Annotated[str | None, doc("why there is none; null where there is one", None)]
    seed: Annotated[float | None, doc("value the projection started from; null for other pictures", 1.0)]
    scale: Annotated[float | None, doc("value drawn as full white or black; null for other pictures", 0.02)]


@closed
class Box(TypedDict):
    """Half-open box; x to the right, y down."""

    left: Annotated[float, doc("first column", -4)]
    top: Annotated[float, doc("first row", 12)]
    right: Annotated[float, doc("column after the last", 15)]
    bottom: Annotated[float, doc("row after the last", 31)]


@closed
class YX(TypedDict):
    """A pair, down and to the right."""

    y: Annotated[int, doc("along y", 19)]
    x: Annotated[int, doc("along x", 19)]


@closed
class ReceptiveField(TypedDict):
    """Receptive field of a layer: position p of the map sees [start + stride·p, … + size), in input pixels."""

    size: Annotated[YX, doc("size, in input pixels")]
    stride: Annotated[YX, doc("step from one position to the next, in input pixels")]
    start: Annotated[YX, doc("first input pixel of the field of position 0; negative in the padding")]
    global_field: Annotated[bool, doc("every position can see the whole input", False)]


@closed
class Evidence(TypedDict):
    """How much of the response the marked fifth of the field keeps and loses, beside a random mask."""

    keeps: Annotated[float | None, doc("share of the response kept with only the marked pixels", 0.8)]
    loses: Annotated[float | None, doc("share of the response lost without them", 0.7)]
    keeps_random: Annotated[float | None, doc("the same as keeps, mask shifted at random", 0.2)]
    loses_random: Annotated[float | None, doc("the same as loses, mask shifted at random", 0.3)]


@closed
class Trust(TypedDict):
    """Medians of the evidence."""

    keeps: Annotated[float | None, doc("median share of the response kept with only the marked pixels", 0.8)]
    loses: Annotated[float | None, doc("median share of the response lost without them", 0.7)]
    keeps_random: Annotated[float | None, doc("the same as keeps, mask shifted at random", 0.2)]
    loses_random: Annotated[float | None, doc("the same as loses, mask shifted at random", 0.3)]
    score: Annotated[float | None, doc("one number to sort by; larger is more to be trusted", 0.5)]
    n: Annotated[int | None, doc("examples tested (of a layer: neurons)", 3)]


Trusts = Annotated[dict[str, Trust | None], doc("kind of projection -> evidence; null where it was not tested", {})]
Evidences = Annotated[dict[str, Evidence | None], doc("kind of projection -> evidence; null where not tested", {})]


@closed
class Problem(TypedDict):
    """An error, as application/problem+json (RFC 9457)."""

    type: Annotated[str, doc("kind of problem", "about:blank")]
    title: Annotated[str, doc("the status in words", "Not Found")]
    status: Annotated[int, doc("HTTP status", 404)]
    detail: Annotated[str, doc("value, expectation, cure: one line", "layer 'conv9': expected one of /layers")]
