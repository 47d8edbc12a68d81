"""One's own image, asked of the probe: what the network makes of it, in the words of the atlas."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any

from typing_extensions import TypedDict

import probe.protocol as protocol
from api.http.described import closed, doc
from api.http.errors import ApiError
from api.http.params import Param
from api.http.respond import json_answer
from api.http.urls import API, part, with_query
from api.probing import HOW, Prober
from api.views.call import Call
from api.views.neighbours import Neighbour, near
from api.views.speaker import Speaker
from api.views.values import Box, Channel, ClassName, LayerName, Page, Response, Url, box_of
from api.views.view import Context, View
from api.views.view import Page as HtmlPage
from atlas.errors import InputError


@closed
class Guess(TypedDict):
    """A class, as the network predicts it."""

    class_id: Annotated[int, doc("class", 3)]
    class_name: ClassName
    probability: Annotated[float, doc("softmax", 0.93)]
    page: Page


@closed
class Change(TypedDict):
    """A class before and after a change."""

    class_id: Annotated[int, doc("class", 3)]
    class_name: ClassName
    before: Annotated[float, doc("probability of the image as it is", 0.93)]
    after: Annotated[float, doc("probability without the neurons, or of the edited image", 0.41)]
    logit: Annotated[float, doc("change of the logit", -2.5)]


@closed
class Changed(TypedDict):
    """The prediction with neurons taken out, or of the edited image."""

    prediction: Annotated[list[Guess] | None, doc("the most probable classes; null without classes")]
    changes: Annotated[list[Change], doc("every class, the largest change of probability first")]


@closed
class Standing(TypedDict):
    """A neuron's response to the image, and how it stands among those to the atlas's images."""

    channel: Channel
    response: Response
    quantile_low: Annotated[float, doc("share of the atlas's images below the left edge of the response's bin", 0.98)]
    quantile_high: Annotated[float, doc("share of them below its right edge", 0.99)]
    quantile: Annotated[float, doc("between the two, linear within the bin", 0.985)]
    deviations: Annotated[float, doc("distance from the neuron's mean, in its standard deviation", 3.1)]
    strongest: Annotated[float, doc("largest response to an image of the atlas", 12.5)]
    beyond: Annotated[float | None, doc("how far the response is above that; null where it is not", None)]
    y: Annotated[int, doc("position in the map, down; -1 for a prefix token", 12)]
    x: Annotated[int, doc("position in the map, to the right", 30)]
    field: Annotated[Box, doc("field of the position, input pixels, before clipping")]
    cell: Annotated[Box, doc("the position's own share of the input, input pixels")]
    box: Annotated[Box, doc("the field, in pixels of the image as sent, not clipped")]
    cell_box: Annotated[Box, doc("the cell, in pixels of the image as sent")]
    url: Url
    page: Page


@closed
class OfLayer(TypedDict):
    """The neurons of a layer that are most above their own habit."""

    layer: LayerName
    channels: Annotated[int, doc("neurons of the layer", 64)]
    neurons: Annotated[list[Standing], doc("the highest quantile first; ties by deviations, then by channel")]


@closed
class Probed(TypedDict):
    """What the network makes of an image."""

    width: Annotated[int, doc("width of the image as sent, pixels", 500)]
    height: Annotated[int, doc("height of it", 375)]
    prediction: Annotated[list[Guess] | None, doc("the five most probable classes; null without classes")]
    neighbours: Annotated[list[Neighbour], doc("nearest images by code, the nearest first")]
    layers: Annotated[list[OfLayer], doc("layers from input to output")]
    changed: Annotated[Changed | None, doc("with `ablate` or `edit`; null without")]


K = Param("k", "int", "neurons of each layer, and neighbours", protocol.K, 1, protocol.MOST_K, example=5)
LAYERS = Param("layers", "text", "layers, separated by commas; all without", high=8192)
ABLATE = Param("ablate", "text", "neurons to take out: layer:channel, separated by commas", high=8192)
TO = Param("to", "choice", "what stands in their place: zero, or their mean", "zero", choices=protocol.TO)
EDIT = Param("edit", "text", f"what is done to the image: {', '.join(protocol.EDITS)}", high=20)
IMAGE = Param("image", "int", "an image of the atlas, in place of a body", example=3)
BODY = {
    "required": False,
    "description": "an image file, as it is",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}


def prober(call: Call) -> Prober:
    """The probe behind the service. Raises `ApiError` 503 where there is none."""
    found = call.say.prober
    if found is None:
        raise ApiError(503, f"no probe stands behind this service; {HOW}")
    return found


def admit(call: Call) -> AbstractAsyncContextManager[None]:
    """A place in the probe's queue, before the body is received. Raises `ApiError`."""
    _ = call.say.store  # an atlas that is unavailable is said as that
    return prober(call).place()


