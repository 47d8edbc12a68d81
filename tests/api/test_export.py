"""A static site: every page there, every link relative and leading to a file, pictures as they are in the packs."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pytest

from api.export import export
from atlas.errors import FolderError, InputError
from tests import constructed
from tests.api.browsing import Watched, chromium, needs_chromium, needs_map

SHAPE = constructed.Shape(
    name="shown", layers=(("conv1", 70), ("a/b@2", 5), ("100%", 4)), images=130, classes=("<b>ape</b>", "bear"), k=3
)
LINK = re.compile(r'\s(?:href|src|action|data-points|data-index)="([^"]*)"')


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return constructed.write(tmp_path_factory.mktemp("export") / "shown", SHAPE)


@pytest.fixture(scope="module")
def site(folder: Path) -> Path:
    out = folder.parent / "site"
    counts = export(folder, out)
    assert counts["pages"] == sum(1 for _ in out.rglob("*.html"))
    return out


def pages(site: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(site.rglob("*.html")):
        yield path, path.read_text("utf-8")


def test_no_page_is_missing(site: Path) -> None:
    there = {str(path.relative_to(site)) for path, _ in pages(site)}
    wanted = {"index.html", "layers.html", "classes.html", "quarantine.html", "sanity.html", "search.html"}
    wanted |= {f"neurons/conv1/{channel}.html" for channel in range(70)}
    wanted |= {f"neurons/a%2Fb@2/{channel}.html" for channel in range(5)}
    wanted |= {f"neurons/100%25/{channel}.html" for channel in range(4)}
    wanted |= {f"images/{image_id}.html" for image_id in range(1, 131)}
    wanted |= {f"images/{image_id}/neighbours.html" for image_id in range(1, 131)}
    wanted |= {"classes/0.html", "classes/1.html", "map/tsne.html", "map/pca.html", "images.html", "images-2.html"}
    wanted |= {"layers/conv1.html", "layers/conv1-2.html", "layers/conv1/max.html", "layers/conv1/max-2.html"}
    assert wanted <= there


def test_every_link_is_relative_and_leads_to_a_file(site: Path) -> None:
    for path, text in pages(site):
        for raw in LINK.findall(text):
            address = html.unescape(raw)
            if address.startswith("#"):
                continue
            split = urlsplit(address)
            assert not split.scheme, (path, address)
            assert not split.netloc, (path, address)
            assert not address.startswith("/"), (path, address)
            target = (path.parent / unquote(split.path)).resolve()
            assert target.is_relative_to(site.resolve()), (path, address)
            assert target.is_file(), (path, address)


def test_walls_are_paged_and_whole(site: Path) -> None:
    for sort in ("", "/max", "/selectivity"):
        tiles: list[int] = []
        page: Path | None = site / f"layers/conv1{sort}.html"
        while page is not None:
            text = page.read_text("utf-8")
            tiles += map(int, re.findall(r'class="tile" id="n(\d+)"', text))
            following = re.search(r'<a class="button" rel="next" href="([^"]+)">More', text)
            page = page.parent / unquote(following[1]) if following else None
        assert sorted(tiles) == list(range(70))


def test_nothing_of_the_server_is_left(site: Path) -> None:
    for path, text in pages(site):
        assert "/api/v1" not in text, path
        assert "as JSON" not in text, path
        assert "<script>" not in text, path
        assert "<b>ape" not in text, path


def test_pictures_are_those_of_the_packs(site: Path) -> None:
    pictures = [path for path in site.rglob("*") if path.suffix in (".png", ".jpg")]
    assert len(pictures) > 200
    for path in pictures:
        magic = b"\x89PNG" if path.suffix == ".png" else b"\xff\xd8\xff"
        assert path.read_bytes().startswith(magic), path
    assert len(list((site / "thumbnails").iterdir())) == 130


def test_maps_and_the_index_of_the_search(site: Path) -> None:
    with pa.ipc.open_stream(site / "map/tsne.arrow") as stream:
        table = stream.read_all()
    assert len(table) == 130
    assert {"image_id", "x", "y", "grid_row", "grid_column", "class_id"} <= set(table.column_names)
    index = json.loads((site / "search.json").read_text("utf-8"))
    assert [name for name, *_ in index["layers"]] == ["conv1", "a/b@2", "100%"]
    assert index["classes"] == [[0, "<b>ape</b>"], [1, "bear"]]
    assert index["listed"] == 132


def test_without_pictures_the_site_has_none(folder: Path, tmp_path: Path) -> None:
    counts = export(folder, tmp_path / "bare", pictures=False)
    assert counts["pictures"] == 0
    assert not [path for path in (tmp_path / "bare").rglob("*") if path.suffix in (".png", ".jpg", ".webp")]
    assert "<img" not in (tmp_path / "bare/neurons/conv1/3.html").read_text("utf-8")


def test_the_same_atlas_gives_the_same_site(tmp_path: Path) -> None:
    folder = constructed.write(tmp_path / "small", constructed.Shape(images=12))
    site, again = tmp_path / "site", tmp_path / "again"
    assert export(folder, site) == export(folder, again)
    first = {str(path.relative_to(site)): path.read_bytes() for path in site.rglob("*") if path.is_file()}
    assert first == {str(path.relative_to(again)): path.read_bytes() for path in again.rglob("*") if path.is_file()}


def test_what_is_there_is_not_written_over(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="expected an empty or a new folder"):
        export(folder, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_nothing_of_others_is_touched(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site.part").mkdir()
    (tmp_path / "site.part" / "mine.txt").write_text("mine")
    export(folder, tmp_path / "site", pictures=False)
    assert (tmp_path / "site.part" / "mine.txt").read_text() == "mine"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["site", "site.part"]
    assert (tmp_path / "site").stat().st_mode & 0o777 == (tmp_path / "site" / "layers").stat().st_mode & 0o777
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for out in (".", "/", "a\0b", "x" * 300, str(tmp_path / "site.part" / "mine.txt" / "in")):
        with pytest.raises(InputError, match="--out"):
            export(folder, out)


def test_a_layer_of_any_name_has_its_pages(tmp_path: Path) -> None:
    long = "block." * 1700 + "conv%"
    layers = ((long + "1", 2), (long + "2", 2), ("fc", 2))
    made = constructed.write(tmp_path / "long", constructed.Shape(name="long", layers=layers, images=12))
    export(made, tmp_path / "site", pictures=False)
    assert len(list((tmp_path / "site" / "layers").glob("*.html"))) == 3


def test_a_folder_that_is_no_atlas_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FolderError):
        export(tmp_path / "empty", tmp_path / "site")
    assert not (tmp_path / "site").exists()


@pytest.fixture(scope="module")
def hosted(site: Path) -> Iterator[str]:
    """The site on a plain file host, under a path that is not its root."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site.parent)))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/site"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.browser
