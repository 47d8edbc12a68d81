"""An atlas as a static site: the service's own pages, written to files that any file host serves.

Addresses become relative links to files, walls are paged, pictures are files of their own. A site whose links do not
all lead to a file that was written is not handed out.
"""

from __future__ import annotations

import hashlib
import html
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from api import views
from api.html import environment
from api.http.urls import part, unpart
from api.library import Library
from api.views import maps as map_view
from api.views.call import Call
from api.views.pages import Pages
from api.views.sheets import sheets
from api.views.speaker import Speaker
from api.views.view import Sheet, View
from atlas.errors import FolderError, InputError
from atlas.read import classes as tables
from atlas.read import maps

_LINK = re.compile(r'(\s(?:href|src|action|data-points|data-image|data-thumbnail|data-index)=")(/[^"]*)(")')
_PICTURE = re.compile(r"(?:/parts/([^/]+))?/pictures/([^/]+)/([0-9]+)-([0-9]+)")
_OF_IMAGE = re.compile(r"/images/([0-9]+|\{image_id\})/(thumbnail|picture)")
_EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
_ENDINGS = {".html", ".json", ".arrow", *(f".{ending}" for ending in _EXTENSIONS.values())}
_LONGEST = 200  # bytes of a part of a path, of the 255 that file systems take
_ALL = 500

Said = Callable[[str], None]


def export(folder: str | Path, out: str | Path, *, pictures: bool = True, say: Said | None = None) -> dict[str, int]:
    """Writes the atlas in `folder` as a static site into `out`, which must be empty or absent.

    Returns how many pages and pictures it has. `pictures=False` leaves out every pixel of the data. Raises
    `InputError` for an `out` that is not empty, `FolderError` for an atlas that is not sound.
    """
    target = _new(Path(out))
    library = Library([folder])
    shelf = next(iter(library.shelves.values()))
    if not shelf.available:
        raise FolderError(f"{folder}: {shelf.reason}")
    beside = Path(tempfile.mkdtemp(prefix=".site-", suffix=".part", dir=target.parent))  # a new one: nobody else's
    site = _Site(Speaker(shelf, pictures=pictures), beside)
    try:
        site.write(say or (lambda line: None))
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    finally:
        shelf.store.close()
    beside.chmod(0o777 & ~_umask())
    if target.exists():
        target.rmdir()
    beside.rename(target)
    return {"pages": site.pages, "pictures": len(site.copied)}


def _new(out: Path) -> Path:
    """The folder to write, whose parent is there. Raises `InputError` for one that cannot be."""
    try:
        target = out.resolve()
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise InputError(f"--out {out}: expected an empty or a new folder")
        if target in (Path.cwd(), Path(target.anchor)):
            raise InputError(f"--out {out}: is the folder that this command runs in; expected another, empty or new")
        target.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise InputError(f"--out {out}: cannot be written ({error}); give another folder") from None
    return target


def _umask() -> int:
    """What new folders are not allowed: a temporary one is its owner's alone, a site is as any other folder."""
    before = os.umask(0)
    os.umask(before)
    return before


