"""One request in words: who is asked, for what, with which parameters; and the parameters that several views share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.http.params import LIMIT, Param, cursor, integer, mark, offset_of
from api.http.urls import with_query
from api.views.speaker import Speaker

NEIGHBOURS = 100
"""Neighbours that may be asked for at once."""


@dataclass(frozen=True)
class Call:
    """One request: who answers, the decoded parts of its path, its parsed parameters; what it accepts, and its body.

    `origin`: what it was called by, as `https://example.org`; null where that is not known. `embed`: it is a page's
    figure alone that is asked for.
    """

    say: Speaker
    path: Mapping[str, str]
    values: Mapping[str, Any]
    route: str = ""
    accept: str = ""
    body: bytes = b""
    origin: str | None = None
    embed: bool = False

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


def asked(values: Mapping[str, Any], params: tuple[Param, ...]) -> dict[str, Any]:
    """Those values that are not the defaults, as a query spells them; without the cursor."""
    spelled = {True: "true", False: "false"}
    return {
        param.name: spelled[values[param.name]] if param.kind == "bool" else values[param.name]
        for param in params
        if param.name != "cursor" and values[param.name] not in (None, param.default)
    }


def more(page: str, values: Mapping[str, Any], params: tuple[Param, ...], cursor: str | None) -> str | None:
    """Address of the page that begins at `cursor`, with what else was asked."""
    if cursor is None:
        return None
    return with_query(page, asked(values, params) | {"cursor": cursor})
