"""Dear answers do not hold up cheap ones, and are bounded in number."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from api import routes
from api.app import create_app
from api.http.dear import AT_ONCE, RETRY_SECONDS, Dear
from api.http.errors import ApiError
from api.views.sectioned import answer
from tests.api.serving import serving

A = "/api/v1/atlases/plain"
REQUESTS = 60


def asked_at_once(atlases: Path, monkeypatch: pytest.MonkeyPatch, dear: Dear) -> tuple[float, int]:
    """Seconds of the slowest cheap answers (p99) while sixty dear ones are asked for; most that were made at once."""
    making: list[None] = []
    most = [0]

    def burn(view: Any, call: Any) -> Any:
        if view.name == "images":
            making.append(None)
            most.append(len(making))
            end = time.thread_time() + 0.02
            while time.thread_time() < end:
                pass
            making.pop()
        return answer(view, call)

    monkeypatch.setattr(routes, "answer", burn)
    monkeypatch.setattr(routes, "Dear", lambda: dear)
    took = []
    with serving(create_app([atlases / "plain"])) as address, httpx.Client(base_url=address, timeout=60) as client:
        client.get("/livez")
        with ThreadPoolExecutor(REQUESTS) as pool:
            asked = [pool.submit(httpx.get, f"{address}{A}/images", timeout=60) for _ in range(REQUESTS)]
            while not all(each.done() for each in asked):
                for path in ("/livez", f"{A}/neurons/conv1/1"):
                    begin = time.perf_counter()
                    assert client.get(path).status_code == 200
                    took.append(time.perf_counter() - begin)
            assert {each.result().status_code for each in asked} == {200}
    monkeypatch.undo()
    return float(np.quantile(took, 0.99)), max(most)


def test_cheap_answers_do_not_queue_behind_dear_ones(atlases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without, many = asked_at_once(atlases, monkeypatch, Dear(at_once=REQUESTS))
    bounded, few = asked_at_once(atlases, monkeypatch, Dear())
    assert few <= AT_ONCE < many
    assert bounded < without / 2 or bounded < 0.25, (bounded, without)


def test_beyond_the_bound_it_is_503_with_a_time() -> None:
    go = threading.Event()

    async def several() -> list[Any]:
        dear = Dear(at_once=1, waiting=2)
        asked = [asyncio.create_task(dear.run(go.wait)) for _ in range(4)]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        go.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        return [*found, await dear.run(lambda: "free again")]

    *answered, refused, again = asyncio.run(several())
    assert answered == [True] * 3
    assert isinstance(refused, ApiError)
    assert refused.status == 503
    assert refused.headers == {"Retry-After": str(RETRY_SECONDS)}
    assert again == "free again"
