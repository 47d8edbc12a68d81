"""The pages: the answers of `api.rest` as HTML, from the same models. One function a page, named as its route.

`render(route, call)` gives the HTML of an atlas's page, `shelf_list` that of the list of atlases, `error` that of an
error. What a page may be asked for stands in `PARAMS`, as for the REST route it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jinja2

from api import about, models, rest
from api.html import environment as look
from api.html import formatting as words
from api.http.params import LIMIT, Param
from api.http.urls import with_query
from api.rest import Call
from atlas.errors import NotFoundError
from atlas.read import classes as tables
from atlas.read import maps

Context = dict[str, Any]
FEW = 100
"""So many classes are offered by name; of more, the page's script asks for the names."""
PARAMS: dict[str, tuple[Param, ...]] = {
    "atlas": (),
    "layers": (),
    "layer": rest.NEURONS,
    "neurons": rest.NEURONS,
    "filters": rest.PAGING,
    "neuron": (),
    "images": (rest.CLASS, *rest.PAGING),
    "image": rest.PAGING,
    "neighbours": (rest.K,),
    "classes": rest.PAGING,
    "class": (),
    "map": (rest.KIND,),
    "search": (rest.Q,),
    "quarantine": rest.PAGING,
    "sanity": rest.PAGING,
}


class Pages:
    """Renders pages. `exported`: for a static site, whose assets lie where `static` says."""

    def __init__(self, *, static: Callable[[str], str] = look.asset_address, exported: bool = False) -> None:
        self._environment = look.environment(static=static, exported=exported)
        self._templates: dict[str, jinja2.Template] = {}
        self._heads: dict[str, Context] = {}

    def render(self, route: str, call: Call) -> str:
        """The page of a route of `PARAMS`. Raises what the route raises."""
        return self.draw(route, call, self.context(route, call))

    def context(self, route: str, call: Call) -> Context:
        """What the page of a route says. Raises what the route raises."""
        return PAGES[route](call)

    def draw(self, route: str, call: Call, context: Context) -> str:
        """The page that says it."""
        return self._template(TEMPLATES.get(route, route)).render({"atlas": self._head(call), **context})

    def shelf_list(self, atlases: models.AtlasList) -> str:
        """The list of atlases."""
        return self._template("index").render(atlases=atlases, json="/api/v1/atlases")

    def error(self, problem: models.Problem) -> str:
        """An error, for people."""
        return self._template("error").render(problem=problem)

    def _template(self, name: str) -> jinja2.Template:
        found = self._templates.get(name)
        if found is None:
            found = self._templates[name] = self._environment.get_template(f"{name}.html")
        return found

    def _head(self, call: Call) -> Context:
        """What the frame of every page says of its atlas: sealed, so read once."""
        name = call.say.shelf.name
        found = self._heads.get(name)
        if found is None:
            atlas = about.atlas(call.say)
            found = self._heads[name] = dict(atlas)
        return found


def _all_sanity(call: Call) -> list[dict[str, Any]]:
    return list(tables.sanity(call.say.shelf.atlas.root).to_pylist())


def _crop(call: Call) -> int:
    return int(call.say.shelf.atlas.about.get("preprocessing", {}).get("crop") or 224)


def _more(page: str, values: Mapping[str, Any], defaults: tuple[Param, ...], cursor: str | None) -> str | None:
    """Address of the page that begins at `cursor`, with what else was asked."""
    if cursor is None:
        return None
    return with_query(page, _asked(values, defaults) | {"cursor": cursor})


def _asked(values: Mapping[str, Any], defaults: tuple[Param, ...]) -> dict[str, Any]:
    """Those values that are not the defaults, as a query spells them; without the cursor."""
    spelled = {True: "true", False: "false"}
    return {
        param.name: spelled[values[param.name]] if param.kind == "bool" else values[param.name]
        for param in defaults
        if param.name != "cursor" and values[param.name] not in (None, param.default)
    }


def _atlas(call: Call) -> Context:
    layers = rest.layers(call)["items"]
    return {
        "layers": layers,
        "beliefs": words.beliefs(layers, _all_sanity(call)),
        "scale": look.scale_in(_crop(call)),
        "left_out": len(tables.quarantine(call.say.shelf.atlas.root)),
        "json": call.say.urls.api,
    }


def _layers(call: Call) -> Context:
    return {"layers": rest.layers(call)["items"], "json": call.say.urls.of("layers")[0]}


def _layer(call: Call) -> Context:
    layer, tiles, values = rest.layer(call), rest.neurons(call), call.values
    names = call.say.shelf.store.layers.names
    at = layer["index"]
    at = names.index(layer["layer"])
    order = values["order"] or ("desc" if rest.descending(values) else "asc")
    asked = _asked(values, rest.NEURONS)
    return {
        "layer": layer,
        "tiles": tiles,
        "state": {**values, "order": order},
        "more": _more(layer["page"], values, rest.NEURONS, tiles["next"]),
        "first": with_query(layer["page"], asked) if values["cursor"] else None,
        "previous_layer": call.say.urls.layer(names[at - 1])[1] if at else None,
        "next_layer": call.say.urls.layer(names[at + 1])[1] if at + 1 < len(names) else None,
        "sorts": [],
        "classes": _few_classes(call),
        "json": with_query(layer["neurons_url"], asked),
    }