def forwarded(call: Call, question: str, params: tuple[Param, ...]) -> str:
    """The question as the probe is asked it."""
    values = {param.name: call.values[param.name] for param in params}
    return with_query(f"{API}/atlases/{part(call.say.shelf.name)}/{question}", values)


async def _answer(call: Call) -> Any:
    try:
        protocol.asked(call.values)
    except InputError as error:
        raise ApiError(422, str(error)) from None
    path = forwarded(call, "probe", PARAMS)
    answer = await prober(call).ask("POST", path, call.say.shelf.atlas.about, body=call.body)
    return json_answer(probed(call.say, answer.json()), cache="no-store")


def probed(say: Speaker, told: Any) -> Probed:
    """The probe's answer, with the addresses of what it names."""
    changed = told["changed"]
    return {
        "width": told["width"],
        "height": told["height"],
        "prediction": _guesses(say, told["prediction"]),
        "neighbours": [near(say, int(image_id), similarity) for image_id, similarity in told["neighbours"]],
        "layers": [_layer(say, each) for each in told["layers"]],
        "changed": None if changed is None else _changed(say, changed),
    }


def _guesses(say: Speaker, told: Any) -> list[Guess] | None:
    return None if told is None else [_guess(say, each["class_id"], each["probability"]) for each in told]


def _guess(say: Speaker, class_id: int, probability: float) -> Guess:
    name, page = say.class_name(class_id), say.urls.class_(class_id)[1]
    return {"class_id": class_id, "class_name": name, "probability": probability, "page": page}


def _changed(say: Speaker, told: Any) -> Changed:
    changes = [{**each, "class_name": say.class_name(each["class_id"])} for each in told["changes"]]
    return {"prediction": _guesses(say, told["prediction"]), "changes": changes}  # type: ignore[typeddict-item]


def _layer(say: Speaker, told: Any) -> OfLayer:
    neurons = [_standing(say, told["layer"], each) for each in told["neurons"]]
    return {"layer": told["layer"], "channels": told["channels"], "neurons": neurons}


def _standing(say: Speaker, layer: str, told: Any) -> Standing:
    url, page = say.urls.neuron(layer, told["channel"])
    boxes = {name: box_of(told[name]) for name in ("field", "cell", "box", "cell_box")}
    return {**told, **boxes, "url": url, "page": page}  # type: ignore[typeddict-item]


def _page(call: Call) -> Context:
    url = call.say.urls.of("probe")[0]
    kept = call.say.prober is not None
    return {
        "layers": call.say.store.layers.names, "kept": kept, "how": HOW, "address": url,
        "images": call.say.urls.of("images")[0],
    }  # fmt: skip


PARAMS = (K, LAYERS, ABLATE, TO, EDIT, IMAGE)
VIEW = View(
    "probe", "/probe", "One's own image: prediction, nearest images, the neurons most above their own habit", _answer,
    Probed, PARAMS, body=BODY, largest=protocol.LARGEST, tag="probe", admit=admit,
    page=HtmlPage("probe.html", _page, params=(), sheets=lambda say: []),
)  # fmt: skip
