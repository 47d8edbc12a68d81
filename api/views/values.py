"""What the models of the service are made of: addresses, names, boxes, fields, pictures, evidence."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

from typing_extensions import TypedDict

from api.http.described import closed, doc

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
    gated: Annotated[bool, doc("only a gate sees the whole input: the rest is the box of the local paths", False)]


_SUFFICIENCY = doc("share of the response (above the neuron's reference) that the marked fifth keeps alone", 0.8)
_COMPREHENSIVENESS = doc("share of it that is lost without the marked fifth", 0.7)
_SUFFICIENCY_RANDOM = doc("the same as sufficiency, of the mask shifted at random", 0.2)
_COMPREHENSIVENESS_RANDOM = doc("the same as comprehensiveness, of the mask shifted at random", 0.3)


@closed
class Explanation(TypedDict):
    """A picture of a kind, or why there is none, with its evidence; the shares are null where it was not tested."""

    url: Annotated[str | None, doc("address of the image file; null where there is none", "/api/v1/…/512-900")]
    why: Annotated[str | None, doc("why there is none; null where there is one", None)]
    seed: Annotated[float | None, doc("value the picture started from; null where it has none", 1.0)]
    scale: Annotated[float | None, doc("value drawn as full white, black or colour; null where it has none", 0.02)]
    sufficiency: Annotated[float | None, _SUFFICIENCY]
    comprehensiveness: Annotated[float | None, _COMPREHENSIVENESS]
    sufficiency_random: Annotated[float | None, _SUFFICIENCY_RANDOM]
    comprehensiveness_random: Annotated[float | None, _COMPREHENSIVENESS_RANDOM]


@closed
class Trust(TypedDict):
    """Medians of the evidence."""

    sufficiency: Annotated[float | None, _SUFFICIENCY]
    comprehensiveness: Annotated[float | None, _COMPREHENSIVENESS]
    sufficiency_random: Annotated[float | None, _SUFFICIENCY_RANDOM]
    comprehensiveness_random: Annotated[float | None, _COMPREHENSIVENESS_RANDOM]
    score: Annotated[float | None, doc("how far beyond a random mask: 0 is chance, about 1 the most", 0.5)]
    n: Annotated[int, doc("examples tested (of a layer: neurons)", 3)]


Trusts = Annotated[dict[str, Trust], doc("kind of picture -> evidence; only the kinds that were tested", {})]
Pictures = Annotated[
    dict[str, Explanation], doc("kind of picture -> the picture, or why there is none, with its evidence", {})
]


@lru_cache(maxsize=1024)
def without(why: str | None) -> Picture:
    """A picture that is not there; the same value for the same reason, not to be changed."""
    return {"url": None, "why": why, "seed": None, "scale": None}


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def sources(values: dict[str, Any], *names: str) -> dict[str, Any]:
    """The values with the last parts of the paths among them."""
    return {name: shortened(value) if name in names else value for name, value in values.items()}


def shortened(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [shortened(each) for each in value]
    if isinstance(value, dict):
        return {name: shortened(each) for name, each in value.items()}
    return last_part(value) if isinstance(value, str) else value


def query(layer: str, channel: int) -> str:
    """The DuckDB query that gives a neuron's row."""
    name = layer.replace("'", "''")
    return f"SELECT * FROM neurons WHERE layer = '{name}' AND channel = {channel}"


def last_part(source: str) -> str:
    """The last part of a source's path: where it lay on the machine that built is nobody's business."""
    return source.rstrip("/").rpartition("/")[2] or source


def field_of(about: dict[str, Any]) -> ReceptiveField:
    return {
        "size": about["field_size"],
        "stride": about["field_stride"],
        "start": about["field_start"],
        "global_field": about["global_field"],
        "gated": about["gated"],
    }


def box_of(edges: Any) -> Box:
    left, top, right, bottom = edges
    return {"left": left, "top": top, "right": right, "bottom": bottom}


def explanation(picture: Picture, evidence: Any) -> Explanation:
    """A picture with its evidence: sufficiency, comprehensiveness, the same at random; or none."""
    first, second, third, fourth = evidence or _UNTESTED
    return {
        **picture,
        "sufficiency": first,
        "comprehensiveness": second,
        "sufficiency_random": third,
        "comprehensiveness_random": fourth,
    }


_UNTESTED = (None, None, None, None)


def trusts_of(trusts: Mapping[str, Any]) -> dict[str, Trust]:
    """By kind, as the tables have them."""
    return {kind: trust._asdict() for kind, trust in trusts.items()}
