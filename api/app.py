"""The service: REST and pages over sealed atlases, as one ASGI application."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path
from typing import IO

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from api.http import errors
from api.http.errors import ApiError
from api.http.gate import Gate, refusal
from api.http.log import RequestLog
from api.http.metrics import Metrics
from api.library import Library
from api.probing import Prober
from api.routes import Service, install
from atlas.errors import AtlasError

DESCRIPTION = "What each neuron of a convolutional network sees, over a whole data set."


def version() -> str:
    """Version of neuron-atlas."""
    try:
        return metadata.version("neuron-atlas")
    except metadata.PackageNotFoundError:
        return "0"


def create_app(
    dirs: Sequence[str | os.PathLike[str]], *, token: str | None = None, pictures: bool = True,
    log: IO[bytes] | None = None, hosts: Collection[str] | None = None, prober: Prober | None = None,
    frame_ancestors: Sequence[str] = (),
) -> ASGIApp:  # fmt: skip
    """The application over sealed atlases. Their tables and indexes are verified before this returns.

    `token`: what every request must carry. `pictures=False`: no pixel of the data leaves. `log`: where a line of JSON
    a request goes. `hosts`: names it may be called by, beside those of loopback; any without it. `prober`: the
    probe behind it. `frame_ancestors`: whose pages may frame the figures of `?embed=1`.
    A folder that fails its verification is listed as unavailable; the others serve.
    """
    library = Library([Path(folder) for folder in dirs])
    metrics, requests = Metrics(), RequestLog(log)
    available = sum(shelf.available for shelf in library.shelves.values())
    metrics.available.set(available)
    metrics.unavailable.set(len(library.shelves) - available)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        library.start()
        yield
        library.stop()
        if prober is not None:
            await prober.close()
        requests.flush()

    app = FastAPI(
        title="neuron-atlas", version=version(), description=DESCRIPTION, lifespan=lifespan,
        openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False,
    )  # fmt: skip
    service = Service(
        library, pictures=pictures, private=token is not None, metrics=metrics, version=version(), prober=prober
    )
    install(app, service)

    async def refused(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            details = {
                404: "no such address; /api/v1/openapi.json names those there are",
                405: "expected another method",
            }
            detail = details.get(error.status_code, str(error.detail))
            said = ApiError(error.status_code, detail, dict(error.headers or {}))
        else:
            said = errors.of(error)
        return refusal(said, request.scope, service.pages.error)

    for kind in (HTTPException, ApiError, AtlasError, Exception):
        app.add_exception_handler(kind, refused)
    return Gate(
        app, token=token, metrics=metrics, log=requests, page=service.pages.error, hosts=hosts,
        frame_ancestors=frame_ancestors,
    )  # fmt: skip
