"""The probe's page in Chromium: an image of the atlas by one click, a neuron taken out, an own image, a wide and a
narrow window; and what it says without a probe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.app import create_app
from api.probing import Child, Prober
from jobs.probe import command
from tests import tiny_net
from tests.api.browsing import Watched, chromium, needs_chromium
from tests.api.serving import serving


@pytest.fixture(scope="module")
def host(tiny_root: Path, tiny_atlas: Path) -> Iterator[str]:
    flags = {"network": [f"{tiny_net.__file__}:net"], "weights": [str(tiny_root / "weights.safetensors")]}
    child = Child(command([str(tiny_atlas)], flags, "cpu", "1"))
    child.wait()
    with serving(create_app([tiny_atlas], prober=Prober(lambda: child.address, child.token))) as address:
        yield address
    child.stop()


def test_without_a_probe_the_page_says_how_to_start_one(tiny_atlas: Path) -> None:
    with serving(create_app([tiny_atlas])) as address:
        text = httpx.get(f"{address}/atlas/probe").text
    assert "--probe" in text
    assert "probe.js" not in text


@needs_chromium
@pytest.mark.browser
def test_images_are_asked_about(host: str, tiny_root: Path) -> None:
    with chromium() as browser:
        tab = Watched(browser, host)
        page = tab.page
        page.goto(f"{host}/atlas/images/8")
        page.click("text=Probe it")
        page.wait_for_selector("[data-prediction] li")
        assert "image=8" in page.url
        page.select_option("[data-layer]", "block")
        first = page.locator("[data-neurons] tr").first
        first.hover()
        assert page.locator("[data-seen] rect").count() == 2
        first.locator("button").click()
        page.wait_for_selector("text=Without them")
        assert "ablate=block" in page.url
        assert page.locator("[data-seen]").bounding_box()["height"] > 100
        page.click("[data-maps]")
        page.wait_for_selector("[data-grid]:not([hidden])")
        page.set_input_files("[data-file]", str(tiny_root / "images" / "ant" / "003.png"))
        page.wait_for_function("!location.hash.includes('image')")
        page.set_viewport_size({"width": 390, "height": 800})
        page.wait_for_selector("[data-neighbours] li")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert tab.complaints == []
        assert tab.elsewhere == []
        tab.close()