def _few_classes(call: Call) -> list[tuple[int, str]] | None:
    images = call.say.shelf.store.images
    if len(images.classes) > FEW:
        return None
    return [(int(number), images.name(int(number)) or f"class {number}") for number in images.classes]


def _filters(call: Call) -> Context:
    layer, filters = rest.layer(call), rest.filters(call)
    return {
        "layer": layer,
        "filters": filters,
        "more": _more(layer["filters_page"], call.values, rest.PAGING, filters["next"]),
        "json": layer["filters_url"],
    }


def _neuron(call: Call) -> Context:
    neuron = rest.neuron(call)
    return look.neuron(neuron) | {"json": neuron["links"]["self"]}


def _images(call: Call) -> Context:
    images = rest.images(call)
    api, page = call.say.urls.of("images")
    class_id = call.values["class"]
    called = None if class_id is None else call.say.shelf.store.images.name(class_id) or f"class {class_id}"
    params = PARAMS["images"]
    return {
        "images": images,
        "class_name": called,
        "more": _more(page, call.values, params, images["next"]),
        "json": with_query(api, _asked(call.values, params)),
    }


def _image(call: Call) -> Context:
    """The image; first with the neurons that tell most of it, then, from a cursor on, with all, layer by layer."""
    image, words_of_more = rest.image(call), "More neurons"
    held = image["neurons"]
    more = _more(image["page"], call.values, rest.PAGING, held["next"])
    if call.values["cursor"] is None and held["next"] is not None:
        every = rest.image(replace(call, values={**call.values, "limit": LIMIT}))["neurons"]
        order = {name: number for number, name in enumerate(call.say.shelf.store.layers.names)}
        telling = sorted(every["items"], key=lambda h: (h["side"] != "max", h["rank"], -order[h["layer"]]))
        held["items"] = telling[: call.values["limit"]]
        more = _more(image["page"], call.values, rest.PAGING, call.next(-call.values["limit"], held["total"]))
        words_of_more = f"All {held['total']}, layer by layer"
    return {
        "image": image,
        "neighbours": rest.neighbours(replace(call, values={"k": 12})),
        "more": more,
        "more_words": words_of_more,
        "json": image["url"],
    }


def _neighbours(call: Call) -> Context:
    image = rest.image(replace(call, values={"limit": 1, "cursor": None}))
    return {"image": image, "neighbours": rest.neighbours(call), "json": image["neighbours_url"]}


def _classes(call: Call) -> Context:
    classes = rest.class_list(call)
    api, page = call.say.urls.of("classes")
    return {"classes": classes, "more": _more(page, call.values, rest.PAGING, classes["next"]), "json": api}


def _class(call: Call) -> Context:
    class_ = rest.class_(call)
    return {"class_": class_, "json": class_["url"]}


def _map(call: Call) -> Context:
    """The page without the points: its script fetches them. Raises `NotFoundError` for a kind that there is not."""
    say, images = call.say, call.say.shelf.store.images
    there = maps.kinds(say.shelf.atlas.root)
    drawn = any(row.thumbnail.pack is not None for row in images.span(0, 1))  # all images have one, or none
    kind = call.values["kind"] or ("tsne" if "tsne" in there else next(iter(there), ""))
    if kind not in there and call.values["kind"]:
        raise NotFoundError(f"map {kind!r}: expected one of {', '.join(there) or 'none'}")
    api, page = say.urls.of("map")
    address = with_query(api, {"kind": kind or None})
    return {
        "map": {
            "classes": {int(number): images.name(int(number)) or f"class {number}" for number in images.classes},
            "thumbnail": f"{say.urls.api}/images/{{image_id}}/thumbnail" if say.pictures and drawn else None,
            "image_page": f"{say.urls.page}/images/{{image_id}}",
        },
        "points": address,
        "kinds": [(each, with_query(page, {"kind": each}), each == kind) for each in there],
        "json": address,
    }


def _search(call: Call) -> Context:
    hits = rest.search_(call)
    return {"q": hits["q"], "hits": hits, "json": with_query(call.say.urls.of("search")[0], {"q": hits["q"]})}


def _quarantine(call: Call) -> Context:
    found = rest.quarantine(call)
    api, page = call.say.urls.of("quarantine")
    return {"quarantine": found, "more": _more(page, call.values, rest.PAGING, found["next"]), "json": api}


def _sanity(call: Call) -> Context:
    found = rest.sanity(call)
    api, page = call.say.urls.of("sanity")
    layers = rest.layers(call)["items"]
    return {
        "sanity": found,
        "layers": layers,
        "more": _more(page, call.values, rest.PAGING, found["next"]),
        "json": api,
    }


PAGES: dict[str, Callable[[Call], Context]] = {
    "atlas": _atlas,
    "layers": _layers,
    "layer": _layer,
    "neurons": _layer,
    "filters": _filters,
    "neuron": _neuron,
    "images": _images,
    "image": _image,
    "neighbours": _neighbours,
    "classes": _classes,
    "class": _class,
    "map": _map,
    "search": _search,
    "quarantine": _quarantine,
    "sanity": _sanity,
}
TEMPLATES = {"neurons": "layer"}
