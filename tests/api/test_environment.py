"""The quick escape says what markupsafe's says, whatever it is given, also inside macros."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup, escape

from api.html import environment as look

VALUES = st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.booleans(), st.binary(), st.lists(st.text()))


@given(st.one_of(VALUES, st.text("<>&\"' a"), st.text().map(Markup)))
def test_escaped_is_escape(value: object) -> None:
    assert look.escaped(value) == str(escape(value))


@given(st.text("<>&\"' a"))
def test_templates_escape_once(text: str) -> None:
    template = look.environment().from_string(
        "{% macro m(x) %}<i>{{ x }}</i>{% endmacro %}{{ a }}|{{ a | safe }}|{{ m(a) }}|{{ a ~ '<' }}|{{ b }}"
    )
    said = str(escape(text))
    assert template.render(a=text, b=Markup("<b>")) == f"{said}|{text}|<i>{said}</i>|{said}&lt;|<b>"
