"""What is said of a model's fields: meaning, unit, an example; OpenAPI and documentation are made of it."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field, with_config

closed = with_config(ConfigDict(extra="forbid"))
"""A model whose documented fields are all there are."""


def doc(text: str, *example: Any) -> Any:
    """Meaning (and unit) of a field, with an example unless its own fields have them."""
    return Field(description=text, examples=list(example)) if example else Field(description=text)
