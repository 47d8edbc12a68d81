"""All of one neuron: its numbers, its examples with their pictures, and what it is like."""

from __future__ import annotations

from typing import Annotated, Any

from typing_extensions import TypedDict

from api.html import charts
from api.http.described import closed, doc
from api.http.urls import with_query
from api.views.call import Call
from api.views.speaker import Speaker
from api.views.tile import ClassShare, class_share
from api.views.values import (
    Box,
    Channel,
    ClassId,
    ClassName,
    ImageId,
    LayerName,
    Page,
    Picture,
    Pictures,
    ReceptiveField,
    Response,
    Similarity,
    Trusts,
    Url,
    box_of,
    explanation,
    field_of,
    query,
    trusts_of,
)
from api.views.view import Context, View
from api.views.view import Page as HtmlPage
from atlas.explain.kinds import SHOWN
from atlas.read.examples import Example as Row
from atlas.read.trust import in_order
from atlas.types import SIDES


@closed
class Example(TypedDict):
    """An image and the position of a neuron's response in it."""

    rank: Annotated[int, doc("order within the side, from 0", 0)]
    image_id: ImageId
    response: Response
    y: Annotated[int, doc("position in the map, down; -1 for a prefix token", 12)]
    x: Annotated[int, doc("position in the map, to the right", 30)]
    field: Annotated[Box, doc("field of the position, input pixels, before clipping")]
    box: Annotated[Box, doc("the same box, in pixels of the image as stored")]
    cell: Annotated[Box, doc("the position's own share of the input, input pixels")]
    width: Annotated[int | None, doc("width of the image as stored, pixels", 500)]
    height: Annotated[int | None, doc("height of the image as stored, pixels", 375)]
    class_id: ClassId
    class_name: ClassName
    crop: Annotated[Picture, doc("the field cut from the image as stored")]
    pictures: Pictures
    duplicate_of: Annotated[int | None, doc("image_id of an earlier, nearly equal example; null for none", None)]
    thumbnail: Annotated[Picture, doc("the whole image, small")]
    whole: Annotated[Picture, doc("the whole image, large enough to draw the field on")]
    image_url: Annotated[str, doc("address of the image's JSON", "/api/v1/atlases/digits/images/281")]
    image_page: Annotated[str, doc("page of the image", "/digits/images/281")]


@closed
class Examples(TypedDict):
    """Examples of each side."""

    max: Annotated[list[Example], doc("largest responses", [])]
    min: Annotated[list[Example], doc("smallest responses", [])]
    spread: Annotated[list[Example], doc("the middle one of each tenth of the responses", [])]


@closed
class Quantiles(TypedDict):
    """Quantiles of the side-max response over images."""

    p01: Annotated[float | None, doc("1st percentile", 0.0)]
    p05: Annotated[float | None, doc("5th percentile", 0.1)]
    p25: Annotated[float | None, doc("25th percentile", 1.0)]
    p50: Annotated[float | None, doc("median", 3.0)]
    p75: Annotated[float | None, doc("75th percentile", 6.0)]
    p95: Annotated[float | None, doc("95th percentile", 12.0)]
    p99: Annotated[float | None, doc("99th percentile", 18.0)]


@closed
class Bin(TypedDict):
    """One bin of a histogram, [left, right)."""

    left: Annotated[float, doc("lower edge, response", 1.0)]
    right: Annotated[float, doc("upper edge, response", 1.25)]
    count: Annotated[int, doc("images", 40)]


@closed
class Similar(TypedDict):
    """A neuron that resembles this one."""

    layer: LayerName
    channel: Channel
    by: Annotated[str, doc("code, classes or responses: what is compared", "code")]
    rank: Annotated[int, doc("order, from 0", 0)]
    similarity: Annotated[float, doc("cosine similarity (code, classes) or correlation (responses)", 0.9)]
    crop: Annotated[Picture, doc("crop of its strongest example")]
    url: Url
    page: Page


@closed
class NearMiss(TypedDict):
    """An image that looks like the examples, and to which the neuron does not respond."""

    rank: Annotated[int, doc("order by similarity, from 0", 0)]
    image_id: ImageId
    similarity: Similarity
    response: Response
    class_id: ClassId
    class_name: ClassName
    thumbnail: Annotated[Picture, doc("the whole image, small")]
    url: Url
    page: Page


@closed
class Property(TypedDict):
    """Association of the response with a simple property of the image."""

    property: Annotated[str, doc("simple property of the image", "brightness")]
    association: Annotated[float | None, doc("rank correlation; circular-linear for angles", -0.2)]
    n: Annotated[int, doc("images compared", 4096)]
    significant: Annotated[bool, doc("beyond the threshold that allows for the number of tests", True)]


