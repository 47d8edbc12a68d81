"""The layers from input to output."""

from __future__ import annotations

from typing import Annotated

from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.views.call import Call
from api.views.layer import Layer, layer
from api.views.speaker import Speaker
from api.views.values import Next
from api.views.view import Context, View
from api.views.view import Page as HtmlPage


@closed
class LayerList(TypedDict):
    """Layers from input to output."""

    items: Annotated[list[Layer], doc("layers")]
    next: Next


def layers(say: Speaker) -> list[Layer]:
    """Every layer, from input to output."""
    return [layer(say, name) for name in say.store.layers.names]


def _answer(call: Call) -> LayerList:
    return {"items": layers(call.say), "next": None}


def _page(call: Call) -> Context:
    told = layers(call.say)
    tested = next((kind for each in told for kind, trust in each["trust"].items() if trust), None)
    return {"layers": told, "kind": tested, "json": call.say.urls.of("layers")[0]}


VIEW = View(
    "layers", "/layers", "Layers from input to output", _answer, LayerList, slow=True,
    page=HtmlPage("layers.html", _page, slow=True),
)  # fmt: skip
