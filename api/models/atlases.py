"""An atlas as a whole: its map, what search finds, what was left out, how pictures were checked, its health."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from typing_extensions import TypedDict

from api.models.parts import ImageId, LayerName, Next, Page, Picture, Url, closed, doc


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
