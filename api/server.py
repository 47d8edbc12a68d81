"""The HTTP server around the application: uvicorn, with the limits that it leaves to a proxy in front of it.

A connection that sends nothing, or a header or a body too slowly, or does not read, is closed after a while; when
there are more connections than files may be open, the one that has been idle longest goes first.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.app import create_app
from api.http import errors
from api.http.gate import LONGEST_TARGET, is_loopback
from api.http.listen import bound
from api.http.respond import dumps
from api.probing import Prober
from atlas.errors import SettingsError

HEADER_SECONDS = 20.0
"""From the connection, or from the first byte of a request, to the end of its header."""
BODY_SECONDS = 30.0
WRITE_SECONDS = 30.0
"""How long an answer may wait for a client that does not read."""
KEEP_ALIVE_SECONDS = 60
DRAIN_SECONDS = 30
_BACKLOG = 4096
LARGEST_HEADER = 1 << 18  # bytes
RESERVED_FILES = 256
"""Open files that are kept for packs, tables and logs."""


class Crowd:
    """The connections of a server: how many there may be, and which are idle, the longest idle first."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.count = 0
        self.idle: dict[Connection, None] = {}

    def make_room(self) -> bool:
        """Closes the longest idle connection where there are too many; false where none is idle."""
        if self.count <= self.most:
            return True
        oldest = next(iter(self.idle), None)
        if oldest is None:
            return False
        del self.idle[oldest]
        oldest.transport.abort()
        return True


class Connection(HttpToolsProtocol):
    """One connection, with deadlines."""

    crowd = Crowd(10_000)
    _deadline: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _header = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.crowd.count += 1
        if not self.crowd.make_room():
            transport.abort()
            return
        self.crowd.idle[self] = None
        self._within(HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self.crowd.count -= 1
        self.crowd.idle.pop(self, None)
        self._within(None)
        if self._stalled is not None:
            self._stalled.cancel()
        super().connection_lost(exc)

    def _within(self, seconds: float | None) -> None:
        """Closes the connection unless something happens within `seconds`."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        cycle = self.cycle
        if self.transport.is_closing():
            return
        if cycle is not None and cycle.more_body and not cycle.response_started:
            self._refuse(408, f"the body came too slowly; expected it within {BODY_SECONDS:.0f} s")
        self.transport.close()

    @property
    def _waiting(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        if self._waiting:
            self._header += len(data)
            if self._header > LARGEST_HEADER:
                self.send_400_response("the header is too large")
                return
        super().data_received(data)
        if self._deadline is None and self._waiting and self.timeout_keep_alive_task is None:
            self._within(HEADER_SECONDS)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.crowd.idle.pop(self, None)
        self._within(HEADER_SECONDS)

    def on_url(self, url: bytes) -> None:
        # What is far too long is cut: the application refuses it, and the parser of addresses never sees it.
        if len(self.url) <= LONGEST_TARGET:
            self.url += url[: 2 * LONGEST_TARGET]

    def on_headers_complete(self) -> None:
        self._header = 0
        self._within(BODY_SECONDS)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._header = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._within(None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and not self.pipeline:
            self.crowd.idle[self] = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def send_400_response(self, msg: str) -> None:
        """Answers what is not HTTP."""
        self._refuse(400, "the request is not HTTP/1.1 as it should be; expected another")

    def _refuse(self, status: int, detail: str) -> None:
        """Answers without the application, and closes."""
        problem = errors.problem(status, detail)
        body = dumps(problem)
        lines = (
            f"HTTP/1.1 {status} {problem['title']}", "content-type: application/problem+json", "connection: close",
            f"content-length: {len(body)}", "", "",
        )  # fmt: skip
        if not self.transport.is_closing():
            self.transport.write("\r\n".join(lines).encode() + body)
            self.transport.close()


def open_files() -> int:
    """Raises the limit of open files as far as this process may, and returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return soft


def checked_token(host: str, token: str | None) -> str | None:
    """The token to ask for: as given, else NEURON_ATLAS_TOKEN's.

    Raises `SettingsError` where one is needed, or it is empty: that would start an open service.
    """
    token = os.environ.get("NEURON_ATLAS_TOKEN") if token is None else token
    if token == "":
        raise SettingsError("--token (or NEURON_ATLAS_TOKEN) is empty: expected a token, or none at all")
    if token is None and not is_loopback(host):
        raise SettingsError(
            f"--host {host}: other machines can reach it, so it needs --token (or NEURON_ATLAS_TOKEN set)"
        )
    if token is not None and (not token.isascii() or not token.isprintable() or " " in token):
        raise SettingsError("--token: expected printable ASCII without spaces")
    return token


def configuration(app: ASGIApp) -> uvicorn.Config:
    """How uvicorn serves the application."""
    return uvicorn.Config(
        app, http=Connection, ws="none", loop="uvloop", lifespan="on", log_level="warning", access_log=False,
        server_header=False, proxy_headers=False, timeout_keep_alive=KEEP_ALIVE_SECONDS, backlog=_BACKLOG,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )  # fmt: skip


class _Server(uvicorn.Server):
    """Ends in good order when it is told to: a signal is not raised again once all is answered."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def _say(address: str) -> None:
    print(f"serving at {address}", file=sys.stderr, flush=True)


def serve(
    dirs: Sequence[str | os.PathLike[str]], *, host: str = "127.0.0.1", port: int = 8000, token: str | None = None,
    pictures: bool = True, ready: Callable[[str], None] | None = None, host_names: Sequence[str] = (),
    prober: Prober | None = None, frame_ancestors: Sequence[str] = (),
) -> None:  # fmt: skip
    """Serves sealed atlases until SIGTERM or SIGINT; then answers what it has begun, and ends.

    Without a token, a service on a loopback address answers only to that address and to `host_names`.
    `ready` is called with the address once the atlases are verified; without it, a line says it on standard error.
    `prober`: the probe behind it. `frame_ancestors`: whose pages may frame the figures of `?embed=1`.
    A line of JSON a request goes to standard output. Raises `SettingsError` for an address that cannot be bound, one
    that needs a token, or what cannot frame.
    """
    token = checked_token(host, token)
    for folder in dirs:
        if not Path(folder).is_dir():
            raise SettingsError(f"{os.fspath(folder)}: expected the folder of a sealed atlas")
    listening = bound(host, port)
    Connection.crowd = Crowd(max(64, open_files() - RESERVED_FILES))
    hosts = host_names if token is None else None
    app = create_app(
        dirs, token=token, pictures=pictures, log=sys.stdout.buffer, hosts=hosts, prober=prober,
        frame_ancestors=frame_ancestors,
    )  # fmt: skip
    gc.collect()
    gc.freeze()  # what was laid out lives as long as the process
    gc.set_threshold(20_000, 20, 20)  # an answer is some hundred small dictionaries, none of them in a cycle
    listening.listen(_BACKLOG)
    shown, number = listening.getsockname()[:2]
    (ready or _say)(f"http://{f'[{shown}]' if ':' in shown else shown}:{number}/")
    try:
        _Server(configuration(app)).run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        listening.close()
