"""From rows of an atlas to the models of `api.models`: what JSON and pages both say."""

from __future__ import annotations

from typing import Any

from api import models, shapes
from api.http.urls import Urls, with_query
from api.library import Shelf
from atlas.read.examples import Example
from atlas.read.images import ImageRow
from atlas.read.pictures import Place
from atlas.types import PROJECTIONS, SIDES

TILE_PICTURES = 9
TELLING = 8
OF_CLASS = 24
WITHHELD = "pictures are not served"


class Speaker:
    """Says what one atlas holds. `pictures`: whether their addresses are given."""

    def __init__(self, shelf: Shelf, *, pictures: bool = True, urls: Urls | None = None) -> None:
        self.shelf = shelf
        self.urls = urls or Urls(shelf.name)
        self.pictures = pictures

    # Pictures

    def picture(self, place: Place) -> models.Picture:
        pack, offset, length, why, seed, scale = place
        if pack is None:
            return shapes.without(why)
        if not self.pictures:
            return {"url": None, "why": WITHHELD, "seed": seed, "scale": scale}
        return {"url": self.urls.picture(pack, offset, length), "why": None, "seed": seed, "scale": scale}

    def _at(self, url: str, why: str | None) -> models.Picture:
        if why is not None:
            return shapes.without(why)
        if not self.pictures:
            return shapes.without(WITHHELD)
        return {"url": url, "why": None, "seed": None, "scale": None}

    def thumbnail(self, image_id: int, why: str | None) -> models.Picture:
        return self._at(self.urls.thumbnail(image_id), why)

    # Neurons

    def neuron(self, layer: str, channel: int) -> models.Neuron:
        """All of one neuron. Raises `NotFoundError`."""
        store = self.shelf.store
        number = store.layers.number(layer, channel)
        row = store.neurons.get(number)
        about = store.layers.rows[store.layers.index(layer)]
        examples: dict[str, list[models.Example]] = {side: [] for side in SIDES}
        for example in store.examples.of(number):
            examples[example.side].append(self.example(example))
        return {
            "layer": layer,
            "channel": channel,
            "images": row.images,
            "mean": row.mean,
            "std": row.std,
            "min": row.min,
            "max": row.max,
            "fires": row.fires,
            "dead": row.dead,
            "why_max": row.why_max,
            "why_min": row.why_min,
            "quantiles": row.quantiles,  # type: ignore[typeddict-item]
            "histogram": [
                {"left": left, "right": right, "count": count} for left, right, count in store.neurons.histogram(number)
            ],
            "classes": [self._class_share(*top) for top in row.classes],
            "selectivity": row.selectivity,
            "trust": {kind: shapes.trust(trust) for kind, trust in row.trust.items()},
            "field": shapes.field(about),
            "map_height": about["height"],
            "map_width": about["width"],
            "channels": about["channels"],
            "examples": examples,  # type: ignore[typeddict-item]
            "similar": [self._similar(*each) for each in store.relations.similar(number)],
            "near_misses": [self._near_miss(*each) for each in store.relations.near_misses(number)],
            "properties": [
                {"property": name, "association": association, "n": n, "significant": significant}
                for name, association, n, significant in store.relations.properties(number)
            ],
            "query": shapes.query(layer, channel),
            "links": self._neuron_links(layer, channel, about),
        }

    def example(self, example: Example) -> models.Example:
        (
            _, rank, image_id, response, y, x, field, box, duplicate_of, class_id, width, height, no_thumbnail,
            no_picture, crop, pictures, evidence,
        ) = example  # fmt: skip
        deconvnet, guided, gradient, gradient_max, occlusion = map(self.picture, pictures)
        url, page = self.urls.image(image_id)
        return {
            "rank": rank,
            "image_id": image_id,
            "response": response,
            "y": y,
            "x": x,
            "field": shapes.box(field),
            "box": shapes.box(box),
            "width": width,
            "height": height,
            "class_id": class_id,
            "class_name": self.shelf.store.images.name(class_id),
            "crop": self.picture(crop),
            "deconvnet": deconvnet,
            "guided": guided,
            "gradient": gradient,
            "gradient_max": gradient_max,
            "occlusion": occlusion,
            "evidence": shapes.evidences(evidence),
            "duplicate_of": duplicate_of,
            "thumbnail": self._at(f"{url}/thumbnail", no_thumbnail),
            "whole": self._at(f"{url}/picture", no_picture),
            "image_url": url,
            "image_page": page,
        }

    def _class_share(self, class_id: int, mean: float | None, share: float | None) -> models.ClassShare:
        url, page = self.urls.class_(class_id)
        return {
            "class_id": class_id,
            "class_name": self.shelf.store.images.name(class_id),
            "mean": mean,
            "share": share,
            "url": url,
            "page": page,
        }

    def _similar(self, by: str, rank: int, other: int, similarity: float) -> models.Similar:
        store = self.shelf.store
        layer, channel = store.layers.neuron(other)
        url, page = self.urls.neuron(layer, channel)
        return {
            "layer": layer,
            "channel": channel,
            "by": by,
            "rank": rank,
            "similarity": similarity,
            "crop": self.picture(store.examples.strongest(other)),
            "url": url,
            "page": page,
        }

    def _near_miss(
        self, rank: int, image_id: int, similarity: float, response: float, class_id: int | None, why: str | None
    ) -> models.NearMiss:
        url, page = self.urls.image(image_id)
        return {
            "rank": rank,
            "image_id": image_id,
            "similarity": similarity,
            "response": response,
            "class_id": class_id,
            "class_name": self.shelf.store.images.name(class_id),
            "thumbnail": self._at(f"{url}/thumbnail", why),
            "url": url,
            "page": page,
        }

    def _neuron_links(self, layer: str, channel: int, about: dict[str, Any]) -> models.NeuronLinks:
        layers = self.shelf.store.layers
        url, page = self.urls.neuron(layer, channel)
        layer_url, layer_page = self.urls.layer(layer)
        at = layers.index(layer)
        here = url.rpartition("/")[0], page.rpartition("/")[0]
        before, after = channel > 0, channel + 1 < about["channels"]

        def beside(index: int) -> str | None:
            if not 0 <= index < len(layers) or layers.rows[index]["channels"] == 0:
                return None
            return self.urls.neuron(layers.names[index], min(channel, layers.rows[index]["channels"] - 1))[1]

        return {
            "self": url,
            "page": page,
            "layer": layer_url,
            "layer_page": layer_page,
            "previous": f"{here[0]}/{channel - 1}" if before else None,
            "previous_page": f"{here[1]}/{channel - 1}" if before else None,
            "next": f"{here[0]}/{channel + 1}" if after else None,
            "next_page": f"{here[1]}/{channel + 1}" if after else None,
            "layer_before_page": beside(at - 1),
            "layer_after_page": beside(at + 1),
        }

    def tile(self, number: int, count: int = TILE_PICTURES) -> models.Tile:
        """A neuron, by its number, on a wall."""
        store = self.shelf.store
        layer, channel = store.layers.neuron(number)
        row = store.neurons.get(number)
        url, page = self.urls.neuron(layer, channel)
        pictures: list[models.TilePicture] = []
        for example in store.examples.of(number)[:count]:
            if example.side == "max":
                projection = next((place for place in example.pictures if place.pack is not None), example.pictures[0])
                pictures.append(
                    {
                        "rank": example.rank,
                        "image_id": example.image_id,
                        "response": example.response,
                        "crop": self.picture(example.crop),
                        "projection": self.picture(projection),
                    }
                )
        trust = float(store.neurons.trust[number])
        return {
            "layer": layer,
            "channel": channel,
            "max": row.max,
            "mean": row.mean,
            "fires": row.fires,
            "dead": row.dead,
            "selectivity": row.selectivity,
            "trust": trust if trust == trust else None,
            "why_max": row.why_max,
            "top_class": self._class_share(*row.classes[0]) if row.classes else None,
            "pictures": pictures,
            "url": url,
            "page": page,
        }

    # Layers

    def layer(self, layer: str) -> models.Layer:
        """One layer. Raises `NotFoundError`."""
        store = self.shelf.store
        at = store.layers.index(layer)
        about = store.layers.rows[at]
        numbers = range(store.layers.first[at], store.layers.first[at + 1])
        url, page = self.urls.layer(layer)
        dead = store.neurons.numbers["dead"][numbers.start : numbers.stop]
        return {
            "layer": layer,
            "index": about["index"],
            "kind": about["kind"],
            "channels": about["channels"],
            "height": about["height"],
            "width": about["width"],
            "field": shapes.field(about),
            "rectified": about["rectified"],
            "dead": int((dead == 1).sum()) if about["rectified"] else None,
            "trust": {kind: (about["trust"] or {}).get(kind) for kind in PROJECTIONS},
            "axis": about["axis"],
            "telling": [self.tile(int(number), 1) for number in store.neurons.telling(numbers, TELLING)],
            "filters": sum(number in numbers for number, _, _ in store.filters),
            "url": url,
            "page": page,
            "neurons_url": f"{url}/neurons",
            "filters_url": f"{url}/filters",
            "filters_page": f"{page}/filters",
        }

    def filter(self, number: int, kind: str, place: Place) -> models.Filter:
        layer, channel = self.shelf.store.layers.neuron(number)
        url, page = self.urls.neuron(layer, channel)
        return {
            "layer": layer,
            "channel": channel,
            "kind": kind,
            "picture": self.picture(place),
            "url": url,
            "page": page,
        }

    # Images and classes

    def image_item(self, row: ImageRow) -> models.ImageItem:
        images = self.shelf.store.images
        url, page = self.urls.image(row.image_id)
        return {
            "image_id": row.image_id,
            "key": row.key,
            "class_id": row.class_id,
            "class_name": images.name(row.class_id),
            "width": row.width,
            "height": row.height,
            "predicted": row.predicted,
            "predicted_name": images.name(row.predicted),
            "probability": row.probability,
            "thumbnail": self.thumbnail(row.image_id, row.thumbnail.why),
            "url": url,
            "page": page,
        }

    def image(self, image_id: int, first: int, count: int) -> tuple[models.Image, int]:
        """One image with `count` of the neurons that hold it, from the `first` on; and how many there are."""
        images = self.shelf.store.images
        at = images.row(image_id)
        row = images.span(at, 1)[0]
        holding, total = self.shelf.store.examples.holding(at, first, count)
        url, page = self.urls.image(image_id)
        before, after = images.span(at - 1, 1) if at else [], images.span(at + 1, 1)
        return {
            "image_id": image_id,
            "source": shapes.last_part(row.source),
            "key": row.key,
            "class_id": row.class_id,
            "class_name": images.name(row.class_id),
            "width": row.width,
            "height": row.height,
            "predicted": row.predicted,
            "predicted_name": images.name(row.predicted),
            "probability": row.probability,
            "loss": row.loss,
            "thumbnail": self.thumbnail(image_id, row.thumbnail.why),
            "picture": self._at(self.urls.whole(image_id), row.picture.why),
            "neurons": {"items": [self._holding(*each) for each in holding], "total": total, "next": None},
            "neighbours_url": f"{url}/neighbours",
            "neighbours_page": f"{page}/neighbours",
            "class_page": None if row.class_id is None else self.urls.class_(row.class_id)[1],
            "previous_page": self.urls.image(before[0].image_id)[1] if before else None,
            "next_page": self.urls.image(after[0].image_id)[1] if after else None,
            "url": url,
            "page": page,
        }, total

    def _holding(self, number: int, example: Example) -> models.Holding:
        layer, channel = self.shelf.store.layers.neuron(number)
        url, page = self.urls.neuron(layer, channel)
        return {
            "layer": layer,
            "channel": channel,
            "side": example.side,
            "rank": example.rank,
            "response": example.response,
            "y": example.y,
            "x": example.x,
            "box": shapes.box(example.box),
            "crop": self.picture(example.crop),
            "url": url,
            "page": page,
        }

    def neighbour(self, image_id: int, similarity: float) -> models.Neighbour:
        images = self.shelf.store.images
        row = images.get(image_id)
        url, page = self.urls.image(image_id)
        return {
            "image_id": image_id,
            "similarity": similarity,
            "class_id": row.class_id,
            "class_name": images.name(row.class_id),
            "thumbnail": self.thumbnail(image_id, row.thumbnail.why),
            "url": url,
            "page": page,
        }

    def class_item(self, class_id: int) -> models.ClassItem:
        """A class in a list. Raises `NotFoundError`."""
        images = self.shelf.store.images
        at = images.class_at(class_id)
        url, page = self.urls.class_(class_id)
        first = images.of_class(class_id, 0, 1)[0]
        return {
            "class_id": class_id,
            "class_name": images.name(class_id),
            "images": int(images.class_counts[at]),
            "accuracy": float(images.class_right[at] / images.class_counts[at]),
            "thumbnail": self.thumbnail(first.image_id, first.thumbnail.why),
            "url": url,
            "page": page,
        }

    def class_(self, class_id: int, images: models.ImageList) -> models.Class:
        """One class, with a page of its images. Raises `NotFoundError`."""
        item = self.class_item(class_id)
        numbers = self.shelf.store.neurons.of_class(class_id, OF_CLASS)
        query = {"class": class_id}
        return {
            "class_id": class_id,
            "class_name": item["class_name"],
            "images": images,
            "accuracy": item["accuracy"],
            "neurons": [self.tile(int(number)) for number in numbers],
            "images_url": with_query(f"{self.urls.api}/images", query),
            "images_page": with_query(f"{self.urls.page}/images", query),
            "url": item["url"],
            "page": item["page"],
        }
