"""The probe as one replica of many: the application of `probe.server`, in a process that others look after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from probe.server import App, warm
from probe.subjects import open_subject
from probe.work import Desk

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


def open_desk(dirs: Sequence[str], given: Sequence[Mapping[str, Any]], device: str, threads: int) -> Desk:
    """Loads the network of each atlas. `given`: where its originals lie, an atlas each. Raises as `open_subject`."""
    subjects = [open_subject(each, {**mine, "device": device}, threads) for each, mine in zip(dirs, given, strict=True)]
    warm(subjects)
    return Desk(subjects)


class Replica:
    """Holds the networks and answers requests. What holds replicas bounds their number and the questions at once."""

    def __init__(
        self, dirs: Sequence[str], given: Sequence[Mapping[str, Any]], device: str, threads: int, token: str | None
    ) -> None:
        self._desk = open_desk(dirs, given, device, threads)
        self._app = App(self._desk, token)

    async def __call__(self, request: Request) -> Response:
        return await self._app.answer(request)

    async def check_health(self) -> None:
        """Returns once the network's thread has had its turn: a replica whose network hangs is none."""
        await self._desk.compute(lambda: None)
