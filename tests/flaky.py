"""An object store in this process that has bad days: calls fail, before or after they took effect, or are late."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

_BUSY = b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>'


@dataclass
class Flaky:
    """A WSGI application before another one. `failing` and `late` are shares of the calls."""

    application: Any
    failing: float
    late: float
    seconds: float
    calls: int = 0
    failed: int = 0
    delayed: int = 0
    log: list[str] = field(default_factory=list)
    sizes: list[tuple[str, int]] = field(default_factory=list)
    """Each call with the bytes of its body."""
    _random: random.Random = field(default_factory=lambda: random.Random(0))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with self._lock:
            self.calls += 1
            self.log.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
            length = environ.get("HTTP_X_AMZ_DECODED_CONTENT_LENGTH") or environ.get("CONTENT_LENGTH")
            self.sizes.append((self.log[-1], int(length or 0)))
            chance, after, late = self._random.random(), self._random.random() < 0.5, self._random.random() < self.late
            self.failed += chance < self.failing
            self.delayed += late
        if late:
            time.sleep(self.seconds)
        if chance < self.failing and not after:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            return _fail(start_response)
        if chance < self.failing:  # it took effect, but the answer is lost
            list(self.application(environ, lambda *ignored: None))
            return _fail(start_response)
        return self.application(environ, start_response)  # type: ignore[no-any-return]


def _fail(start_response: Any) -> Iterable[bytes]:
    start_response("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(_BUSY)))])
    return [_BUSY]


class _Silent(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Says nothing."""


@contextmanager
def flaky_store(failing: float = 0.05, late: float = 0.05, seconds: float = 2.0) -> Iterator[tuple[str, Flaky]]:
    """Address of a flaky store over moto's, and its counts. All moto servers of a process share their buckets."""
    from moto.server import DomainDispatcherApplication, create_backend_app

    flaky = Flaky(DomainDispatcherApplication(create_backend_app), failing, late, seconds)
    server = make_server("127.0.0.1", 0, flaky, threaded=True, request_handler=_Silent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", flaky
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
