"""What the service says, as typed dictionaries: JSON and HTML are made from the same values.

Every field of a model is always there; what does not apply is null. `url` is the address of the JSON, `page` that of
the HTML of the same thing. Addresses are made by `api.urls.Urls` alone and start at the root of the host.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

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
    whole_input: Annotated[bool, doc("every position can see the whole input", False)]


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


@closed
class ImageItem(TypedDict):
    """An image in a list."""

    image_id: ImageId
    key: Annotated[str, doc("name of the image within its source", "n02123045/n02123045_tabby.JPEG")]
    class_id: ClassId
    class_name: ClassName
    width: Annotated[int, doc("width as stored, pixels", 500)]
    height: Annotated[int, doc("height as stored, pixels", 375)]
    predicted: Annotated[int, doc("class with the largest logit", 281)]
    predicted_name: ClassName
    probability: Annotated[float | None, doc("softmax of the predicted class", 0.93)]
    thumbnail: Annotated[Picture, doc("the whole image, small")]
    url: Url
    page: Page


@closed
class ImageList(TypedDict):
    """A page of images."""

    items: Annotated[list[ImageItem], doc("images, by number")]
    total: Annotated[int, doc("images that fit the filter, on all pages", 1000)]
    next: Next


@closed
class Holding(TypedDict):
    """A neuron that holds the image among its examples, and where."""

    layer: LayerName
    channel: Channel
    side: Annotated[str, doc("max, min or spread", "max")]
    rank: Annotated[int, doc("order within the side, from 0", 0)]
    response: Response
    y: Annotated[int, doc("position in the map, down", 12)]
    x: Annotated[int, doc("position in the map, to the right", 30)]
    box: Annotated[Box, doc("the neuron's field, in pixels of the image as stored, not clipped")]
    crop: Annotated[Picture, doc("the field cut from the image as stored")]
    url: Url
    page: Page


@closed
class HoldingList(TypedDict):
    """A page of neurons that hold an image."""

    items: Annotated[list[Holding], doc("neurons that hold the image, by layer and channel")]
    total: Annotated[int, doc("examples of this image, on all pages", 12)]
    next: Next


@closed
class Image(TypedDict):
    """One image, with the neurons that hold it."""

    image_id: ImageId
    source: Annotated[str, doc("source of images: the last part of what was given to build", "train.parquet")]
    key: Annotated[str, doc("name of the image within its source", "n02123045/n02123045_tabby.JPEG")]
    class_id: ClassId
    class_name: ClassName
    width: Annotated[int, doc("width as stored, pixels", 500)]
    height: Annotated[int, doc("height as stored, pixels", 375)]
    predicted: Annotated[int, doc("class with the largest logit", 281)]
    predicted_name: ClassName
    probability: Annotated[float | None, doc("softmax of the predicted class", 0.93)]
    loss: Annotated[float | None, doc("cross entropy of the image's class, nat; null without one", 0.07)]
    thumbnail: Annotated[Picture, doc("the whole image, small")]
    picture: Annotated[
        Picture, doc("the whole image, large enough to draw a field on; only of images that are examples")
    ]
    neurons: Annotated[HoldingList, doc("neurons that hold it; `next` goes into this route's cursor")]
    neighbours_url: Annotated[str, doc("nearest images", "/api/v1/atlases/digits/images/281/neighbours")]
    neighbours_page: Annotated[str, doc("page of nearest images", "/digits/images/281/neighbours")]
    class_page: Annotated[str | None, doc("page of its class; null where it has none", "/digits/classes/281")]
    previous_page: Annotated[str | None, doc("page of the image before; null on the first", None)]
    next_page: Annotated[str | None, doc("page of the image after; null on the last", None)]
    url: Url
    page: Page


@closed
class Neighbour(TypedDict):
    """An image near another one, or near a code."""

    image_id: ImageId
    similarity: Similarity
    class_id: ClassId
    class_name: ClassName
    thumbnail: Annotated[Picture, doc("the whole image, small")]
    url: Url
    page: Page


@closed
class NeighbourList(TypedDict):
    """Nearest images by code."""

    items: Annotated[list[Neighbour], doc("nearest images, the nearest first")]
    next: Next


@closed
class ClassItem(TypedDict):
    """A class in a list."""

    class_id: Annotated[int, doc("class", 3)]
    class_name: ClassName
    images: Annotated[int, doc("its images in the atlas", 50)]
    accuracy: Annotated[float | None, doc("share of them predicted as this class; null without images", 0.8)]
    thumbnail: Annotated[Picture, doc("its first image, small")]
    url: Url
    page: Page


@closed
class ClassList(TypedDict):
    """A page of classes."""

    items: Annotated[list[ClassItem], doc("classes, by number")]
    next: Next


@closed
class Class(TypedDict):
    """One class: its images, and the neurons most selective for it."""

    class_id: Annotated[int, doc("class", 3)]
    class_name: ClassName
    images: Annotated[ImageList, doc("its images; `next` goes into …/images?class=")]
    accuracy: Annotated[float | None, doc("share of its images predicted as this class; null without images", 0.8)]
    neurons: Annotated[list[Tile], doc("neurons of which it is the top class, the most selective first, at most 24")]
    images_url: Annotated[str, doc("all of its images", "/api/v1/atlases/digits/images?class=3")]
    images_page: Annotated[str, doc("page of all its images", "/digits/images?class=3")]
    url: Url
    page: Page


@closed
class Map(TypedDict):
    """Points of a map, column by column."""

    kind: Annotated[str, doc("tsne, pca, or pca of a layer (pca:<layer>)", "tsne")]
    kinds: Annotated[list[str], doc("maps that there are", ["tsne", "pca"])]
    image_id: Annotated[list[int], doc("image of each point", [0, 1])]
    x: Annotated[list[float | None], doc("coordinate", [0.5, 1.5])]
    y: Annotated[list[float | None], doc("coordinate", [0.5, 1.5])]
    grid_row: Annotated[list[int | None], doc("row in the grid arrangement", [0, 0])]
    grid_column: Annotated[list[int | None], doc("column in the grid arrangement", [0, 1])]
    class_id: Annotated[list[int | None], doc("class of the image", [3, 5])]
    classes: Annotated[dict[str, str], doc("class -> readable name", {"3": "three"})]
    thumbnail: Annotated[
        str | None,
        doc("address of a point's thumbnail with {image_id} to fill in; null where pictures are not served"),
    ]
    image_page: Annotated[str, doc("page of a point's image with {image_id} to fill in", "/digits/images/{image_id}")]
    url: Url
    page: Page


@closed
class Hit(TypedDict):
    """One thing found."""

    kind: Annotated[Literal["layer", "neuron", "class", "image"], doc("what it is", "layer")]
    name: Annotated[str, doc("how it is called", "features.3.expand3x3")]
    detail: Annotated[str, doc("a few words on it", "conv, 64 neurons")]
    url: Url
    page: Page


@closed
class HitList(TypedDict):
    """What was found: layers, neurons, classes, images, in this order."""

    q: Annotated[str, doc("what was looked for", "cat")]
    items: Annotated[list[Hit], doc("at most fifty")]
    next: Next


@closed
class Quarantined(TypedDict):
    """An image that could not be used."""

    image_id: ImageId
    source: Annotated[str, doc("source of images: the last part of what was given to build", "photos")]
    key: Annotated[str, doc("name of the image within its source", "broken.jpg")]
    reason: Annotated[str, doc("why, in a word", "truncated")]
    detail: Annotated[str, doc("why, in a line", "image file is truncated (12 bytes not processed)")]


@closed
class QuarantineList(TypedDict):
    """A page of images left out."""

    items: Annotated[list[Quarantined], doc("images left out, by number")]
    total: Annotated[int, doc("images left out, on all pages", 2)]
    next: Next


@closed
class Sanity(TypedDict):
    """How far one kind of picture of one layer depends on the weights."""

    layer: LayerName
    kind: Annotated[str, doc("kind of projection", "guided")]
    randomised: Annotated[str, doc("own, cascade or all: which weights were permuted", "all")]
    measure: Annotated[str, doc("rank or ssim, of absolute or signed values", "ssim absolute")]
    neurons: Annotated[int, doc("neurons compared", 10)]
    similarity: Annotated[float | None, doc("median similarity before and after; 1 is unchanged", 0.4)]


@closed
class SanityList(TypedDict):
    """Rows of sanity.parquet."""

    items: Annotated[list[Sanity], doc("by layer, kind, randomised, measure")]
    next: Next


@closed
class Verification(TypedDict):
    """What was verified of a folder, and what is still being."""

    tables: Annotated[str, doc("tables and index against SHA256SUMS: verified, failed", "verified")]
    sizes: Annotated[str, doc("packs of pictures by size: verified, failed", "verified")]
    packs: Annotated[str, doc("packs by checksum, in the background: running, verified, failed", "running")]
    packs_done: Annotated[int, doc("packs whose checksum was verified", 3)]
    packs_total: Annotated[int, doc("packs of pictures", 12)]
    failed: Annotated[list[str], doc("packs that are not what SHA256SUMS says", [])]


@closed
class AtlasItem(TypedDict):
    """An atlas in a list; one that failed its verification is unavailable, with the reason."""

    name: Annotated[str, doc("name of the atlas", "digits")]
    status: Annotated[Literal["available", "unavailable"], doc("whether it is served", "available")]
    reason: Annotated[str | None, doc("why it is not served; null where it is", None)]
    network: Annotated[str | None, doc("name of the network; null where unavailable", "squeezenet1_0")]
    images: Annotated[int | None, doc("images scanned; null where unavailable", 1000)]
    neurons: Annotated[int | None, doc("number of neurons; null where unavailable", 4096)]
    layers: Annotated[int | None, doc("number of layers; null where unavailable", 26)]
    digest: Annotated[str | None, doc("SHA-256 over its contents; null where unavailable", "9f86d081…")]
    pictures: Annotated[list[Picture], doc("a few crops to show it by, at most nine", [])]
    url: Url
    page: Page


@closed
class AtlasList(TypedDict):
    """What there is."""

    items: Annotated[list[AtlasItem], doc("atlases, in the order they were given")]
    next: Next


@closed
class AtlasLinks(TypedDict):
    """Where one can go from an atlas: JSON addresses, and pages under `…_page`."""

    layers: Annotated[str, doc("layers", "/api/v1/atlases/digits/layers")]
    images: Annotated[str, doc("images", "/api/v1/atlases/digits/images")]
    classes: Annotated[str, doc("classes", "/api/v1/atlases/digits/classes")]
    map: Annotated[str, doc("map", "/api/v1/atlases/digits/map")]
    search: Annotated[str, doc("search", "/api/v1/atlases/digits/search")]
    quarantine: Annotated[str, doc("images left out", "/api/v1/atlases/digits/quarantine")]
    sanity: Annotated[str, doc("sanity of the pictures", "/api/v1/atlases/digits/sanity")]
    layers_page: Annotated[str, doc("page of the layers", "/digits/layers")]
    images_page: Annotated[str, doc("page of the images", "/digits/images")]
    classes_page: Annotated[str, doc("page of the classes", "/digits/classes")]
    map_page: Annotated[str, doc("page of the map", "/digits/map")]
    search_page: Annotated[str, doc("page of the search", "/digits/search")]
    quarantine_page: Annotated[str, doc("page of the images left out", "/digits/quarantine")]
    sanity_page: Annotated[str, doc("page of the sanity checks", "/digits/sanity")]


@closed
class Atlas(TypedDict):
    """One atlas: what `atlas.json` says, counts, and links."""

    name: Annotated[str, doc("name of the atlas", "digits")]
    format_version: Annotated[int, doc("version of the folder format", 1)]
    network: Annotated[dict[str, Any], doc("name, source digest, weights digest", {"name": "squeezenet1_0"})]
    data: Annotated[dict[str, Any], doc("sources (their last parts), count, manifest digest", {"count": 1000})]
    preprocessing: Annotated[dict[str, Any], doc("how images become the network's input", {"crop": 224})]
    settings: Annotated[dict[str, Any], doc("settings of the build", {"k": 9})]
    accuracy: Annotated[
        Any, doc("accuracy of the network on the images that have a class; null without", {"top1": 0.61})
    ]
    counts: Annotated[dict[str, Any], doc("rows of each table", {"images": 1000, "neurons": 4096})]
    index: Annotated[Any, doc("kind and recall of the index over the codes; null without", {"kind": "flat"})]
    map: Annotated[Any, doc("what was measured about the map; null without", {})]
    created: Annotated[str | None, doc("when it was sealed", "2026-01-01T00:00:00Z")]
    timings: Annotated[Any, doc("seconds a stage", {})]
    versions: Annotated[Any, doc("versions of the software that built it", {})]
    digest: Annotated[str, doc("SHA-256 over its contents", "9f86d081…")]
    verification: Annotated[Verification, doc("what was verified, and what is still being")]
    links: Annotated[AtlasLinks, doc("where one can go from here")]
    url: Url
    page: Page


@closed
class AtlasHealth(TypedDict):
    """State of one atlas."""

    name: Annotated[str, doc("name of the atlas", "digits")]
    status: Annotated[Literal["available", "unavailable"], doc("whether it is served", "available")]
    reason: Annotated[str | None, doc("why it is not served; null where it is", None)]
    verification: Annotated[Verification | None, doc("what was verified; null where it could not be begun")]


@closed
class Health(TypedDict):
    """State of the service."""

    status: Annotated[
        Literal["ok", "degraded"], doc("degraded where an atlas is unavailable or a pack failed its checksum", "ok")
    ]
    version: Annotated[str, doc("version of neuron-atlas", "0.1.0")]
    pictures: Annotated[bool, doc("whether pictures are served", True)]
    atlases: Annotated[list[AtlasHealth], doc("state of each atlas")]