@closed
class NeuronLinks(TypedDict):
    """Where one can go from a neuron; null at the ends of a layer."""

    self: Url
    page: Page
    layer: Annotated[str, doc("JSON of its layer", "/api/v1/atlases/digits/layers/conv1")]
    layer_page: Annotated[str, doc("page of its layer", "/digits/layers/conv1")]
    previous: Annotated[str | None, doc("JSON of the channel before", None)]
    previous_page: Annotated[str | None, doc("page of the channel before", None)]
    next: Annotated[str | None, doc("JSON of the channel after", None)]
    next_page: Annotated[str | None, doc("page of the channel after", None)]
    layer_before_page: Annotated[str | None, doc("page of the same channel one layer nearer the input", None)]
    layer_after_page: Annotated[str | None, doc("page of the same channel one layer nearer the output", None)]


@closed
class Neuron(TypedDict):
    """All of one neuron."""

    layer: LayerName
    channel: Channel
    images: Annotated[int, doc("images scanned", 50000)]
    mean: Annotated[float | None, doc("mean over images of the side-max response", 4.5)]
    std: Annotated[float | None, doc("standard deviation of it", 2.5)]
    min: Annotated[float | None, doc("least side-min response", -3.5)]
    max: Annotated[float | None, doc("largest side-max response", 23.5)]
    activation_rate: Annotated[
        float | None, doc("share of images whose side-max response is above 0; null where no rectifier follows", 0.4)
    ]
    reference_max: Annotated[float | None, doc("an example of side max has something to explain above this", 0.0)]
    reference_min: Annotated[float | None, doc("likewise of side min, below this", 0.0)]
    map_mean: Annotated[float | None, doc("mean of the map, over images and positions", 0.2)]
    dead: Annotated[bool | None, doc("a rectifier follows and no image is above 0; null where none follows", False)]
    why_max: Annotated[str | None, doc("why side max has no examples; null where it has", None)]
    why_min: Annotated[str | None, doc("why side min has no examples; null where it has", None)]
    quantiles: Annotated[Quantiles, doc("quantiles of the side-max response, from the histogram")]
    histogram: Annotated[list[Bin], doc("bins of the side-max response that hold images, ascending")]
    classes: Annotated[list[ClassShare], doc("classes of the largest mean response, at most five")]
    selectivity: Annotated[float | None, doc("class selectivity index (Morcos et al. 2018), 0 to 1", 0.6)]
    trust: Trusts
    field: Annotated[ReceptiveField, doc("receptive field of its layer")]
    map_height: Annotated[int, doc("height of its map, positions", 55)]
    map_width: Annotated[int, doc("width of its map, positions", 55)]
    channels: Annotated[int, doc("number of neurons of its layer", 64)]
    examples: Annotated[Examples, doc("examples of each side")]
    similar: Annotated[list[Similar], doc("neurons that resemble it, by each measure")]
    near_misses: Annotated[list[NearMiss], doc("images that do not drive it, though they look like its examples")]
    properties: Annotated[list[Property], doc("association with simple properties of the image")]
    query: Annotated[str, doc("DuckDB query that gives its row", "SELECT * FROM neurons WHERE …")]
    links: Annotated[NeuronLinks, doc("where one can go from here")]


def neuron(say: Speaker, layer: str, channel: int) -> Neuron:
    """All of one neuron. Raises `NotFoundError`."""
    store = say.store
    number = store.layers.number(layer, channel)
    row = store.neurons.get(number)
    trusts = store.neurons.trust.of(number)
    about = store.layers.rows[store.layers.index(layer)]
    examples: dict[str, list[Example]] = {side: [] for side in SIDES}
    for example in store.examples.of(number):
        examples[example.side].append(_example(say, example))
    return {
        "layer": layer,
        "channel": channel,
        "images": row.images,
        "mean": row.mean,
        "std": row.std,
        "min": row.min,
        "max": row.max,
        "activation_rate": row.activation_rate,
        "reference_max": row.reference_max,
        "reference_min": row.reference_min,
        "map_mean": row.map_mean,
        "dead": row.dead,
        "why_max": row.why_max,
        "why_min": row.why_min,
        "quantiles": row.quantiles,  # type: ignore[typeddict-item]
        "histogram": [
            {"left": left, "right": right, "count": count} for left, right, count in store.neurons.histogram(number)
        ],
        "classes": [class_share(say, *top) for top in row.classes],
        "selectivity": row.selectivity,
        "trust": trusts_of({kind: trusts[kind] for kind in in_order(trusts)}),
        "field": field_of(about),
        "map_height": about["height"],
        "map_width": about["width"],
        "channels": about["channels"],
        "examples": examples,  # type: ignore[typeddict-item]
        "similar": [_similar(say, *each) for each in store.relations.similar(number)],
        "near_misses": [_near_miss(say, *each) for each in store.relations.near_misses(number)],
        "properties": [
            {"property": name, "association": association, "n": n, "significant": significant}
            for name, association, n, significant in store.relations.properties(number)
        ],
        "query": query(layer, channel),
        "links": _links(say, layer, channel, about),
    }


