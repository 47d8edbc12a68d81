"""A real service on a free port of this machine, for as long as a test needs it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from api.server import configuration


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
