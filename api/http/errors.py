"""One shape for every error: application/problem+json (RFC 9457), and the same as a page for people."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from starlette.requests import ClientDisconnect
from typing_extensions import TypedDict

from api.http.described import closed, doc
from atlas.errors import AtlasError, InputError, NotFoundError, PictureError, StoreError


@closed
class Problem(TypedDict):
    """An error, as application/problem+json (RFC 9457)."""

    type: Annotated[str, doc("kind of problem", "about:blank")]
    title: Annotated[str, doc("the status in words", "Not Found")]
    status: Annotated[int, doc("HTTP status", 404)]
    detail: Annotated[str, doc("value, expectation, cure: one line", "layer 'conv9': expected one of /layers")]


class ApiError(Exception):
    """A request that cannot be answered. `detail`: value, expectation, cure, in one line."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}


def problem(status: int, detail: str) -> Problem:
    """The body of an error."""
    return {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": shorten(detail)}


def shorten(text: str, limit: int = 500) -> str:
    """One line, not longer than a page."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[:limit]}…"


def of(error: Exception) -> ApiError:
    """What the service says of an exception; never a path, never a traceback."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ClientDisconnect):
        return ApiError(400, "the request was broken off")
    if isinstance(error, InputError):
        return ApiError(422, str(error))
    if isinstance(error, StoreError):
        return ApiError(503, "the store that holds this atlas does not answer; try again later", {"Retry-After": "5"})
    if isinstance(error, NotFoundError | PictureError):
        return ApiError(404, str(error))
    if isinstance(error, AtlasError):
        return ApiError(404, "this part of the atlas cannot be read; see /api/v1/health")
    return ApiError(500, "the service failed; the log says more")
