"""Layers, neurons and their examples."""

from __future__ import annotations

from typing import Annotated

from typing_extensions import TypedDict

from api.models.parts import (
    Box,
    Channel,
    ClassId,
    ClassName,
    Evidences,
    ImageId,
    LayerName,
    Next,
    Page,
    Picture,
    ReceptiveField,
    Response,
    Similarity,
    Trusts,
    Url,
    closed,
    doc,
)


@closed
class ClassShare(TypedDict):
    """A class as one neuron responds to it."""

    class_id: Annotated[int, doc("class", 3)]
    class_name: ClassName
    mean: Annotated[float | None, doc("mean side-max response over the images of the class", 6.5)]
    share: Annotated[float | None, doc("share of the images of the class with a response above 0", 0.75)]
    url: Url
    page: Page


@closed
class TilePicture(TypedDict):
    """One of the pictures on a neuron's tile."""

    rank: Annotated[int, doc("rank of the example, side max", 0)]
    image_id: ImageId
    response: Response
    crop: Annotated[Picture, doc("the field cut from the image")]
    projection: Annotated[Picture, doc("the projection beside it: deconvnet, or the first kind there is")]


@closed
class Tile(TypedDict):
    """A neuron on a wall: a few numbers and its first pictures."""

    layer: LayerName
    channel: Channel
    max: Annotated[float | None, doc("largest response", 23.5)]
    mean: Annotated[float | None, doc("mean over images of the largest response in the map", 4.5)]
    fires: Annotated[float | None, doc("share of images with a response above 0", 0.4)]
    dead: Annotated[bool | None, doc("a rectifier follows and no image is above 0; null where none follows", False)]
    selectivity: Annotated[float | None, doc("class selectivity index, 0 to 1", 0.6)]
    trust: Annotated[float | None, doc("trust score of the projection shown on tiles (deconvnet first)", 0.5)]
    why_max: Annotated[str | None, doc("why side max has no examples; null where it has", None)]
    top_class: Annotated[ClassShare | None, doc("class of the largest mean response")]
    pictures: Annotated[list[TilePicture], doc("side max, at most nine, by rank", [])]
    url: Url
    page: Page


@closed
class Layer(TypedDict):
    """One layer."""

    layer: LayerName
    index: Annotated[int, doc("order in the forward pass, from 0", 4)]
    kind: Annotated[str, doc("conv, linear or block", "conv")]
    channels: Annotated[int, doc("number of neurons", 64)]
    height: Annotated[int, doc("height of the map, positions", 55)]
    width: Annotated[int, doc("width of the map, positions", 55)]
    field: Annotated[ReceptiveField, doc("receptive field")]
    rectified: Annotated[bool, doc("a rectifier follows", True)]
    dead: Annotated[int | None, doc("number of dead neurons; null where no rectifier follows", 2)]
    trust: Trusts
    axis: Annotated[
        dict[str, float | None] | None,
        doc("medians over its neurons (…_neurons) and over as many random directions (…_random); null if not measured"),
    ]
    telling: Annotated[list[Tile], doc("its most selective neurons that have examples, at most eight", [])]
    filters: Annotated[int, doc("number of its filters that were drawn", 0)]
    url: Url
    page: Page
    neurons_url: Annotated[str, doc("address of its neurons", "/api/v1/atlases/digits/layers/conv1/neurons")]
    filters_url: Annotated[str, doc("address of its filters", "/api/v1/atlases/digits/layers/conv1/filters")]
    filters_page: Annotated[str, doc("page of its filters", "/digits/layers/conv1/filters")]


@closed
class LayerList(TypedDict):
    """Layers from input to output."""

    items: Annotated[list[Layer], doc("layers")]
    next: Next


@closed
class TileList(TypedDict):
    """A page of neurons."""

    items: Annotated[list[Tile], doc("neurons")]
    total: Annotated[int, doc("neurons that fit the filter, on all pages", 64)]
    next: Next


@closed
class Filter(TypedDict):
    """One filter as a picture."""

    layer: LayerName
    channel: Channel
    kind: Annotated[str, doc("weights (first layer) or combination (Lee et al. 2008)", "weights")]
    picture: Annotated[Picture, doc("the filter, around mid-grey")]
    url: Url
    page: Page


@closed
class FilterList(TypedDict):
    """A page of filters."""

    items: Annotated[list[Filter], doc("filters, by channel")]
    next: Next


@closed
class Example(TypedDict):
    """An image and the position of a neuron's response in it."""

    rank: Annotated[int, doc("order within the side, from 0", 0)]
    image_id: ImageId
    response: Response
    y: Annotated[int, doc("position in the map, down", 12)]
    x: Annotated[int, doc("position in the map, to the right", 30)]
    field: Annotated[Box, doc("field of the position, input pixels, before clipping")]
    box: Annotated[Box, doc("the same box, in pixels of the image as stored")]
    width: Annotated[int | None, doc("width of the image as stored, pixels", 500)]
    height: Annotated[int | None, doc("height of the image as stored, pixels", 375)]
    class_id: ClassId
    class_name: ClassName
    crop: Annotated[Picture, doc("the field cut from the image as stored")]
    deconvnet: Annotated[Picture, doc("projection (Zeiler & Fergus 2014), on the same box as the crop")]
    guided: Annotated[Picture, doc("projection (Springenberg et al. 2015)")]
    gradient: Annotated[Picture, doc("projection (Simonyan et al. 2014)")]
    gradient_max: Annotated[Picture, doc("channel maximum of the absolute gradient (Simonyan et al. 2014)")]
    occlusion: Annotated[Picture, doc("response where a grey square hides the image (Zeiler & Fergus 2014)")]
    evidence: Evidences
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
    fires: Annotated[float | None, doc("share of images whose side-max response is above 0", 0.4)]
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
    near_misses: Annotated[list[NearMiss], doc("images it does not fire for, though they look like its examples")]
    properties: Annotated[list[Property], doc("association with simple properties of the image")]
    query: Annotated[str, doc("DuckDB query that gives its row", "SELECT * FROM neurons WHERE …")]
    links: Annotated[NeuronLinks, doc("where one can go from here")]
