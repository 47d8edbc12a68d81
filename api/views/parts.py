"""The parts of an atlas: which there are, what each needs to be believed, and its summary figures."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.views.call import Call
from api.views.speaker import Speaker
from api.views.values import Next, Page, Url, mapping, shortened
from api.views.view import Context, Sheet, View
from api.views.view import Page as HtmlPage
from atlas.read import source
from atlas.read.parts import Part as Row

State = Annotated[
    Literal["sealed", "begun", "damaged"],
    doc("sealed: served; begun: not sealed yet; damaged: left out, with the reason", "sealed"),
]


@closed
class PartTable(TypedDict):
    """A table of a part."""

    name: Annotated[str, doc("name of the table", "connections")]
    meaning: Annotated[str, doc("what a row says", "the maps before it that drive a neuron most")]
    of: Annotated[str, doc("what a row belongs to: atlas, layer, neuron, image or class", "neuron")]
    rows: Annotated[int, doc("its rows", 640)]


@closed
class PartItem(TypedDict):
    """A part in a list."""

    name: Annotated[str, doc("name of the part, NAME or NAME@AS", "connections")]
    part: Annotated[str, doc("which part it is, without @AS", "connections")]
    state: State
    why: Annotated[str | None, doc("what is wrong with a damaged one; null else", None)]
    digest: Annotated[str | None, doc("SHA-256 over its contents; null where it is not sealed", "9f86d081…")]
    url: Url
    page: Page


@closed
class PartList(TypedDict):
    """The parts of an atlas."""

    items: Annotated[list[PartItem], doc("parts, by name", [])]
    next: Next


@closed
class Part(TypedDict):
    """One part, with its summary figures."""

    name: Annotated[str, doc("name of the part, NAME or NAME@AS", "connections")]
    part: Annotated[str, doc("which part it is, without @AS", "connections")]
    state: State
    why: Annotated[str | None, doc("what is wrong with a damaged one; null else", None)]
    digest: Annotated[str | None, doc("SHA-256 over its contents; null where it is not sealed", "9f86d081…")]
    summary: Annotated[dict[str, Any], doc("its summary figures", {"neurons": 64})]
    settings: Annotated[dict[str, Any], doc("the settings that it was made with; of paths the last part", {"top": 10})]
    tables: Annotated[list[PartTable], doc("its tables", [])]
    created: Annotated[str | None, doc("when it was sealed", "2026-01-01T00:00:00Z")]
    timings: Annotated[dict[str, Any], doc("seconds it took", {})]
    versions: Annotated[dict[str, Any], doc("versions of the software that made it", {})]
    url: Url
    page: Page


def part_item(say: Speaker, part: Row) -> PartItem:
    url, page = say.urls.of("parts", part.name)
    digest = part.about.get("digest")
    return {
        "name": part.name,
        "part": part.kind,
        "state": part.state,
        "why": part.why,
        "digest": str(digest) if digest and part.state == "sealed" else None,
        "url": url,
        "page": page,
    }


def _answer(call: Call) -> PartList:
    return {"items": [part_item(call.say, part) for part in call.say.store.parts.all.values()], "next": None}


def _one(call: Call) -> Part:
    part = call.say.store.parts.get(call.path["part"])
    about = part.about if part.state == "sealed" else {}
    created = about.get("created")
    settings = mapping(about.get("settings"))
    return {
        **part_item(call.say, part),
        "summary": mapping(about.get("summary")),
        "settings": {name: shortened(value) for name, value in settings.items() if name != "identity"},
        "tables": [_table(part, name) for name in range(len(part.tables))],
        "created": None if created is None else str(created),
        "timings": mapping(about.get("timings")),
        "versions": mapping(about.get("versions")),
    }


def _table(part: Row, at: int) -> PartTable:
    table = part.tables[at]
    file = None if table.files else source.opened(part.folder, table.name)
    rows = int(file.metadata.num_rows) if file else 0
    return {"name": table.name, "meaning": table.meaning, "of": table.of, "rows": rows}


def _page(call: Call) -> Context:
    return {"parts_of": _answer(call), "json": call.say.urls.of("parts")[0]}


def _page_of_one(call: Call) -> Context:
    told = _one(call)
    return {"part": told, "json": told["url"]}


VIEW = View(
    "parts", "/parts", "The parts that were made of the atlas", _answer, PartList,
    page=HtmlPage("parts.html", _page, sheets=lambda say: [Sheet({}, {}, "parts")]),
)  # fmt: skip
ONE = View(
    "part", "/parts/{part}", "One part, with its summary figures", _one, Part, slow=True,
    page=HtmlPage(
        "part.html", _page_of_one, slow=True,
        sheets=lambda say: [Sheet({"part": name}, {}, f"parts/{name}") for name in say.store.parts.all],
    ),
)  # fmt: skip
