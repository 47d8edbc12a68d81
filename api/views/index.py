"""The atlases that there are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.views.speaker import Speaker
from api.views.values import Next, Page, Picture, Url


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


SHOWN = 9
"""Crops that an atlas is shown by."""


def index(speakers: Iterable[Speaker]) -> AtlasList:
    """Every atlas, in the order they were given."""
    return {"items": [atlas_item(say) for say in speakers], "next": None}


def atlas_item(say: Speaker) -> AtlasItem:
    """The atlas in a list, served or not."""
    shelf, urls = say.shelf, say.urls
    if not shelf.available:
        return {
            "name": shelf.name,
            "status": "unavailable",
            "reason": shelf.reason,
            "network": None,
            "images": None,
            "neurons": None,
            "layers": None,
            "digest": None,
            "pictures": [],
            "url": urls.api,
            "page": urls.page,
        }
    store, about = shelf.store, shelf.atlas.about
    shown = store.neurons.telling(range(store.layers.neurons), SHOWN)
    return {
        "name": shelf.name,
        "status": "available",
        "reason": None,
        "network": str(about.get("network", {}).get("name", "")),
        "images": store.images.count,
        "neurons": store.layers.neurons,
        "layers": len(store.layers),
        "digest": str(about.get("digest", "")),
        "pictures": [say.picture(store.examples.strongest(int(number))) for number in shown],
        "url": urls.api,
        "page": urls.page,
    }
