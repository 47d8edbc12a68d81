"""Images, their neighbours, and classes."""

from __future__ import annotations

from typing import Annotated

from typing_extensions import TypedDict

from api.models.neurons import Tile
from api.models.parts import (
    Box,
    Channel,
    ClassId,
    ClassName,
    ImageId,
    LayerName,
    Next,
    Page,
    Picture,
    Response,
    Similarity,
    Url,
    closed,
    doc,
)


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
