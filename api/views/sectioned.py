"""The sections of a thing: of those that SECTIONS lists, what there is to say of one neuron, image, class or layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NotRequired

from typing_extensions import TypedDict, get_type_hints

from api import views
from api.http.described import closed, doc
from api.views.call import Call
from api.views.sections import rows
from api.views.speaker import Speaker
from api.views.view import Of, Section, View
from atlas import tables
from atlas.tables import Table

_NUMBERS = ("channel", "image_id", "class_id")
"""Parts of a path that are numbers."""


@dataclass(frozen=True)
class Shown:
    """A section that has something to say. `key`: its name in JSON; `at`: the thing that it is of."""

    key: str
    title: str
    template: str
    value: Any
    at: Mapping[str, Any]


_made: dict[Of, tuple[tuple[Section, ...], tuple[Table, ...], tuple[Section, ...]]] = {}


def listed(of: Of) -> tuple[Section, ...]:
    """SECTIONS of a kind of thing, then a plain one for each table of it that pages show and none of them does."""
    made = _made.get(of)
    if made is None or made[0] is not views.SECTIONS or made[1] is not tables.TABLES:
        chosen = tuple(section for section in views.SECTIONS if section.of == of)
        told = {section.table for section in chosen}
        if of != "atlas":
            shown = [t for t in tables.TABLES if t.part is not None or t.sectioned]
            rest = [t for t in shown if t.of == of and t.name not in told]
            chosen = (*chosen, *(rows.section(table) for table in rest if not table.files))
        made = _made[of] = views.SECTIONS, tables.TABLES, chosen
    return made[2]


def sections(say: Speaker, of: Of, at: Mapping[str, Any]) -> list[Shown]:
    """What the sections say of the thing that `at` names, in their order."""
    found = []
    for section in listed(of):
        value = section.build(say, at)
        if value is not None:
            found.append(Shown(section.name, section.title, section.template, value, at))
    return found


def of_call(view: View, call: Call) -> list[Shown]:
    """The sections of what a request is for. Raises `ApiError`."""
    if view.of is None or not listed(view.of):
        return []
    at = {name: call.number(name) if name in _NUMBERS else text for name, text in call.path.items()}
    return sections(call.say, view.of, at)


def answer(view: View, call: Call) -> Any:
    """What a view answers: the value of its model, with its sections. Raises what the view raises."""
    value = view.answer(call)
    if view.of is None:
        return value
    return {**value, "sections": {shown.key: shown.value for shown in of_call(view, call)}}


def model(view: View) -> Any:
    """The model of what a view answers: the view's own, with the models of its sections."""
    if view.of is None:
        return view.model
    name = view.model.__name__
    said = {s.name: NotRequired[Annotated[s.model, doc(s.title)]] for s in listed(view.of)}
    parts: Any = TypedDict(f"{name}Sections", said)  # type: ignore[misc]
    parts.__doc__ = "What tables and parts say beside, by the name of the section; only what there is."
    own = get_type_hints(view.model, include_extras=True)
    sections = Annotated[parts, doc("what tables and parts say beside, by the name of the section", {})]
    whole: Any = TypedDict(name, {**own, "sections": sections})  # type: ignore[misc]
    whole.__doc__ = view.model.__doc__
    return closed(whole)
