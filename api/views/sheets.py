"""The pages of a view in a static site."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from api.http.urls import part
from api.views.speaker import Speaker
from api.views.view import Sheet, View

_NAME = re.compile(r"\{([^}]+)\}")


def sheets(view: View, say: Speaker) -> Iterable[Sheet]:
    """As the view says; else one for each thing that its path can name, in a file called as its address."""
    if view.page is None:
        return ()
    if view.page.sheets is not None:
        return view.page.sheets(say)
    return _each(view, say)


def _each(view: View, say: Speaker) -> Iterator[Sheet]:
    assert view.page is not None
    params = view.params if view.page.params is None else view.page.params
    values = {param.name: param.default for param in params}
    for path in _paths(tuple(_NAME.findall(view.path)), say):
        file = _NAME.sub(lambda name, path=path: part(path[name[1]]), view.path).strip("/")  # type: ignore[misc]
        yield Sheet(path, values, file, paged="cursor" in values)


def _paths(names: tuple[str, ...], say: Speaker) -> Iterator[Mapping[str, str]]:
    """What the named parts of a path can be. Raises `KeyError` for parts that only the view itself knows."""
    layers, images = say.store.layers, say.store.images
    if names == ():
        yield {}
    elif names == ("layer",):
        yield from ({"layer": name} for name in layers.names)
    elif names == ("layer", "channel"):
        for row in layers.rows:
            yield from ({"layer": row["layer"], "channel": str(channel)} for channel in range(row["channels"]))
    elif names == ("image_id",):
        yield from ({"image_id": str(images.span(row, 1)[0].image_id)} for row in range(images.count))
    elif names == ("class_id",):
        yield from ({"class_id": str(class_id)} for class_id in images.classes.tolist())
    else:
        raise KeyError(f"a path of {', '.join(names)}: its page must say its `sheets` itself")
