"""Renders pages: the values that JSON is made of, as HTML."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jinja2

from api.html import environment
from api.http.errors import Problem
from api.views import sectioned
from api.views.atlas import atlas
from api.views.call import Call
from api.views.index import AtlasList
from api.views.view import Context, View


class Pages:
    """Renders pages. `exported`: for a static site, whose assets lie where `static` says."""

    def __init__(
        self, *, static: Callable[[str], str] = environment.asset_address, exported: bool = False
    ) -> None:  # fmt: skip
        self._environment = environment.environment(static=static, exported=exported)
        self._templates: dict[str, jinja2.Template] = {}
        self._heads: dict[str, Context] = {}

    def render(self, view: View, call: Call) -> str:
        """The page of a view. Raises what the view raises."""
        return self.draw(view, call, self.context(view, call))

    def context(self, view: View, call: Call) -> Context:
        """What the page of a view says. Raises what the view raises."""
        assert view.page is not None
        return view.page.context(call) | {"sections": [] if call.embed else sectioned.of_call(view, call)}

    def draw(self, view: View, call: Call, context: Context) -> str:
        """The page that says it."""
        assert view.page is not None
        about = {"atlas": self._head(call), "origin": call.origin, "embed": call.embed}
        return self._template(view.page.template).render(about | context)

    def index(self, atlases: AtlasList) -> str:
        """The list of atlases."""
        return self._template("index.html").render(atlases=atlases, json="/api/v1/atlases")

    def error(self, problem: Problem) -> str:
        """An error, for people."""
        return self._template("error.html").render(problem=problem)

    def _template(self, name: str) -> jinja2.Template:
        found = self._templates.get(name)
        if found is None:
            found = self._templates[name] = self._environment.get_template(name)
        return found

    def _head(self, call: Call) -> dict[str, Any]:
        """What the frame of every page says of its atlas: sealed, so read once."""
        name = call.say.shelf.name
        found = self._heads.get(name)
        if found is None:
            found = self._heads[name] = dict(atlas(call.say))
        return found
