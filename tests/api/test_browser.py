"""The pages in a real browser: walls scroll, switches switch, the map zooms and picks, links restore, all without
complaint, and without script all but the map."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from atlas.explain.kinds import SHOWN
from tests.api.browsing import AXE, Watched, needs_axe, needs_chromium, until

pytestmark = [pytest.mark.browser, needs_chromium]
PLACES = (
    "/", "/shown", "/shown/layers", "/shown/layers/conv1", "/shown/layers/conv1/filters", "/shown/neurons/conv1/7",
    "/shown/images", "/shown/images/5", "/shown/images/5/neighbours", "/shown/classes", "/shown/classes/2",
    "/shown/map", "/shown/search?q=ape", "/shown/quarantine", "/shown/sanity",
)  # fmt: skip


@pytest.mark.slow
@needs_axe
@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (2560, "light")])
def test_pages_fit_any_window_for_everybody(browser: Any, host: str, width: int, scheme: str) -> None:
    """No complaint, nothing wider than the window, nothing serious found by axe, a small first screen."""
    axe = AXE.read_text("utf-8")
    for place in PLACES:
        tab = Watched(browser, host, viewport={"width": width, "height": 800}, color_scheme=scheme)
        weights: list[int] = []
        tab.page.on(
            "response",
            lambda r, w=weights: w.append(len(r.body())) if r.request.resource_type != "image" else None,
        )
        page = tab.open(place)
        assert sum(weights) < 300_000, place
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), place
        assert page.locator("h1").inner_text(), place
        page.evaluate(axe)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        serious = [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")]
        assert serious == [], place
        tab.close()


def numbers(page: Any) -> list[int]:
    found = page.eval_on_selector_all(".wall .tile", "tiles => tiles.map(tile => tile.id.slice(1))")
    return [int(each) for each in found]


def test_a_wall_goes_on_as_one_scrolls(watched: Watched) -> None:
    page = watched.open("/shown/layers/conv1")
    for _ in range(30):
        if len(numbers(page)) == 150:
            break
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        page.wait_for_timeout(100)
    assert numbers(page) == list(range(150))
    assert page.locator(".more").count() == 0
    until(page, "location.search.includes('cursor=')")
    page.reload()
    assert numbers(page)[0] > 0  # the URL brings back the part of the wall that was in view
    page.locator("a", has_text="from the first").click()
    assert numbers(page)[0] == 0


def test_a_wall_is_paged_without_script(scriptless: Watched) -> None:
    page = scriptless.open("/shown/layers/conv1?sort=channel&order=desc")
    seen = numbers(page)
    while page.locator(".more a[rel=next]").count():
        with page.expect_navigation(wait_until="load"):
            page.locator(".more a[rel=next]").click()
        seen += numbers(page)
    assert seen == list(range(149, -1, -1))


def test_choices_of_a_wall_stand_in_the_url_and_come_back(watched: Watched) -> None:
    page = watched.open("/shown/layers/fc")
    with page.expect_navigation():
        page.select_option("select[name=sort]", "max")
    with page.expect_navigation():
        page.select_option("select[name=order]", "asc")
    assert re.search(r"\?sort=max&order=asc", page.url)
    with page.expect_navigation():
        page.select_option("select[name=class]", "2")
    assert "class=2" in page.url
    page.reload()
    chosen = page.eval_on_selector_all("form[data-live] select", "all => all.map(each => each.value)")
    assert chosen == ["max", "asc", "", "", "2"]  # sort, order, kind of picture, dead, class


def test_crops_turn_into_projections(watched: Watched) -> None:
    page = watched.open("/shown/layers/fc")
    over = page.locator(".tile .over")
    assert not over.nth(1).is_visible()
    page.locator(".tile").nth(1).hover()
    assert over.nth(1).is_visible()
    assert not over.nth(2).is_visible()
    page.locator(".tile a").nth(2).focus()
    assert over.nth(2).is_visible()
    page.locator("label:has(#show-projections)").click()
    page.mouse.move(0, 0)
    assert over.nth(5).is_visible()
    page.wait_for_url("**#show=projections")
    page.reload()
    assert over.nth(5).is_visible()


def test_tiles_have_their_place_before_their_pictures_come(watched: Watched) -> None:
    watched.page.route("**/pictures/**", lambda route: route.abort())
    page = watched.open("/shown/layers/fc", "load")
    boxes = [page.locator(".tile .nine:not(.over)").nth(i).bounding_box() for i in (0, 5)]
    assert all(box["height"] > 100 and abs(box["height"] - box["width"]) < 2 for box in boxes)
    watched.complaints.clear()  # the pictures that were refused here


def shown(page: Any) -> set[str]:
    """Kinds of picture that are visible beside the first crop of the side that is shown."""
    places = page.eval_on_selector_all(
        ".side .pair:first-child .seen .v",
        "all => all.filter(each => each.checkVisibility()).map(each => each.className.replace('v v-', ''))",
    )
    return {place if place == "whole" else SHOWN[int(place)] for place in places}


@pytest.mark.parametrize("script", [True, False])
def test_switches_of_a_neuron_switch(browser: Any, host: str, script: bool) -> None:
    tab = Watched(browser, host, java_script_enabled=script)
    page = tab.open("/shown/neurons/conv1/7")
    visible = page.locator(".side:visible")
    for kind in ("guided", "gradient", "gradient_max", "occlusion", "whole", "deconvnet"):
        page.locator(f"label:has([name=view][value={kind}])").click()
        place = "whole" if kind == "whole" else SHOWN.index(kind)
        assert page.locator(f".side-max .v-{place}").first.is_visible()
        assert page.locator(".side-max .pair").first.locator(".seen .v:visible").count() == 1
    for side in ("min", "spread", "near", "max"):
        page.locator(f"label:has(#side-{side})").click()
        assert visible.count() == 1
        assert f"side-{side}" in str(visible.get_attribute("class"))
    tab.close()


def test_a_neurons_switches_come_back_from_the_url(watched: Watched) -> None:
    page = watched.open("/shown/neurons/conv1/7#side=max&view=guided")
    assert shown(page) == {"guided"}
    page.locator("label:has(#side-spread)").click()
    page.wait_for_url("**#side=spread&view=guided")
    assert shown(page) == {"whole"}
    page.reload()
    assert page.locator(".side-spread").is_visible()


def test_projections_and_crops_stand_at_one_scale(watched: Watched) -> None:
    page = watched.open("/shown/neurons/conv1/7")
    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 800})
        for i in (0, 4, 8):
            pair = page.locator(".side-max .pair").nth(i)
            seen, crop = pair.locator(".seen").bounding_box(), pair.locator(".crop").bounding_box()
            assert seen["width"] == pytest.approx(crop["width"], abs=0.6)
            assert seen["y"] == pytest.approx(crop["y"], abs=0.6)
            assert seen["x"] < crop["x"]


def test_arrow_keys_go_to_the_neighbours(watched: Watched) -> None:
    page = watched.open("/shown/neurons/conv1/7#view=gradient")
    with page.expect_navigation():
        page.keyboard.press("ArrowRight")
    assert page.url.endswith("/shown/neurons/conv1/8#view=gradient")
    assert shown(page) == {"gradient"}
    with page.expect_navigation():
        page.keyboard.press("ArrowLeft")
    page.locator("[name=view][value=gradient]").focus()
    page.keyboard.press("ArrowRight")  # within a switch the keys belong to it
    page.wait_for_url("**/shown/neurons/conv1/7#view=gradient_max")  # said a moment after the key


def test_the_field_of_a_whole_image_lies_where_the_model_says(watched: Watched) -> None:
    page = watched.open("/shown/neurons/conv1/7#view=whole")
    model = page.evaluate("fetch('/api/v1/atlases/shown/neurons/conv1/7').then(answer => answer.json())")
    example = model["examples"]["max"][0]
    first = page.locator(".side-max .pair").first
    tile, field = first.locator(".seen").bounding_box(), first.locator(".seen .box-over").bounding_box()
    scale = tile["width"] / max(example["width"], example["height"])
    left = (tile["width"] - example["width"] * scale) / 2
    assert field["x"] - tile["x"] == pytest.approx(left + example["box"]["left"] * scale, abs=2)
    assert field["width"] == pytest.approx((example["box"]["right"] - example["box"]["left"]) * scale, abs=4)
    assert first.locator(".seen .says").inner_text() != ""


def test_a_field_lights_up_on_the_image(watched: Watched) -> None:
    page = watched.open("/shown/images/5")
    link = page.locator("[data-spot]").nth(3)
    spot = page.locator(f'[id="{link.get_attribute("data-spot")}"] .lit')
    assert spot.evaluate("each => getComputedStyle(each).opacity") == "0"
    link.hover()
    assert spot.evaluate("each => getComputedStyle(each).opacity") == "1"
    page.mouse.move(0, 0)
    link.focus()
    assert spot.evaluate("each => getComputedStyle(each).opacity") == "1"


def test_a_field_lights_up_under_the_pointer_without_script(scriptless: Watched) -> None:
    page = scriptless.open("/shown/images/5")
    spot = page.locator(".spot").last
    spot.hover(force=True)
    assert page.locator(".spot:hover .lit").count() == 1


def test_search_suggests(watched: Watched) -> None:
    page = watched.open("/shown")
    page.keyboard.press("/")
    page.keyboard.type("conv1 4", delay=10)
    option = page.locator("[role=option]").first
    option.wait_for()
    assert "conv1 4" in option.inner_text()
    page.keyboard.press("ArrowDown")
    assert option.get_attribute("aria-selected") == "true"
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.url.endswith("/shown/neurons/conv1/4")


def test_search_finds_without_script(scriptless: Watched) -> None:
    page = scriptless.open("/shown")
    page.fill("input[name=q]", "bear")
    page.press("input[name=q]", "Enter")
    page.locator("main a", has_text="bear").first.click()
    page.wait_for_url("**/shown/classes/1")


def test_what_is_not_served_is_said(watched: Watched) -> None:
    page = watched.open("/")
    assert page.locator(".card.away").count() == 1
    assert "failed its verification" in page.locator(".card.away").inner_text()


PAINTED = """() => new Promise((done) => {
  const start = performance.getEntriesByType("navigation")[0].responseEnd;
  const tiles = [...document.querySelectorAll(".wall .tile")].slice(0, 60);
  const wanted = () => tiles.flatMap((tile) => [...tile.querySelectorAll(".nine:not(.over) img")])
    .filter((image) => { const box = image.getBoundingClientRect(); return box.top < innerHeight && box.bottom > 0; });
  const look = () => wanted().every((image) => image.complete && image.naturalWidth)
    ? requestAnimationFrame(() => done([performance.now() - start, tiles.length, wanted().length]))
    : setTimeout(look, 5);
  look();
})"""


def test_a_wall_of_a_thousand_is_there_within_a_second(browser: Any, host: str) -> None:
    """The first sixty tiles laid out, and all that the window shows of them painted; the best of five visits."""
    best = float("inf")
    for _ in range(5):
        tab = Watched(browser, host, viewport={"width": 1280, "height": 1600})
        tab.page.goto(f"{host}/shown/layers/wide", wait_until="commit")
        tab.page.wait_for_selector(".wall .tile:nth-child(60)", state="attached")
        took, tiles, pictures = tab.page.evaluate(PAINTED)
        best = min(best, took)
        assert tiles == 60
        assert pictures > 200
        tab.context.close()
    shared = (os.cpu_count() or 1) / max(os.getloadavg()[0], 0.1)  # a machine that others use has less than a second
    assert best < 1000 / min(shared, 1)


def test_names_do_not_run(watched: Watched) -> None:
    said: list[str] = []
    watched.page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page = watched.open("/shown/classes/2")
    assert page.locator("h1").inner_text() == "<script>alert(1)</script>"
    assert said == []
