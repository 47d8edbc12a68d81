"""Templates and the files beside them: one environment for all pages, and the assets that pages name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from markupsafe import escape

from api.html import charts, formatting

_SPECIAL = re.compile("[&<>\"']").search
HERE = Path(__file__).resolve().parents[1]
WEB = HERE / "web"
TEMPLATES = (HERE / "templates",)
"""Folders of templates."""
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
NAMES = ("site.css", "site.js", "probe.js", "icon.svg", "dist/map.js")
"""All that pages may name; `dist/map.js` is there once `api/web/build.py` has run."""


def policy(ancestors: str) -> str:
    """Content-Security-Policy of a page that `ancestors` may frame: nothing inline, nothing from elsewhere."""
    return (
        "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
        f"form-action 'self'; base-uri 'none'; frame-ancestors {ancestors}"
    )


POLICY = policy("'none'")
"""Of every page but figures for an iframe."""


class Asset(NamedTuple):
    """One file: its bytes, its media type, and a digest that goes into its address."""

    body: bytes
    media_type: str
    digest: str


@lru_cache(maxsize=1)
def assets() -> dict[str, Asset]:
    """Every asset that is there, by name, read once."""
    found = {}
    for name in NAMES:
        path = WEB / name
        if path.is_file():
            body = path.read_bytes()
            found[name] = Asset(body, TYPES[path.suffix], hashlib.sha256(body).hexdigest()[:12])
    return found


def asset_address(name: str, prefix: str = "/static/") -> str:
    """Address of an asset; it changes with the contents, so that it may be kept for ever."""
    asset = assets().get(name)
    return f"{prefix}{name}?v={asset.digest}" if asset else f"{prefix}{name}"


def escaped(value: Any) -> str:
    """A value as text of HTML: as `markupsafe.escape`, at a third of its cost for text without special characters."""
    kind = value.__class__
    if kind is str:
        return value if _SPECIAL(value) is None else str(escape(value))
    return str(value) if kind is int or kind is float else str(escape(value))


class _Generator(CodeGenerator):
    """Compiles `{{ … }}` to `escaped`: what joins the page at once need not be marked as safe."""

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo) -> None:
        if frame.eval_ctx.volatile or not frame.eval_ctx.autoescape:
            super()._output_child_pre(node, frame, finalize)
            return
        self.write("environment.escaped(")
        if finalize.src is not None:
            self.write(finalize.src)


class _Environment(jinja2.Environment):
    """Looks into dictionaries before it looks for attributes: models are dictionaries, and this is twice as fast."""

    code_generator_class = _Generator
    escaped = staticmethod(escaped)

    def getattr(self, obj: Any, attribute: str) -> Any:
        if obj.__class__ is dict:
            try:
                return obj[attribute]
            except KeyError:
                pass
        return super().getattr(obj, attribute)


def environment(*, static: Callable[[str], str] = asset_address, exported: bool = False) -> jinja2.Environment:
    """The templates' environment. What no page gives is an error, not an empty place."""
    env = _Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        auto_reload=False,
        trim_blocks=False,
    )
    env.filters.update(formatting.FILTERS)
    env.filters.update(curve=charts.curve, shared_axis=charts.shared_axis)
    env.globals.update(
        static=static,
        exported=exported,
        home="/",
        atlas=None,
        json=None,
        has_map="dist/map.js" in assets(),
        embed=False,
        origin=None,
        permalink=None,
        preview=None,
        scripted=False,
    )
    return env
