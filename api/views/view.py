"""What the two lists of `api.views` are made of: a view is a thing with an address, a section what a page adds of it.

A view answers at `/api/v1/atlases/{atlas}` + `path` in JSON and, where it has a page, at `/{atlas}` + `path` in HTML.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

from api.http.params import Param
from api.views.call import Call
from api.views.speaker import Speaker

Context = dict[str, Any]
Of = Literal["atlas", "layer", "neuron", "image", "class"]


@dataclass(frozen=True)
class Sheet:
    """A page of a static site: the parts of its path, its parameters, and the file it goes to, without `.html`.

    `paged`: it is a list whose further pages are files of their own. `addresses`: those that lead to it, where that
    is not the path alone. `context`: what the static page says beside, or differently.
    """

    path: Mapping[str, str]
    values: Mapping[str, Any]
    file: str
    paged: bool = False
    addresses: tuple[str, ...] = ()
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """How a view is shown as HTML: `template`, rendered with what `context` gives.

    `params`: what the page may be asked for, where that is not what the JSON may be. `slow`: it reads more than a few
    records, and runs beside the event loop. `sheets`: its pages in a static site; without it one for each thing that
    `path` can name. `figure`: its template has a block of that name, which `?embed=1` shows alone, for an iframe.
    """

    template: str
    context: Callable[[Call], Context]
    params: tuple[Param, ...] | None = None
    slow: bool = False
    sheets: Callable[[Speaker], Iterable[Sheet]] | None = None
    figure: bool = False


@dataclass(frozen=True)
class View:
    """A thing that can be asked for.

    `answer`: the value of the model (a TypedDict; JSON and page are made of it), or a whole response. `of`: of what it
    is the whole, so that SECTIONS of it are added under `sections`. `media`: media types it answers with beside, or in
    place of, JSON. `body`: OpenAPI's description of the body of a POST, `largest` the bytes it may have.
    `admit`: what is entered before a body is received, and left when all is answered; then `answer` may be awaited.
    """

    name: str
    path: str
    summary: str
    answer: Callable[[Call], Any]
    model: Any
    params: tuple[Param, ...] = ()
    slow: bool = False
    of: Of | None = None
    page: Page | None = None
    media: tuple[str, ...] = ()
    body: Mapping[str, Any] | None = None
    largest: int = 0
    admit: Callable[[Call], AbstractAsyncContextManager[None]] | None = None
    tag: str = "atlas"

    @property
    def method(self) -> str:
        return "GET" if self.body is None else "POST"


@dataclass(frozen=True)
class Section:
    """What one table, or part, adds to the JSON and the page of a neuron, image, class, layer or atlas.

    `build(say, at)` gives the value of `model` for the thing that `at` names (`layer`, `channel`, `image_id`,
    `class_id`), or None where there is nothing to say: then the section is not shown. It stands in JSON under
    `sections[name]`. `template`, beside `api/templates`' others, shows it: it is given `section` (the value), `title`
    and `at`. `table`: the table it shows, which then needs no section made by itself.
    """

    name: str
    of: Of
    title: str
    model: Any
    build: Callable[[Speaker, Mapping[str, Any]], Any]
    template: str
    part: str | None = None
    table: str | None = None
