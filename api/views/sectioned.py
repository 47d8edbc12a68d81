"""The sections of a thing: of those that SECTIONS lists, what there is to say of one neuron, image, class or layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NotRequired

from typing_extensions import TypedDict, get_type_hints

from api import views
from api.http.described import closed, doc
from api.views.call import Call
from api.views.speaker import Speaker
from api.views.view import Of, View

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


def sections(say: Speaker, of: Of, at: Mapping[str, Any]) -> list[Shown]:
    """What the sections say of the thing that `at` names, in the order of SECTIONS."""
    found = []
    for section in views.SECTIONS:
        if section.of == of:
            value = section.build(say, at)
            if value is not None:
                found.append(Shown(section.name, section.title, section.template, value, at))
    return found


def of_call(view: View, call: Call) -> list[Shown]:
    """The sections of what a request is for. Raises `ApiError`."""
    if view.of is None or not any(section.of == view.of for section in views.SECTIONS):
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
    parts: Any = TypedDict(f"{name}Sections", {s.name: NotRequired[s.model] for s in views.SECTIONS if s.of == view.of})  # type: ignore[misc]
    parts.__doc__ = "What tables and parts say beside, by the name of the section; only what there is."
    own = get_type_hints(view.model, include_extras=True)
    sections = Annotated[parts, doc("what tables and parts say beside, by the name of the section", {})]
    whole: Any = TypedDict(name, {**own, "sections": sections})  # type: ignore[misc]
    whole.__doc__ = view.model.__doc__
    return closed(whole)
