"""Debian's Chromium by Playwright: pages that note what a browser complains of, and whom it asks."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(__file__).parents[2] / "api/web/node_modules/axe-core/axe.min.js"
MAP = Path(__file__).parents[2] / "api/web/dist/map.js"
ARGUMENTS = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
needs_axe = pytest.mark.skipif(not AXE.is_file(), reason="needs axe-core: run python api/web/build.py")
needs_map = pytest.mark.skipif(not MAP.is_file(), reason="needs the map's script: run python api/web/build.py")


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser for the tests of a module."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


class Watched:
    """A page whose complaints and requests are noted. `host` is the only one it may ask."""

    def __init__(self, browser: Any, host: str, **options: Any) -> None:
        self.host = host
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._asked)
        self.page.on("response", self._answered)

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning") and "GL Driver Message" not in message.text:
            self.complaints.append(message.text)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.host, "data:", "blob:")):
            self.elsewhere.append(request.url)

    def _answered(self, response: Any) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.status} {response.url}")

    def open(self, path: str, wait: str = "networkidle") -> Any:
        """Goes to a page of the host."""
        self.page.goto(self.host + path)
        self.page.wait_for_load_state(wait)
        return self.page

    def close(self) -> None:
        """Asserts that nothing was complained of, and nobody else asked."""
        self.context.close()
        assert self.complaints == []
        assert self.elsewhere == []


def until(page: Any, holds: str, seconds: float = 20) -> None:
    """Waits until a condition holds in the page. (Playwright's own way needs eval, which the pages forbid.)"""
    end = time.monotonic() + seconds
    while not page.evaluate(f"() => Boolean({holds})"):
        assert time.monotonic() < end, f"never: {holds}"
        page.wait_for_timeout(30)
