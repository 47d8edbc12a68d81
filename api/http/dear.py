"""Dear answers, which read more than a few rows: a few at once, a bounded number waiting, the rest told to come back.

What is cheap is answered on the event loop, and waits for none of them; the interpreter's lock is shared with as few
threads as there are dear answers at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from fastapi.concurrency import run_in_threadpool

from api.http.errors import ApiError

AT_ONCE = 2
WAITING = 64
RETRY_SECONDS = 2
T = TypeVar("T")


class Dear:
    """Runs dear answers of one service in threads, `at_once` of them, while `waiting` more may wait."""

    def __init__(self, at_once: int = AT_ONCE, waiting: int = WAITING) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._most = at_once + waiting
        self._count = 0

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` gives. Raises `ApiError` 503 with Retry-After where too many wait already."""
        if self._count >= self._most:
            detail = f"{self._count} answers as dear as this one are being made; try again in {RETRY_SECONDS} s"
            raise ApiError(503, detail, {"Retry-After": str(RETRY_SECONDS)})
        self._count += 1
        try:
            async with self._free:
                return await run_in_threadpool(work)
        finally:
            self._count -= 1
