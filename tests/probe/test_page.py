"""The probe's page in Chromium: an image of the atlas by one click, a neuron taken out, an own image, a wide and a
narrow window; and what it says without a probe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from api.probing import Child, Prober
from jobs.probe import command
from tests import tiny_net
from tests.api.browsing import Watched, chromium, needs_chromium, until
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


@needs_chromium
@pytest.mark.browser
def test_pictures_that_were_not_made_are_drawn_when_they_are_looked_at(host: str, tiny_atlas: Path) -> None:
    neuron = httpx.get(f"{host}/api/v1/atlases/atlas/neurons/conv1/1").json()
    assert "lrp" not in neuron["examples"]["max"][0]["pictures"]
    with serving(create_app([tiny_atlas])) as alone:
        assert "data-ask" not in httpx.get(f"{alone}/atlas/neurons/conv1/1").text
    with chromium() as browser:
        tab = Watched(browser, host)
        page = tab.open("/atlas/neurons/conv1/1")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        count = page.locator("[data-ask*='kind=lrp']").count()
        assert count == len(neuron["examples"]["max"]) > 0
        assert asked == []
        page.locator("input[name=view][value=lrp]").check()
        until(page, f"document.querySelectorAll('.v img[src^=\"data:image\"]').length === {count}")
        assert all("kind=lrp" in url for url in asked if "/probe/" in url)
        drawn = page.locator(".v:has(img[src^='data:image'])")
        assert "sufficiency" in drawn.first.get_attribute("title")
        assert "source frame" in drawn.first.get_attribute("title")  # this probe has not the originals
        assert page.locator(".v .says", has_text="approximate").count() == count
        tab.close()


@needs_chromium
@pytest.mark.browser
def test_what_a_probe_draws_from_the_original_is_not_approximate(host: str) -> None:
    with chromium() as browser:
        tab = Watched(browser, host)

        def original(route: Any) -> None:
            answer = route.fetch()
            route.fulfill(response=answer, headers={**answer.headers, "neuron-atlas-source": "original"})

        tab.page.route("**/probe/pictures?*rank=0*", original)
        page = tab.open("/atlas/neurons/conv1/1?embed=1#view=lrp")
        count = len(httpx.get(f"{host}/api/v1/atlases/atlas/neurons/conv1/1").json()["examples"]["max"])
        until(page, f"document.querySelectorAll('.v img[src^=\"data:image\"]').length === {count}")
        marks = page.locator(".side-max .v:has(img[src^='data:image']) .says", has_text="approximate")
        assert marks.count() == count - 1
        assert marks.first.is_visible()
        tab.close()
