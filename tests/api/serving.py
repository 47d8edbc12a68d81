"""A real service on a free port of this machine, for as long as a test needs it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from pydantic import TypeAdapter

from api import views
from api.server import configuration
from api.views.sectioned import model


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serves an ASGI application from a thread; gives its address without a slash at the end."""
    listener = socket.create_server(("127.0.0.1", 0))
    settings = configuration(app)
    settings.timeout_graceful_shutdown = 2
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the service did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()


def documented(client: httpx.Client, path: str, name: str) -> Any:
    """The JSON at a path; its fields are those of the view of that name, none missing and none unknown."""
    answer = client.get(path)
    assert answer.status_code == 200, (path, answer.text)
    view = next(view for view in views.VIEWS if view.name == name)
    TypeAdapter(model(view)).validate_python(answer.json(), strict=True)
    return answer.json()


def page(client: httpx.Client, path: str) -> str:
    """The page at a path."""
    answer = client.get(path, headers={"accept": "text/html"})
    assert answer.status_code == 200, answer.text
    return answer.text


def raw(address: str, request: bytes, timeout: float = 10) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to bytes that no client library would send."""
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=timeout) as connection:
        connection.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received:
            more = connection.recv(65536)
            if not more:
                break
            received += more
        head, _, body = received.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        while len(body) < int(headers.get("content-length", "0")):
            more = connection.recv(65536)
            if not more:
                break
            body += more
    return int(lines[0].split(" ")[1]), headers, body