class _Site:
    """One site while it is written. `known` maps addresses to files where these do not follow from them."""

    def __init__(self, speaker: Speaker, root: Path) -> None:
        self.say, self.root = speaker, root
        self.drawn = Pages(static=lambda name: f"/static/{name}", exported=True)
        self.known: dict[str, str] = {"/": "index.html", "/search.json": "search.json"}
        self.copied: dict[str, str] = {}
        self.wanted: set[str] = set()
        self.written: set[str] = set()
        self._folders: set[Path] = set()
        self.pages = 0
        self._ending: str | None = None

    def write(self, say: Said) -> None:
        """Every page, then the files they name. Raises `FolderError` where a link leads nowhere."""
        shown = [view for view in views.VIEWS if view.page is not None]
        for view in shown:
            for sheet in sheets(view, self.say):
                self.known.update(dict.fromkeys(sheet.addresses, f"{sheet.file}.html"))
        for view in shown:
            count = sum(self._sheet(view, sheet) for sheet in sheets(view, self.say))
            if count:
                say(f"{view.name}: {count} pages")
        self._maps()
        self._assets()
        self._index()
        missing = sorted(self.wanted - self.written)
        if missing:
            raise FolderError(f"the site is not whole: {len(missing)} links lead nowhere, the first to {missing[0]}")

    # Writing

    def _sheet(self, view: View, sheet: Sheet) -> int:
        """Writes a page, or a list's pages: file.html, file-2.html, …; returns how many."""
        values = {**sheet.values, "cursor": None} if sheet.paged else sheet.values
        call: Call | None = Call(self.say, sheet.path, values, view.name)
        number = 0
        while call is not None:
            context = self.drawn.context(view, call) | dict(sheet.context)
            following = context["more"] if sheet.paged else None
            number += 1
            if following:
                self.known[following] = f"{sheet.file}-{number + 1}.html"
            file = f"{sheet.file}.html" if number == 1 else f"{sheet.file}-{number}.html"
            self._put(file, self.drawn.draw(view, call, context))
            call = replace(call, values={**values, "cursor": _cursor(following)}) if following else None
        return number

    def _put(self, file: str, text: str) -> None:
        up = "../" * file.count("/")

        def relative(match: re.Match[str]) -> str:
            address = html.unescape(match[2])
            target = fitting(self._file(address))
            if "{image_id}" not in target:
                self.wanted.add(target)
            return f"{match[1]}{html.escape(up + quote(target, safe='/{}'))}{match[3]}"

        self._bytes(file, _LINK.sub(relative, text).encode())
        self.pages += 1

    def _bytes(self, file: str, body: bytes) -> None:
        file = fitting(file)
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
        return f"{rest_of}.html" if rest_of else "index.html"

    def _file_of_api(self, path: str, query: str) -> str:
        picture, of_image = _PICTURE.fullmatch(path), _OF_IMAGE.fullmatch(path)
        if picture:
            part_name, pack = (unpart(name) if name else None for name in (picture[1], picture[2]))
            return self._copy(pack or "", int(picture[3]), int(picture[4]), part=part_name)
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
            return f"{map_view.file(parse_qs(query).get('kind', [''])[0])}.arrow"
        raise FolderError(f"the site is not whole: {path} has no file")

    def _copy(self, pack: str, offset: int, length: int, stem: str | None = None, part: str | None = None) -> str:
        """Copies a picture of the base, or of a part, once, and returns its file."""
        where = "" if part is None else f"parts/{part}/"
        key = stem or f"{where}pictures/{pack.removesuffix('.tar')}/{offset}"
        file = self.copied.get(key)
        if file is None:
            store = self.say.store
            packs = store.packs if part is None else store.parts.packs(part)
            body, kind = packs.read(pack, offset, length)
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
        for kind in maps.kinds(self.say.shelf.atlas.folder):
            self._bytes(f"{map_view.file(kind)}.arrow", map_view.arrow(self.say, kind))
        if self.say.pictures:  # the map asks for the thumbnail of any image
            images = self.say.shelf.store.images
            for start in range(0, images.count, _ALL):
                for row in images.span(start, _ALL):
                    place = row.thumbnail
                    if place.pack is not None:
                        self._copy(place.pack, place.offset, place.length, f"thumbnails/{row.image_id}")

    def _assets(self) -> None:
        for name, asset in environment.assets().items():
            self._bytes(f"static/{name}", asset.body)

    def _index(self) -> None:
        """What the search field looks through, as there is no server to ask."""
        store = self.say.shelf.store
        layers = [
            [row["layer"], row["kind"], row["channels"], quote(fitting(part(row["layer"])))]
            for row in store.layers.rows
        ]
        classes = [[int(each), store.images.name(int(each)) or f"class {each}"] for each in store.images.classes]
        left_out = tables.quarantine(self.say.shelf.atlas.folder)["image_id"].to_pylist()
        listed = store.images.count + len(left_out)
        body = {"layers": layers, "classes": classes, "listed": listed, "left_out": left_out}
        self._bytes("search.json", json.dumps(body).encode())


def fitting(file: str) -> str:
    """A path whose parts a file system takes: of one that is too long, the beginning and a digest of the whole."""
    *folders, last = file.split("/")
    stem, dot, ending = last.rpartition(".")
    if not dot or f".{ending}" not in _ENDINGS:
        stem, dot, ending = last, "", ""
    return "/".join([*map(_short, folders), f"{_short(stem)}{dot}{ending}"])


def _short(name: str) -> str:
    if len(name.encode()) <= _LONGEST:
        return name
    return f"{name[:100].rstrip('%')}-{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def _cursor(address: str) -> str:
    return unquote(parse_qs(urlsplit(address).query)["cursor"][0])
