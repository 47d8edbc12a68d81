"""The map in a real browser: zooms into pictures, picks the point under the pointer, lights up a class, obeys keys."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.browsing import MAP, Watched, needs_chromium, needs_map, until

pytestmark = [pytest.mark.browser, needs_chromium]


def ready(page: Any) -> Any:
    page.wait_for_selector("#map[data-ready]")
    return page.locator("#map")


@needs_map
def test_the_map_zooms_into_pictures_and_comes_back(watched: Watched) -> None:
    page = watched.open("/shown/map")
    field = ready(page)
    assert field.get_attribute("data-ready") == "130"
    assert field.get_attribute("data-pictures") == "0"
    box = field.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for _ in range(6):
        page.mouse.wheel(0, -240)
        page.wait_for_timeout(40)
    until(page, "Number(document.getElementById('map').dataset.pictures) > 0")
    until(page, "location.hash.includes('z=')")
    page.wait_for_timeout(700)
    zoom, address = float(field.get_attribute("data-zoom")), page.url
    assert zoom > 1.5
    page.goto("about:blank")
    page.goto(address)
    field = ready(page)
    until(page, "Number(document.getElementById('map').dataset.pictures) > 0")
    assert float(field.get_attribute("data-zoom")) == pytest.approx(zoom, rel=0.01)


@needs_map
def test_the_map_draws_points_and_picks_the_one_under_the_pointer(watched: Watched) -> None:
    page = watched.open("/shown/map")
    box = ready(page).bounding_box()
    model = page.evaluate("fetch('/api/v1/atlases/shown/map?kind=tsne').then(answer => answer.json())")
    xs, ys = model["x"], model["y"]
    half = max(max(xs) - min(xs), max(ys) - min(ys)) / 2
    base = 0.46 * min(box["width"], box["height"])
    at = max(range(len(xs)), key=lambda i: xs[i])  # the point at the right edge stands alone
    x = box["x"] + 1 + (box["width"] - 2) / 2 + base * (xs[at] - (max(xs) + min(xs)) / 2) / half
    y = box["y"] + 1 + (box["height"] - 2) / 2 + base * (ys[at] - (max(ys) + min(ys)) / 2) / half
    page.mouse.move(x, y)
    page.wait_for_selector("#map-tip:not([hidden])")
    with page.expect_navigation():
        page.mouse.click(x, y)
    assert page.url.endswith(f"/shown/images/{model['image_id'][at]}")


@needs_map
def test_a_picture_of_the_map_opens_its_image(watched: Watched) -> None:
    page = watched.open("/shown/map#x=0&y=0&z=3")
    ready(page)
    link = page.locator(".map-thumbs a").first
    link.wait_for()
    wanted = link.get_attribute("href")
    link.evaluate("each => each.focus()")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.url.endswith(str(wanted))


@needs_map
def test_the_map_lights_up_a_class_and_lays_out_a_grid(watched: Watched) -> None:
    page = watched.open("/shown/map")
    ready(page)
    page.locator(".legend button", has_text="bear").click()
    until(page, "location.hash.includes('class=1')")
    page.locator("#map-grid").check()
    until(page, "location.hash.includes('grid=1')")
    until(page, "document.getElementById('map').dataset.pictures === '130'")
    page.reload()
    ready(page)
    assert page.locator("#map-grid").is_checked()
    assert page.locator(".legend button[aria-pressed=true]").inner_text() == "bear"


@needs_map
def test_the_map_moves_by_keys(watched: Watched) -> None:
    page = watched.open("/shown/map")
    field = ready(page)
    field.focus()
    for key in ("+", "+", "ArrowRight"):
        page.keyboard.press(key)
    until(page, "location.hash.includes('x=')")
    assert float(field.get_attribute("data-zoom")) == pytest.approx(1.96, rel=0.01)
    page.keyboard.press("0")
    until(page, "location.hash === ''")


def test_the_map_says_what_it_needs_without_script(scriptless: Watched) -> None:
    page = scriptless.open("/shown/map")
    assert "JavaScript" in page.locator("#map-status").inner_text() or not MAP.is_file()
