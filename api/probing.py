"""The probe behind the service: asked over HTTP, with a bounded queue; as a child of this process, looked after."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from api.http.errors import ApiError
from api.http.gate import is_loopback
from atlas.errors import SettingsError
from probe.protocol import OF, PROBLEM, QUEUE, RETRY_SECONDS, TOKEN, identity

if TYPE_CHECKING:
    import httpx

HOW = "start one with `neuron-atlas serve DIR --probe`, or name one with --probe-url"
SECONDS = 120.0
"""How long an answer may take."""
AGAIN = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before a child is started again: the first after it has answered, then the next each time it could not."""
AGAIN_ELSEWHERE = (0.1, 0.5, 1.0)
"""Seconds before a question is asked again that was lost with a replica: questions change nothing, so they may be."""
SAYS = "probing at "
"""How the line begins in which a probe says its address."""


class Prober:
    """Asks a probe. `address` says where it is now; None while there is none."""

    def __init__(self, address: Callable[[], str | None], token: str | None) -> None:
        self.address = address
        self._headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self._waiting = 0
        self._client: tuple[asyncio.AbstractEventLoop, httpx.AsyncClient] | None = None

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place in the queue, held while a body is received and answered. Raises `ApiError` 429, 503."""
        if self.address() is None:
            raise ApiError(503, "the probe is being started; ask again", _again(5))
        if self._waiting >= QUEUE:
            raise ApiError(429, "the probe's queue is full; ask again", _again())
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def ask(
        self, method: str, path: str, about: Mapping[str, Any], *, body: bytes = b"", seconds: float = SECONDS
    ) -> httpx.Response:
        """The probe's answer about the atlas of `about` (its atlas.json). Raises `ApiError` with what it refuses."""
        import httpx

        address = self.address()
        if address is None:
            raise ApiError(503, "the probe is being started; ask again", _again(5))
        headers = {**self._headers, OF: str(identity(about))}
        question = partial(
            self._open().request, method, address.rstrip("/") + path, content=body, headers=headers, timeout=seconds
        )
        try:
            answer = await question()
            for pause in AGAIN_ELSEWHERE:
                if not _lost(answer):
                    break
                await asyncio.sleep(pause)
                answer = await question()
        except httpx.TimeoutException:
            raise ApiError(504, f"the probe has not answered within {seconds:.0f} s; ask again", _again(5)) from None
        except httpx.HTTPError:
            raise ApiError(503, "the probe cannot be reached; ask again in a while", _again(5)) from None
        if answer.status_code != 200:
            raise _refused(answer)
        return answer

    async def state(self, about: Mapping[str, Any]) -> str | None:
        """Why the probe does not answer about an atlas; None where it does."""
        try:
            answer = await self.ask("GET", "/health", about, seconds=2)
            known = answer.json()["atlases"].values()
        except (ApiError, ValueError, KeyError) as error:
            return str(error)
        if str(identity(about)) not in known:
            return "the probe has not loaded this atlas"
        return None

    async def close(self) -> None:
        if self._client is not None:
            await self._client[1].aclose()
            self._client = None

    def _open(self) -> httpx.AsyncClient:
        import httpx

        loop = asyncio.get_running_loop()
        if self._client is None or self._client[0] is not loop:
            limits = httpx.Limits(max_connections=QUEUE + 8, max_keepalive_connections=QUEUE)
            self._client = loop, httpx.AsyncClient(limits=limits, trust_env=False)
        return self._client[1]


def at_url(url: str) -> Prober:
    """A probe that runs elsewhere, with the secret of the environment. Raises `SettingsError`."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"--probe-url {url}: expected http://HOST:PORT or https://…")
    token = os.environ.get(TOKEN) or None
    if token is None and not is_loopback(parts.hostname):
        raise SettingsError(f"--probe-url {url}: beyond this machine a secret is needed; set {TOKEN}, here and there")
    return Prober(lambda: url, token)


def _again(seconds: int = RETRY_SECONDS) -> dict[str, str]:
    return {"Retry-After": str(seconds)}


def _lost(answer: httpx.Response) -> bool:
    """Whether a question had no answer of a probe: its replica ended under it, and what stands before it says so."""
    return answer.status_code >= 500 and not answer.headers.get("content-type", "").startswith(PROBLEM)


def _refused(answer: httpx.Response) -> ApiError:
    """What the probe says of a question, as the service says it; its own secret is not the caller's business."""
    if answer.status_code in (401, 403):
        return ApiError(503, f"the probe does not take this service's secret; set the same {TOKEN} for both")
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = "no reason was given"
    again = answer.headers.get("retry-after", "5" if _lost(answer) else None)
    status = answer.status_code if 400 <= answer.status_code < 500 else 503
    return ApiError(status, detail, {} if again is None else {"Retry-After": again})


class Child:
    """A probe as a child of this process, on loopback with a secret of its own; started again when it ends.

    `command` is run with `TOKEN` in its environment; it says its address on standard error, and ends when its standard
    input does.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self.token = secrets.token_urlsafe(32)
        self._address: str | None = None
        self._stopped = threading.Event()
        self._ready = threading.Event()
        self._last = ""
        self._process = self._start()
        self._thread = threading.Thread(target=self._watch, name="probe", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str | None:
        """Where it answers; None while it is being started."""
        return self._address

    @property
    def process_id(self) -> int:
        return self._process.pid

    def wait(self) -> None:
        """Until it answers for the first time. Raises `SettingsError` with its last words where it ends instead."""
        self._ready.wait()
        if self._address is None and self._process.poll() is not None:
            self.stop()
            raise SettingsError(f"--probe: {self._last.removeprefix('neuron-atlas: ') or 'it ended at once'}")

    def stop(self) -> None:
        """Ends it."""
        self._stopped.set()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._thread.join(timeout=10)

    def _start(self) -> subprocess.Popen[str]:
        environment = {**os.environ, TOKEN: self.token}
        environment.pop("NEURON_ATLAS_TOKEN", None)  # callers' token is no business of the probe
        return subprocess.Popen(
            self._command, env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
        )

    def _watch(self) -> None:
        failures = 0
        while True:
            began = self._listen()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stderr):
                assert pipe is not None
                pipe.close()
            self._address = None
            first = not self._ready.is_set()
            self._ready.set()
            if first or self._stopped.is_set():
                return
            failures = 0 if began else failures + 1
            print(f"the probe has ended ({self._process.returncode}); it is started again", file=sys.stderr, flush=True)
            if self._stopped.wait(AGAIN[min(failures, len(AGAIN) - 1)]):
                return
            self._process = self._start()

    def _listen(self) -> bool:
        """Hands on what the child says until it ends; whether it began to answer."""
        began = False
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if line.startswith(SAYS):
                self._address, began = line.removeprefix(SAYS).strip(), True
                self._ready.set()
            else:
                self._last = line.strip() or self._last
                sys.stderr.write(line)
        return began