@needs_chromium
@needs_map
def test_the_site_works_on_a_plain_file_host(hosted: str) -> None:
    with chromium() as browser:
        tab = Watched(browser, hosted.removesuffix("/site"))
        page = tab.open("/site/index.html")
        page.locator(".strip h3 a").first.click()
        page.wait_for_url("**/site/layers/conv1.html")
        page.locator(".tile a").nth(3).click()
        page.wait_for_url("**/site/neurons/conv1/3.html")
        page.locator("label:has([name=view][value=guided])").click()
        assert page.locator(".side-max .v-1 img").first.evaluate("each => each.decode().then(() => true)")
        with page.expect_navigation():
            page.keyboard.press("ArrowRight")
        page.wait_for_url("**/site/neurons/conv1/4.html#view=guided")
        page.keyboard.press("/")
        page.keyboard.type("bear")
        page.locator("[role=option]", has_text="bear").first.wait_for()
        with page.expect_navigation():
            page.keyboard.press("Enter")
        page.locator("[data-results] a", has_text="bear").click()
        page.wait_for_url("**/site/classes/1.html")
        tab.open("/site/map/tsne.html#x=0&y=0&z=3")
        page.wait_for_selector("#map[data-ready='130']")
        page.locator(".map-thumbs a").first.wait_for()
        assert str(page.locator(".map-thumbs a").first.get_attribute("href")).startswith("../images/")
        page.goto(f"{hosted}/layers/a%252Fb%402.html")
        assert page.locator("h1").inner_text() == "a/b@2"
        tab.close()
