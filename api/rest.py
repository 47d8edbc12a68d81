"""What each route of the service answers, as models: JSON leaves as it is, pages render the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from api import about, models
from api.http.errors import ApiError
from api.http.params import LIMIT, Param, cursor, integer, mark, offset_of
from api.library import Library
from api.say import Speaker
from atlas.read import classes, maps, search
from atlas.read.neurons import SORTS

NEIGHBOURS = 100
HOLDING = 100
CLASS_IMAGES = 24


@dataclass(frozen=True)
class Call:
    """One request: the decoded parts of its path, its parsed parameters, and who answers."""

    library: Library
    say: Speaker
    path: Mapping[str, str]
    values: Mapping[str, Any]
    route: str = ""

    @property
    def _bound(self) -> int:
        seal = str(self.say.shelf.atlas.about.get("digest"))
        return mark(seal, self.route + repr(sorted(self.path.items())), self.values)

    def first(self) -> int:
        """The item that the cursor points to. Raises `ApiError`."""
        return offset_of(self.values.get("cursor"), self._bound)

    def next(self, first: int, total: int) -> str | None:
        """The cursor of the page after this one, of a list of `total`."""
        following = first + self.values["limit"]
        return cursor(following, self._bound) if following < total else None

    def number(self, name: str) -> int:
        """A part of the path that is a number. Raises `ApiError`."""
        return integer(name, self.path[name])


def limit(default: int = 60) -> Param:
    return Param("limit", "int", "items of a page", default, 1, LIMIT, example=default)


CURSOR = Param("cursor", "cursor", "`next` of the page before")
CLASS = Param("class", "int", "class", example=1)
PAGING = (limit(), CURSOR)
NEURONS = (
    Param("sort", "choice", "what neurons are sorted by", "channel", choices=SORTS, example="selectivity"),
    Param(
        "order",
        "choice",
        "asc or desc; neurons without a value are last",
        None,
        choices=("asc", "desc"),
        example="desc",
    ),
    CLASS,
    Param("dead", "bool", "only dead neurons, or only those that are not", example=False),
    *PAGING,
)
K = Param("k", "int", "how many", 10, 1, NEIGHBOURS, example=10)
KIND = Param("kind", "text", "which map: tsne, pca, or pca:<layer>", None, high=1000, example="tsne")
Q = Param("q", "text", "what to look for: part of a name, or `layer channel`", "", high=200, example="conv")


def layers(call: Call) -> models.LayerList:
    say = call.say
    return {"items": [say.layer(name) for name in say.shelf.store.layers.names], "next": None}


def layer(call: Call) -> models.Layer:
    return call.say.layer(call.path["layer"])


def neurons(call: Call) -> models.TileList:
    store, values = call.say.shelf.store, call.values
    at = store.layers.index(call.path["layer"])
    numbers = range(store.layers.first[at], store.layers.first[at + 1])
    chosen = store.neurons.select(
        numbers, sort=values["sort"], descending=descending(values), class_id=values["class"], dead=values["dead"]
    )
    first = call.first()
    items = [call.say.tile(int(number)) for number in chosen[first : first + values["limit"]]]
    return {"items": items, "total": len(chosen), "next": call.next(first, len(chosen))}


def descending(values: Mapping[str, Any]) -> bool:
    """Whether the order is downwards: as asked, else channels upwards and all else downwards."""
    order = values["order"]
    return bool(order == "desc" if order else values["sort"] != "channel")


def filters(call: Call) -> models.FilterList:
    store = call.say.shelf.store
    at = store.layers.index(call.path["layer"])
    numbers = range(store.layers.first[at], store.layers.first[at + 1])
    chosen = [each for each in store.filters if each[0] in numbers]
    first = call.first()
    items = [call.say.filter(*each) for each in chosen[first : first + call.values["limit"]]]
    return {"items": items, "next": call.next(first, len(chosen))}


def neuron(call: Call) -> models.Neuron:
    return call.say.neuron(call.path["layer"], call.number("channel"))


def images(call: Call) -> models.ImageList:
    return _images(call, call.values["class"], call.first())


def _images(call: Call, class_id: int | None, first: int) -> models.ImageList:
    images, count = call.say.shelf.store.images, call.values["limit"]
    if class_id is None:
        total, rows = images.count, images.span(first, count)
    else:
        total = int(images.class_counts[images.class_at(class_id)])
        rows = images.of_class(class_id, first, count)
    return {"items": [call.say.image_item(row) for row in rows], "total": total, "next": call.next(first, total)}


def image(call: Call) -> models.Image:
    first = call.first()
    found, total = call.say.image(call.number("image_id"), first, call.values["limit"])
    found["neurons"]["next"] = call.next(first, total)
    return found


def neighbours(call: Call) -> models.NeighbourList:
    image_id = call.number("image_id")
    call.say.shelf.store.images.row(image_id)
    near = call.say.shelf.atlas.neighbours(image_id, call.values["k"])
    return {"items": [call.say.neighbour(*each) for each in near], "next": None}


def neighbours_of(call: Call, body: Any) -> models.NeighbourList:
    """Nearest images to a code that the caller sends. Raises `ApiError` 422."""
    if not isinstance(body, dict) or not set(body) <= {"code", "k"} or "code" not in body:
        raise ApiError(422, "body: expected {code: [numbers], k: a number}")
    k, code = body.get("k", 10), body["code"]
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= NEIGHBOURS:
        raise ApiError(422, f"k: expected a whole number from 1 to {NEIGHBOURS}")
    size = call.say.shelf.atlas.dimensions
    if not isinstance(code, list) or len(code) != size:
        raise ApiError(422, f"code: expected a list of {size} numbers")
    if not all(isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30 for value in code):
        raise ApiError(422, "code: expected numbers")
    if not any(code):
        raise ApiError(422, "code: expected a number other than 0 among its values")
    near = call.say.shelf.atlas.neighbours_of(code, k)
    return {"items": [call.say.neighbour(*each) for each in near], "next": None}


def class_list(call: Call) -> models.ClassList:
    ids, first = call.say.shelf.store.images.classes, call.first()
    items = [call.say.class_item(int(class_id)) for class_id in ids[first : first + call.values["limit"]]]
    return {"items": items, "next": call.next(first, len(ids))}


def class_(call: Call) -> models.Class:
    """A class, with the first of its images; the rest are under …/images?class=."""
    class_id = call.number("class_id")
    values = {"class": class_id, "cursor": None, "limit": CLASS_IMAGES}
    listed = Call(call.library, call.say, {}, values, "images")
    return call.say.class_(class_id, _images(listed, class_id, 0))


def map_(call: Call) -> models.Map:
    """Points of a map. Raises `ApiError` 404 for a kind that there is not."""
    say = call.say
    found = maps.read(say.shelf.atlas.root, call.values["kind"])
    points = found.table
    url, page = say.urls.of("map")
    return {
        "kind": found.kind,
        "kinds": found.kinds,
        "image_id": points["image_id"].to_pylist(),
        "x": points["x"].to_pylist(),
        "y": points["y"].to_pylist(),
        "grid_row": points["grid_row"].to_pylist(),
        "grid_column": points["grid_column"].to_pylist(),
        "class_id": points["class_id"].to_pylist(),
        "classes": {str(class_id): name for class_id, name in sorted(say.shelf.store.images.names.items())},
        "thumbnail": f"{say.urls.api}/images/{{image_id}}/thumbnail" if say.pictures else None,
        "image_page": f"{say.urls.page}/images/{{image_id}}",
        "url": url,
        "page": page,
    }


def search_(call: Call) -> models.HitList:
    say, q = call.say, call.values["q"]
    return {"q": q, "items": [_hit(say, hit) for hit in search.search(say.shelf.atlas, q)], "next": None}


def _hit(say: Speaker, hit: search.Hit) -> models.Hit:
    ways = {"layer": say.urls.layer, "neuron": say.urls.neuron, "class": say.urls.class_, "image": say.urls.image}
    url, page = ways[hit.kind](*hit.key)  # type: ignore[operator]
    return {"kind": hit.kind, "name": hit.name, "detail": hit.detail, "url": url, "page": page}


def quarantine(call: Call) -> models.QuarantineList:
    rows, first = classes.quarantine(call.say.shelf.atlas.root), call.first()
    items = rows.slice(first, call.values["limit"]).to_pylist()
    for item in items:
        item["source"] = item["source"].rstrip("/").rpartition("/")[2]
    return {"items": items, "total": len(rows), "next": call.next(first, len(rows))}


def sanity(call: Call) -> models.SanityList:
    rows, first = classes.sanity(call.say.shelf.atlas.root), call.first()
    return {"items": rows.slice(first, call.values["limit"]).to_pylist(), "next": call.next(first, len(rows))}


def atlas(call: Call) -> models.Atlas:
    return about.atlas(call.say)


def atlases(library: Library, speakers: Mapping[str, Speaker]) -> models.AtlasList:
    return {"items": [about.atlas_item(speakers[name]) for name in library.shelves], "next": None}


Answering = Callable[[Call], Any]
