"""What else the probe is asked: pictures of a neuron on an image, places elsewhere, accuracy after a change."""

from __future__ import annotations

from typing import Annotated, Any

from typing_extensions import TypedDict

import probe.protocol as protocol
from api.http.described import closed, doc
from api.http.errors import ApiError
from api.http.params import Param
from api.http.respond import Answer, json_answer
from api.views.call import Call
from api.views.probe import ABLATE, BODY, EDIT, IMAGE, TO, admit, forwarded, prober
from api.views.values import Box, ClassId, ClassName, ImageId, Page, Picture, Similarity, Url, box_of
from api.views.view import View
from atlas.explain.kinds import SHOWN
from atlas.types import SIDES

MEDIA = ("image/webp", "image/jpeg")
LAYER = Param("layer", "text", "layer", high=2000, example="conv1")
CHANNEL = Param("channel", "int", "channel; not needed for all maps", example=3)
KIND = Param("kind", "choice", "kind of picture; map: the response map; maps: all maps of the layer, 0 black", SHOWN[0],
             choices=(*SHOWN, "map", "maps"))  # fmt: skip
STORED = Param("kind", "choice", "kind of picture", SHOWN[0], choices=SHOWN)
SIDE = Param("side", "choice", "side of the example", "max", choices=SIDES)
RANK = Param("rank", "int", "order within the side, from 0", 0, 0, 10_000)
N = Param("n", "int", "images of the atlas with a class, drawn by its seed", 100, 1, protocol.MOST_EDITED)


@closed
class Place(TypedDict):
    """The most alike place of an image near the one that was sent."""

    image_id: ImageId
    similarity: Similarity
    y: Annotated[int, doc("position in the map, down; -1 for a prefix token", 12)]
    x: Annotated[int, doc("position in the map, to the right", 30)]
    cell_box: Annotated[Box, doc("the position's share of the input, in pixels of the image as stored")]
    source: Annotated[str, doc("original, or frame: the stored, smaller copy", "original")]
    width: Annotated[int, doc("width of that image as stored", 500)]
    height: Annotated[int, doc("height of it", 375)]
    class_id: ClassId
    class_name: ClassName
    whole: Annotated[Picture, doc("that image, large enough to draw the place on")]
    url: Url
    page: Page


@closed
class PlaceList(TypedDict):
    """Places elsewhere that are most like one in the image that was sent."""

    items: Annotated[list[Place], doc("one an image, the most alike first")]


@closed
class Accuracy(TypedDict):
    """Accuracy over some images of the atlas, before and after a change."""

    n: Annotated[int, doc("images counted", 100)]
    before: Annotated[float, doc("share predicted as their class", 0.81)]
    after: Annotated[float, doc("the same of the changed", 0.42)]
    same: Annotated[float, doc("share whose prediction stays", 0.5)]
    left_out: Annotated[int, doc("images that the edit cannot be done to", 0)]
    from_frames: Annotated[int, doc("images of which only the stored, smaller copy was there", 0)]


async def _picture(call: Call) -> Answer:
    answer = await _asked(call, "POST", "probe/pictures", _DRAWN)
    return _passed(answer, "no-store")


async def _stored(call: Call) -> Answer:
    if not call.say.pictures:
        raise ApiError(403, "pictures are not served: this service was started with --no-pictures")
    answer = await _asked(call, "GET", "probe/pictures", _STORED)
    return _passed(answer, "private, no-cache")


def _passed(answer: Any, cache: str) -> Answer:
    said = {name: value for name, value in answer.headers.items() if name.startswith(protocol.EVIDENCE)}
    return Answer(answer.content, answer.headers["content-type"], cache=cache, headers=said)


async def _places(call: Call) -> Answer:
    told = (await _asked(call, "POST", "probe/places", _PLACES)).json()
    return json_answer({"items": [_place(call, each) for each in told]}, cache="no-store")


def _place(call: Call, told: Any) -> dict[str, Any]:
    say, row = call.say, call.say.store.images.get(told["image_id"])
    url, page = say.urls.image(row.image_id)
    return {
        **told, "cell_box": box_of(told["cell_box"]), "width": row.width, "height": row.height,
        "class_id": row.class_id, "class_name": say.class_name(row.class_id),
        "whole": say.at(say.urls.whole(row.image_id), row.picture.why), "url": url, "page": page,
    }  # fmt: skip


async def _accuracy(call: Call) -> Answer:
    return json_answer((await _asked(call, "GET", "probe/accuracy", _ACCURACY)).json(), cache="no-store")


async def _asked(call: Call, method: str, question: str, params: tuple[Param, ...]) -> Any:
    for param in params:
        if param is LAYER and call.values["layer"] is None:
            raise ApiError(422, "layer: expected a layer")
    path = forwarded(call, question, params)
    return await prober(call).ask(method, path, call.say.shelf.atlas.about, body=call.body)


_DRAWN = (LAYER, CHANNEL, KIND, ABLATE, IMAGE)
_STORED = (LAYER, CHANNEL, STORED, SIDE, RANK)
_PLACES = (
    LAYER, Param("y", "int", "position in the map, down", 0, 0, 2**20),
    Param("x", "int", "position in the map, to the right", 0, 0, 2**20),
    Param("k", "int", "images that are looked at: the nearest", 10, 1, protocol.MOST_PLACES), IMAGE,
)  # fmt: skip
_ACCURACY = (EDIT, ABLATE, TO, N)
PICTURE = View(
    "probe_picture", "/probe/pictures", "A neuron's picture on one's own image, with its evidence in headers", _picture,
    None, _DRAWN, media=MEDIA, body=BODY, largest=protocol.LARGEST, tag="probe", admit=admit,
)  # fmt: skip
OF_EXAMPLE = View(
    "probe_example", "/probe/pictures", "A picture that the build did not make, of a stored example", _stored,
    None, _STORED, media=MEDIA, tag="probe", admit=admit,
)  # fmt: skip
PLACES = View(
    "probe_places", "/probe/places", "Where else? Places in the nearest images that are most like one", _places,
    PlaceList, _PLACES, body=BODY, largest=protocol.LARGEST, tag="probe", admit=admit,
)  # fmt: skip
ACCURACY = View(
    "probe_accuracy", "/probe/accuracy", "Accuracy over some images of the atlas, before and after a change", _accuracy,
    Accuracy, _ACCURACY, tag="probe", admit=admit,
)  # fmt: skip
