"""An atlas as a whole: what it says of itself, and how far its pictures can be believed."""

from __future__ import annotations

from typing import Annotated, Any

from typing_extensions import TypedDict

from api.html import charts
from api.html.formatting import beliefs, compared
from api.http.described import closed, doc
from api.library import Verification
from api.views.call import Call
from api.views.layers import layers
from api.views.parts import PartItem, part_item
from api.views.speaker import Speaker
from api.views.values import Page, Url, mapping, sources
from api.views.view import Context, Sheet, View
from api.views.view import Page as HtmlPage
from atlas.read import classes


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
    parts: Annotated[str, doc("parts", "/api/v1/atlases/digits/parts")]
    layers_page: Annotated[str, doc("page of the layers", "/digits/layers")]
    images_page: Annotated[str, doc("page of the images", "/digits/images")]
    classes_page: Annotated[str, doc("page of the classes", "/digits/classes")]
    map_page: Annotated[str, doc("page of the map", "/digits/map")]
    search_page: Annotated[str, doc("page of the search", "/digits/search")]
    quarantine_page: Annotated[str, doc("page of the images left out", "/digits/quarantine")]
    sanity_page: Annotated[str, doc("page of the sanity checks", "/digits/sanity")]
    parts_page: Annotated[str, doc("page of the parts", "/digits/parts")]


@closed
class Atlas(TypedDict):
    """One atlas: what `atlas.json` says, counts, and links."""

    name: Annotated[str, doc("name of the atlas", "digits")]
    format_version: Annotated[int, doc("version of the folder format", 2)]
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
    parts: Annotated[list[PartItem], doc("its parts, by name", [])]
    verification: Annotated[Verification, doc("what was verified, and what is still being")]
    links: Annotated[AtlasLinks, doc("where one can go from here")]
    url: Url
    page: Page


def atlas(say: Speaker) -> Atlas:
    """What `atlas.json` says, without where things lay on the machine that built it."""
    about, urls = say.shelf.atlas.about, say.urls
    verification = say.shelf.verification
    assert verification is not None
    ways = ("layers", "images", "classes", "map", "search", "quarantine", "sanity", "parts")
    links = {way: f"{urls.api}/{way}" for way in ways} | {f"{way}_page": f"{urls.page}/{way}" for way in ways}
    return {
        "name": say.shelf.name,
        "format_version": about["format_version"],
        "network": mapping(about.get("network")),
        "data": sources(mapping(about.get("data")), "sources"),
        "preprocessing": mapping(about.get("preprocessing")),
        "settings": sources(mapping(about.get("settings")), "images", "network", "weights", "class_names"),
        "accuracy": about.get("accuracy"),
        "counts": mapping(about.get("counts")),
        "index": about.get("index"),
        "map": about.get("map"),
        "created": about.get("created"),
        "timings": about.get("timings"),
        "versions": about.get("versions"),
        "digest": str(about.get("digest", "")),
        "parts": [part_item(say, part) for part in say.store.parts.all.values()],
        "verification": {**verification, "failed": list(verification["failed"]), "parts": dict(verification["parts"])},
        "links": links,  # type: ignore[typeddict-item]
        "url": urls.api,
        "page": urls.page,
    }


def _page(call: Call) -> Context:
    say = call.say
    told, folder = layers(say), say.shelf.atlas.folder
    crop = int(say.shelf.atlas.about.get("preprocessing", {}).get("crop") or 224)
    return {
        "layers": told,
        "beliefs": beliefs(told, classes.sanity(folder).to_pylist()),
        "compared": compared(told),
        "scale": lambda field: charts.field_scale(field, crop),
        "left_out": len(classes.quarantine(folder)),
        "json": say.urls.api,
    }


VIEW = View(
    "atlas", "", "One atlas", lambda call: atlas(call.say), Atlas, of="atlas",
    page=HtmlPage("atlas.html", _page, slow=True, sheets=lambda say: [Sheet({}, {}, "index")]),
)  # fmt: skip
