"""From `atlas.json` and the shelf to the models of an atlas as a whole."""

from __future__ import annotations

from api import models, shapes
from api.say import TILE_PICTURES, Speaker


def atlas_item(say: Speaker) -> models.AtlasItem:
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
    shown = store.neurons.telling(range(store.layers.neurons), TILE_PICTURES)
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


def atlas(say: Speaker) -> models.Atlas:
    """What `atlas.json` says, without where things lay on the machine that built it."""
    about, urls = say.shelf.atlas.about, say.urls
    verification = say.shelf.verification
    assert verification is not None
    ways = ("layers", "images", "classes", "map", "search", "quarantine", "sanity")
    links = {way: f"{urls.api}/{way}" for way in ways} | {f"{way}_page": f"{urls.page}/{way}" for way in ways}
    return {
        "name": say.shelf.name,
        "format_version": about["format_version"],
        "network": shapes.mapping(about.get("network")),
        "data": shapes.sources(shapes.mapping(about.get("data")), "sources"),
        "preprocessing": shapes.mapping(about.get("preprocessing")),
        "settings": shapes.sources(
            shapes.mapping(about.get("settings")), "images", "network", "weights", "class_names"
        ),
        "accuracy": about.get("accuracy"),
        "counts": shapes.mapping(about.get("counts")),
        "index": about.get("index"),
        "map": about.get("map"),
        "created": about.get("created"),
        "timings": about.get("timings"),
        "versions": about.get("versions"),
        "digest": str(about.get("digest", "")),
        "verification": {**verification, "failed": list(verification["failed"])},
        "links": links,  # type: ignore[typeddict-item]
        "url": urls.api,
        "page": urls.page,
    }
