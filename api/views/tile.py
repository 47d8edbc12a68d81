"""A neuron on a wall: a few numbers and its first pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.views.speaker import Speaker
from api.views.values import Channel, ClassName, ImageId, LayerName, Page, Picture, Response, Url
from atlas.read.pictures import Place, nowhere


@closed
class ClassShare(TypedDict):
    """A class as one neuron responds to it."""

    class_id: Annotated[int, doc("class", 3)]
    class_name: ClassName
    mean: Annotated[float | None, doc("mean side-max response over the images of the class", 6.5)]
    share: Annotated[
        float | None,
        doc("share of the images of the class with a response above 0; null where no rectifier follows", 0.75),
    ]
    url: Url
    page: Page


@closed
class TilePicture(TypedDict):
    """One of the pictures on a neuron's tile."""

    rank: Annotated[int, doc("rank of the example", 0)]
    image_id: ImageId
    response: Response
    crop: Annotated[Picture, doc("the field cut from the image")]
    projection: Annotated[Picture, doc("the picture beside it: of the kind asked for, else of the first kind there is")]


@closed
class Tile(TypedDict):
    """A neuron on a wall: a few numbers and its first pictures."""

    layer: LayerName
    channel: Channel
    max: Annotated[float | None, doc("largest response", 23.5)]
    mean: Annotated[float | None, doc("mean over images of the largest response in the map", 4.5)]
    activation_rate: Annotated[
        float | None, doc("share of images with a response above 0; null where no rectifier follows", 0.4)
    ]
    dead: Annotated[bool | None, doc("a rectifier follows and no image is above 0; null where none follows", False)]
    selectivity: Annotated[float | None, doc("class selectivity index, 0 to 1", 0.6)]
    trust: Annotated[
        float | None, doc("trust score of the kind asked for, else of the first kind it was tested for", 0.5)
    ]
    why_max: Annotated[str | None, doc("why side max has no examples; null where it has", None)]
    top_class: Annotated[ClassShare | None, doc("class of the largest mean response")]
    pictures: Annotated[list[TilePicture], doc("of side max, where no other is asked for; at most nine, by rank", [])]
    url: Url
    page: Page


PICTURES = 9
"""Pictures of a tile."""


def class_share(say: Speaker, class_id: int, mean: float | None, share: float | None) -> ClassShare:
    """A class, as a neuron responds to it."""
    url, page = say.urls.class_(class_id)
    return {
        "class_id": class_id,
        "class_name": say.class_name(class_id),
        "mean": mean,
        "share": share,
        "url": url,
        "page": page,
    }


def tile(say: Speaker, number: int, count: int = PICTURES, kind: str | None = None, side: str = "max") -> Tile:
    """A neuron, by its number, with at most `count` pictures of a side, and beside them those of a kind."""
    store = say.store
    layer, channel = store.layers.neuron(number)
    row = store.neurons.get(number)
    url, page = say.urls.neuron(layer, channel)
    pictures: list[TilePicture] = []
    for example in [each for each in store.examples.of(number) if each.side == side][:count]:
        pictures.append(
            {
                "rank": example.rank,
                "image_id": example.image_id,
                "response": example.response,
                "crop": say.picture(example.crop),
                "projection": say.picture(_beside(example.pictures, kind)),
            }
        )
    trust = float(store.neurons.trust.scores(kind)[number])
    return {
        "layer": layer,
        "channel": channel,
        "max": row.max,
        "mean": row.mean,
        "activation_rate": row.activation_rate,
        "dead": row.dead,
        "selectivity": row.selectivity,
        "trust": trust if trust == trust else None,
        "why_max": row.why_max,
        "top_class": class_share(say, *row.classes[0]) if row.classes else None,
        "pictures": pictures,
        "url": url,
        "page": page,
    }


_NONE = nowhere("not drawn")


def _beside(pictures: Mapping[str, tuple[Place, Any]], kind: str | None) -> Place:
    """The picture of a kind; without one, of the first kind there is."""
    if kind is not None:
        return pictures[kind][0] if kind in pictures else _NONE
    return next((place for place, _ in pictures.values() if place.pack is not None), _NONE)