def _example(say: Speaker, example: Row) -> Example:
    (
        _, rank, image_id, response, y, x, field, box, duplicate_of, class_id, width, height, no_thumbnail,
        no_picture, cell, crop, pictures,
    ) = example  # fmt: skip
    url, page = say.urls.image(image_id)
    return {
        "rank": rank,
        "image_id": image_id,
        "response": response,
        "y": y,
        "x": x,
        "field": box_of(field),
        "box": box_of(box),
        "cell": box_of(cell),
        "width": width,
        "height": height,
        "class_id": class_id,
        "class_name": say.class_name(class_id),
        "crop": say.picture(crop),
        "pictures": {kind: explanation(say.picture(place), evidence) for kind, (place, evidence) in pictures.items()},
        "duplicate_of": duplicate_of,
        "thumbnail": say.at(f"{url}/thumbnail", no_thumbnail),
        "whole": say.at(f"{url}/picture", no_picture),
        "image_url": url,
        "image_page": page,
    }


def _similar(say: Speaker, by: str, rank: int, other: int, similarity: float) -> Similar:
    store = say.store
    layer, channel = store.layers.neuron(other)
    url, page = say.urls.neuron(layer, channel)
    return {
        "layer": layer,
        "channel": channel,
        "by": by,
        "rank": rank,
        "similarity": similarity,
        "crop": say.picture(store.examples.strongest(other)),
        "url": url,
        "page": page,
    }


def _near_miss(
    say: Speaker, rank: int, image_id: int, similarity: float, response: float, class_id: int | None, why: str | None
) -> NearMiss:
    url, page = say.urls.image(image_id)
    return {
        "rank": rank,
        "image_id": image_id,
        "similarity": similarity,
        "response": response,
        "class_id": class_id,
        "class_name": say.class_name(class_id),
        "thumbnail": say.at(f"{url}/thumbnail", why),
        "url": url,
        "page": page,
    }


def _links(say: Speaker, layer: str, channel: int, about: dict[str, Any]) -> NeuronLinks:
    layers = say.store.layers
    url, page = say.urls.neuron(layer, channel)
    layer_url, layer_page = say.urls.layer(layer)
    at = layers.index(layer)
    here = url.rpartition("/")[0], page.rpartition("/")[0]
    before, after = channel > 0, channel + 1 < about["channels"]

    def beside(index: int) -> str | None:
        if not 0 <= index < len(layers) or layers.rows[index]["channels"] == 0:
            return None
        return say.urls.neuron(layers.names[index], min(channel, layers.rows[index]["channels"] - 1))[1]

    return {
        "self": url,
        "page": page,
        "layer": layer_url,
        "layer_page": layer_page,
        "previous": f"{here[0]}/{channel - 1}" if before else None,
        "previous_page": f"{here[1]}/{channel - 1}" if before else None,
        "next": f"{here[0]}/{channel + 1}" if after else None,
        "next_page": f"{here[1]}/{channel + 1}" if after else None,
        "layer_before_page": beside(at - 1),
        "layer_after_page": beside(at + 1),
    }


def _answer(call: Call) -> Neuron:
    return neuron(call.say, call.path["layer"], call.number("channel"))


def _page(call: Call) -> Context:
    told = _answer(call)
    return {"neuron": told, "chart": charts.histogram(told), "json": told["links"]["self"], **_asked(call, told)}


def _asked(call: Call, told: Neuron) -> Context:
    """Which kinds of picture of the strongest examples the page asks a probe for, and where; none without a probe."""
    examples = told["examples"]["max"]
    if call.say.prober is None or not call.say.pictures or not examples:
        return {"asked": [], "ask": None}
    address = call.say.urls.of("probe", "pictures")[0]
    stored = {kind for example in examples for kind in example["pictures"]}
    return {
        "asked": [kind for kind in SHOWN if kind not in stored],
        "ask": with_query(address, {"layer": told["layer"], "channel": told["channel"], "side": "max"}),
    }


VIEW = View(
    "neuron", "/neurons/{layer}/{channel}", "All of one neuron", _answer, Neuron, of="neuron",
    page=HtmlPage("neuron.html", _page, figure=True),
)  # fmt: skip
