"""An atlas as a static site: the service's own pages, written to files that any file host serves.

Addresses become relative links to files, walls are paged, pictures are files of their own. A site whose links do not
all lead to a file that was written is not handed out.
"""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pyarrow as pa

from api.html import environment as look
from api.http.urls import part, unpart, with_query
from api.library import Library
from api.pages import Pages
from api.rest import Call
from api.say import Speaker
from atlas.errors import FolderError, InputError
from atlas.read import classes as tables
from atlas.read import maps
from atlas.read.neurons import SORTS

_LINK = re.compile(r'(\s(?:href|src|action|data-points|data-image|data-thumbnail|data-index)=")(/[^"]*)(")')
_PICTURE = re.compile(r"/pictures/([^/]+)/([0-9]+)-([0-9]+)")
_OF_IMAGE = re.compile(r"/images/([0-9]+|\{image_id\})/(thumbnail|picture)")
_EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
_ALL = 500

Said = Callable[[str], None]


def export(folder: str | Path, out: str | Path, *, pictures: bool = True, say: Said | None = None) -> dict[str, int]:
    """Writes the atlas in `folder` as a static site into `out`, which must be empty or absent.

    Returns how many pages and pictures it has. `pictures=False` leaves out every pixel of the data. Raises
    `InputError` for an `out` that is not empty, `FolderError` for an atlas that is not sound.
    """
    target = Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"--out {target}: expected an empty or a new folder")
    library = Library([folder])
    shelf = next(iter(library.shelves.values()))
    if not shelf.available:
        raise FolderError(f"{folder}: {shelf.reason}")
    beside = target.with_name(f"{target.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    site = _Site(library, Speaker(shelf, pictures=pictures), beside)
    try:
        site.write(say or (lambda line: None))
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    finally:
        shelf.store.close()
    if target.exists():
        target.rmdir()
    beside.rename(target)
    return {"pages": site.pages, "pictures": len(site.copied)}


class _Site:
    """One site while it is written. `known` maps addresses of paged lists to files; other files follow from them."""

    def __init__(self, library: Library, speaker: Speaker, root: Path) -> None:
        self.library, self.say, self.root = library, speaker, root
        self.drawn = Pages(static=lambda name: f"/static/{name}", exported=True)
        self.known: dict[str, str] = {"/": "index.html", "/search.json": "search.json"}
        self.copied: dict[str, str] = {}
        self.wanted: set[str] = set()
        self.written: set[str] = set()
        self._folders: set[Path] = set()
        self.pages = 0
        self.kinds = maps.kinds(speaker.shelf.atlas.root) or ("",)
        self._ending: str | None = None
        self._name_lists()

    def write(self, say: Said) -> None:
        """Every page, then the files they name. Raises `FolderError` where a link leads nowhere."""
        for line, files in (
            ("lists", self._lists()), ("layers", self._layers()), ("neurons", self._neurons()),
            ("images", self._images()), ("classes", self._classes()),
        ):  # fmt: skip
            count = sum(1 for _ in files)
            say(f"{line}: {count} pages")
        self._maps()
        self._assets()
        self._index()
        missing = sorted(self.wanted - self.written)
        if missing:
            raise FolderError(f"the site is not whole: {len(missing)} links lead nowhere, the first to {missing[0]}")

    def _name_lists(self) -> None:
        """Files of the addresses that do not follow from their paths."""
        map_page, images_page = self.say.urls.of("map")[1], self.say.urls.of("images")[1]
        self.known[map_page] = _map_file("tsne" if "tsne" in self.kinds else self.kinds[0])
        for kind in self.kinds:
            self.known[with_query(map_page, {"kind": kind})] = _map_file(kind)
        for name in self.say.shelf.store.layers.names:
            for sort in SORTS:
                self.known[self._sorted(name, sort)] = _wall(name, sort)
        for class_id in map(int, self.say.shelf.store.images.classes):
            self.known[with_query(images_page, {"class": class_id})] = f"classes/{class_id}/images.html"

    def _sorted(self, layer: str, sort: str) -> str:
        """Address of a wall in an order."""
        return with_query(self.say.urls.layer(layer)[1], {"sort": None if sort == "channel" else sort})

    # What there is

    def _lists(self) -> Iterator[str]:
        yield self._page("atlas", {}, {}, "index.html")
        yield self._page("layers", {}, {}, "layers.html")
        for route in ("classes", "quarantine", "sanity"):
            yield from self._paged(route, {}, {"limit": 100}, route)
        yield from self._paged("images", {}, {"limit": 100, "class": None}, "images")
        yield self._page("search", {}, {"q": ""}, "search.html")
        for kind in self.kinds:
            yield self._page("map", {}, {"kind": kind or None}, _map_file(kind))

    def _layers(self) -> Iterator[str]:
        names = self.say.shelf.store.layers.names
        for name in names:
            sorts = [(sort, self._sorted(name, sort)) for sort in SORTS]
            for sort in SORTS:
                values = {"sort": sort, "order": None, "class": None, "dead": None, "limit": 60}
                yield from self._paged("layer", {"layer": name}, values, _wall(name, sort)[:-5], sorts=sorts)
            yield from self._paged("filters", {"layer": name}, {"limit": 100}, f"filters/{part(name)}")

    def _neurons(self) -> Iterator[str]:
        layers = self.say.shelf.store.layers
        for row in layers.rows:
            for channel in range(row["channels"]):
                path = {"layer": row["layer"], "channel": str(channel)}
                yield self._page("neuron", path, {}, f"neurons/{part(row['layer'])}/{channel}.html")

    def _images(self) -> Iterator[str]:
        images = self.say.shelf.store.images
        for row in range(images.count):
            path = {"image_id": str(images.span(row, 1)[0].image_id)}
            yield from self._paged("image", path, {"limit": 60}, f"images/{path['image_id']}")
            yield self._page("neighbours", path, {"k": 50}, f"images/{path['image_id']}/neighbours.html")

    def _classes(self) -> Iterator[str]:
        for class_id in map(int, self.say.shelf.store.images.classes):
            yield self._page("class", {"class_id": str(class_id)}, {}, f"classes/{class_id}.html")
            yield from self._paged("images", {}, {"limit": 100, "class": class_id}, f"classes/{class_id}/images")

    # Writing

    def _page(self, route: str, path: dict[str, str], values: dict[str, Any], file: str) -> str:
        call = Call(self.library, self.say, path, values, route)
        return self._put(file, self.drawn.draw(route, call, self.drawn.context(route, call)))

    def _paged(self, route: str, path: dict[str, str], values: dict[str, Any], stem: str, **more: Any) -> Iterator[str]:
        """A list, a file a page: stem.html, stem-2.html, …"""
        call: Call | None = Call(self.library, self.say, path, {**values, "cursor": None}, route)
        number = 1
        while call is not None:
            context = self.drawn.context(route, call) | more
            following = context["more"]
            file = f"{stem}.html" if number == 1 else f"{stem}-{number}.html"
            number += 1
            if following:
                self.known[following] = f"{stem}-{number}.html"
            yield self._put(file, self.drawn.draw(route, call, context))
            call = replace(call, values={**values, "cursor": _cursor(following)}) if following else None

    def _put(self, file: str, text: str) -> str:
        up = "../" * file.count("/")

        def relative(match: re.Match[str]) -> str:
            address = html.unescape(match[2])
            target = self._file(address)
            if "{image_id}" not in target:
                self.wanted.add(target)
            return f"{match[1]}{html.escape(up + quote(target, safe='/{}'))}{match[3]}"

        self._bytes(file, _LINK.sub(relative, text).encode())
        self.pages += 1
        return file

    def _bytes(self, file: str, body: bytes) -> None:
        path = self.root / file
        if path.parent not in self._folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(path.parent)
        path.write_bytes(body)
        self.written.add(file)

    # Where an address lies in the site

    def _file(self, address: str) -> str:
        """The file behind an address of the service."""
        known = self.known.get(address)
        if known is not None:
            return known
        if address.startswith("/static/"):
            return address[1:]
        api, page = self.say.urls.api, self.say.urls.page
        split = urlsplit(address)
        if split.path == api or split.path.startswith(f"{api}/"):
            return self._file_of_api(split.path[len(api) :], split.query)
        if split.query or not (split.path == page or split.path.startswith(f"{page}/")):
            raise FolderError(f"the site is not whole: {address} has no page")
        rest_of = split.path[len(page) :].strip("/")
        parts = rest_of.split("/")
        if parts[0] == "layers" and len(parts) == 3 and parts[2] == "filters":
            return f"filters/{parts[1]}.html"
        return f"{rest_of}.html" if rest_of else "index.html"

    def _file_of_api(self, path: str, query: str) -> str:
        picture, of_image = _PICTURE.fullmatch(path), _OF_IMAGE.fullmatch(path)
        if picture:
            return self._copy(unpart(picture[1]) or "", int(picture[2]), int(picture[3]))
        if of_image and of_image[1].isdigit():
            row = self.say.shelf.store.images.get(int(of_image[1]))
            place = row.thumbnail if of_image[2] == "thumbnail" else row.picture
            if place.pack is None:
                raise FolderError(f"image {of_image[1]}: it has no {of_image[2]}, but a page names it")
            folder = "thumbnails" if of_image[2] == "thumbnail" else "whole"
            return self._copy(place.pack, place.offset, place.length, f"{folder}/{of_image[1]}")
        if of_image:
            return f"thumbnails/{{image_id}}.{self._thumbnail_ending()}"
        if path == "/map":
            return _map_file(parse_qs(query).get("kind", [""])[0])[:-5] + ".arrow"
        raise FolderError(f"the site is not whole: {path} has no file")

    def _copy(self, pack: str, offset: int, length: int, stem: str | None = None) -> str:
        """Copies a picture, once, and returns its file."""
        key = stem or f"pictures/{pack.removesuffix('.tar')}/{offset}"
        file = self.copied.get(key)
        if file is None:
            body, kind = self.say.shelf.store.packs.read(pack, offset, length)
            ending = self._thumbnail_ending() if key.startswith("thumbnails/") else _EXTENSIONS[kind]
            file = self.copied[key] = f"{key}.{ending}"
            self._bytes(file, body)
        return file

    def _thumbnail_ending(self) -> str:
        """One ending for all thumbnails: the map's script makes their names."""
        if self._ending is None:
            place = self.say.shelf.store.images.span(0, 1)[0].thumbnail
            kind = "image/jpeg"
            if place.pack is not None:
                kind = self.say.shelf.store.packs.read(place.pack, place.offset, place.length)[1]
            self._ending = _EXTENSIONS[kind]
        return self._ending

    # Files beside the pages

    def _maps(self) -> None:
        for kind in maps.kinds(self.say.shelf.atlas.root):
            table = maps.read(self.say.shelf.atlas.root, kind).table
            stream = pa.BufferOutputStream()
            with pa.ipc.new_stream(stream, table.schema) as writer:
                writer.write_table(table)
            self._bytes(_map_file(kind)[:-5] + ".arrow", stream.getvalue().to_pybytes())
        if self.say.pictures:  # the map asks for the thumbnail of any image
            images = self.say.shelf.store.images
            for start in range(0, images.count, _ALL):
                for row in images.span(start, _ALL):
                    place = row.thumbnail
                    if place.pack is not None:
                        self._copy(place.pack, place.offset, place.length, f"thumbnails/{row.image_id}")

    def _assets(self) -> None:
        for name, asset in look.assets().items():
            self._bytes(f"static/{name}", asset.body)

    def _index(self) -> None:
        """What the search field looks through, as there is no server to ask."""
        store = self.say.shelf.store
        layers = [[row["layer"], row["kind"], row["channels"], quote(part(row["layer"]))] for row in store.layers.rows]
        classes = [[int(each), store.images.name(int(each)) or f"class {each}"] for each in store.images.classes]
        left_out = tables.quarantine(self.say.shelf.atlas.root)["image_id"].to_pylist()
        listed = store.images.count + len(left_out)
        body = {"layers": layers, "classes": classes, "listed": listed, "left_out": left_out}
        self._bytes("search.json", json.dumps(body).encode())


def _wall(layer: str, sort: str) -> str:
    return f"layers/{part(layer)}.html" if sort == "channel" else f"layers/{part(layer)}/{sort}.html"


def _map_file(kind: str) -> str:
    return f"map/{part(kind or 'none')}.html"


def _cursor(address: str) -> str:
    return unquote(parse_qs(urlsplit(address).query)["cursor"][0])
