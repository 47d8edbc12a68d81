"""Parameters of a query, parsed strictly: unknown, repeated, non-canonical and out of range are refused."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.http.errors import ApiError
from api.http.urls import unpart

LIMIT = 500
_INTEGER = re.compile(r"0|[1-9][0-9]{0,17}")
_CURSOR = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Param:
    """One parameter of a query. `kind`: int, text, choice, bool or cursor."""

    name: str
    kind: str
    about: str
    default: Any = None
    low: int = 0
    high: int = 2**53
    choices: tuple[str, ...] = ()
    example: Any = None

    def parse(self, text: str) -> Any:
        """The value. Raises `ApiError` 422."""
        if self.kind == "int":
            return integer(self.name, text, self.low, self.high)
        if self.kind == "bool":
            if text not in ("true", "false"):
                raise ApiError(422, f"{self.name}={text!r}: expected true or false")
            return text == "true"
        if self.kind == "choice" and text not in self.choices:
            raise ApiError(422, f"{self.name}={text!r}: expected one of {', '.join(self.choices)}")
        if self.kind == "cursor" and not _CURSOR.fullmatch(text):
            raise ApiError(422, f"{self.name}={text!r}: expected the `next` of an earlier answer")
        if len(text) > self.high:
            raise ApiError(422, f"{self.name}: expected at most {self.high} characters")
        return text

    def schema(self) -> dict[str, Any]:
        """Its place in an OpenAPI operation."""
        kinds: dict[str, dict[str, Any]] = {
            "int": {"type": "integer", "minimum": self.low, "maximum": self.high},
            "bool": {"type": "boolean"},
            "choice": {"type": "string", "enum": list(self.choices)},
            "cursor": {"type": "string", "pattern": f"^{_CURSOR.pattern}$"},
            "text": {"type": "string", "maxLength": self.high},
        }
        schema = kinds[self.kind]
        if self.default is not None:
            schema["default"] = self.default
        found = {"name": self.name, "in": "query", "required": False, "description": self.about, "schema": schema}
        return found if self.example is None else {**found, "example": self.example}


def integer(name: str, text: str, low: int = 0, high: int = 2**53) -> int:
    """A number in its canonical form. Raises `ApiError` 422."""
    if not _INTEGER.fullmatch(text) or not low <= int(text) <= high:
        raise ApiError(422, f"{name} {text[:50]!r}: expected a whole number from {low} to {high}, in digits")
    return int(text)


def parse(query: bytes, known: Sequence[Param]) -> dict[str, Any]:
    """Values of the known parameters, defaults filled in. Raises `ApiError` 422."""
    values = {param.name: param.default for param in known}
    if not query:
        return values
    by_name = {param.name: param for param in known}
    seen = set()
    for pair in query.decode("ascii", "replace").split("&"):
        if not pair:
            continue
        name, _, raw = pair.partition("=")
        decoded, text = unpart(name), unpart(raw.replace("+", " "))
        if decoded is None or text is None or "\ufffd" in raw:
            raise ApiError(422, "the query is not UTF-8 in percent-encoding")
        param = by_name.get(decoded)
        if param is None:
            expected = ", ".join(by_name) or "none"
            raise ApiError(422, f"unknown parameter {decoded[:50]!r}: expected {expected}")
        if decoded in seen:
            raise ApiError(422, f"parameter {decoded!r} is given twice; expected it once")
        seen.add(decoded)
        if text or param.kind == "text":
            values[decoded] = param.parse(text)
        elif param.kind not in ("choice", "cursor", "int", "bool"):
            values[decoded] = text
        # An empty value is what an unfilled field of a form sends: as if it were not there.
    return values


def mark(seal: str, route: str, values: Mapping[str, Any]) -> int:
    """What binds a cursor to the list it was given for."""
    rest = sorted((name, str(value)) for name, value in values.items() if name not in ("cursor", "limit"))
    return zlib.crc32(repr((seal, route, rest)).encode())


def cursor(offset: int, bound: int) -> str:
    """An opaque cursor to the item `offset` of a list."""
    raw = offset.to_bytes(7, "big") + bound.to_bytes(4, "big")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def offset_of(text: str | None, bound: int) -> int:
    """The item a cursor points to; 0 without one. Raises `ApiError` 422 for one of another list."""
    if text is None:
        return 0
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raw = b""
    if (
        len(raw) != 11
        or int.from_bytes(raw[7:], "big") != bound
        or cursor(int.from_bytes(raw[:7], "big"), bound) != text
    ):
        raise ApiError(422, "cursor: expected the `next` of an earlier answer to the same list")
    return int.from_bytes(raw[:7], "big")
