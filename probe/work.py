"""The threads of a probe: images are decoded a few at a time, the networks run one question at a time.

So a question's answer does not depend on who else asks, memory is bounded by the queue, and a full queue says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from atlas.errors import NotFoundError
from probe import answer
from probe.protocol import QUEUE, Asked, Busy
from probe.subjects import Subject

T = TypeVar("T")
DECODING = 2
"""Images decoded at once: each may hold as many pixels as the decoder takes."""


class Desk:
    """Where questions are answered. `subjects`: the atlases, by name."""

    def __init__(self, subjects: Sequence[Subject], queue: int = QUEUE) -> None:
        self.subjects = {subject.name: subject for subject in subjects}
        self._queue, self._waiting = queue, 0
        self._decoding = ThreadPoolExecutor(DECODING, thread_name_prefix="decode")
        self._network = ThreadPoolExecutor(1, thread_name_prefix="network")

    @property
    def waiting(self) -> int:
        """Questions that wait or are being answered."""
        return self._waiting

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue. Raises `Busy`."""
        if self._waiting >= self._queue:
            raise Busy
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    def subject(self, name: str, of: str | None = None) -> Subject:
        """An atlas by its identity, as the service says it, else by its name. Raises `NotFoundError`."""
        meant = next((subject for subject in self.subjects.values() if str(subject.identity) == of), None)
        if meant is not None:
            return meant
        if name not in self.subjects:
            raise NotFoundError(f"atlas {name[:100]!r}: the probe has loaded {', '.join(self.subjects)}")
        return self.subjects[name]

    async def decode(self, work: Callable[[], T]) -> T:
        """Runs what decodes an image."""
        return await asyncio.get_running_loop().run_in_executor(self._decoding, work)

    async def compute(self, work: Callable[[], T]) -> T:
        """Runs what needs a network."""
        return await asyncio.get_running_loop().run_in_executor(self._network, work)

    async def answer(self, subject: Subject, body: bytes, asked: Asked) -> answer.Told:
        """The answer to a question. Raises `ImageError`, `InputError`, `NotFoundError`."""
        seen = await self.decode(lambda: answer.see(subject, body))
        return await self.compute(lambda: answer.tell(subject, seen, asked))

    def close(self) -> None:
        self._decoding.shutdown(cancel_futures=True)
        self._network.shutdown(cancel_futures=True)
