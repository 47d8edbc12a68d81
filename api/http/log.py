"""The log of requests: a line of JSON each."""

from __future__ import annotations

import asyncio
import datetime
from typing import IO, Any

import orjson

_DELAY = 0.5  # seconds that lines may wait
_LONGEST = 500  # characters of a path that are kept


class RequestLog:
    """Writes lines to a binary stream, some at a time. Without a stream it writes nothing."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self._stream = stream
        self._lines: list[bytes] = []
        self._waiting = False

    def write(self, **values: Any) -> None:
        """One line. Control characters are escaped, as JSON does."""
        if self._stream is None:
            return
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        self._lines.append(orjson.dumps({"time": now, **values}))
        if not self._waiting:
            self._waiting = True
            asyncio.get_running_loop().call_later(_DELAY, self.flush)

    def flush(self) -> None:
        """Writes what waits."""
        self._waiting = False
        lines, self._lines = self._lines, []
        if self._stream is not None and lines:
            try:
                self._stream.write(b"\n".join(lines) + b"\n")
                self._stream.flush()
            except OSError:
                self._stream = None  # nobody reads any more; the service goes on


def shown(path: bytes) -> str:
    """A path as the log shows it."""
    return path[:_LONGEST].decode("latin-1")
