"""What sheets are drawn on and with: paper, cells, letters, and the pictures of an atlas by one read each."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

from atlas.errors import PictureError
from atlas.store import layout
from atlas.store.files import Folder

GAP = 4
LARGEST = 120_000_000
"""Pixels of a sheet at most; its cells are made smaller until it fits."""

PAPER, INK, FAINT, EMPTY = (255, 255, 255), (30, 30, 30), (120, 120, 120), (238, 238, 238)


class Packs:
    """Pictures by one read each; a pack stays open while a sheet is drawn."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._open: dict[str, tuple[Any, Any]] = {}

    def __enter__(self) -> Packs:
        return self

    def __exit__(self, *_: object) -> None:
        for manager, _stream in self._open.values():
            manager.__exit__(None, None, None)

    def load(self, picture: Mapping[str, Any], size: int, *, square: bool = False) -> Image.Image | None:
        """A picture as RGB, at most `size` pixels in width and height; None where there is none.

        `square`: the middle of it that fills a square of that side.
        """
        if picture["pack"] is None:
            return None
        where = f"picture {picture['pack']}/{picture['offset']}-{picture['length']}"
        try:
            body = self._read(picture["pack"], picture["offset"], picture["length"])
        except (OSError, ValueError) as error:
            raise PictureError(f"{where} cannot be read ({error})") from None
        if zlib.crc32(body) != picture["crc32"]:
            raise PictureError(f"{where} is damaged: its crc32 is not what the tables say; copy the atlas again")
        try:
            image = Image.open(io.BytesIO(body))
            image.load()
        except Exception as error:  # what Pillow raises for a file that it cannot read has no common base
            raise PictureError(f"{where}: expected PNG, JPEG or WebP ({error})") from None
        if square:
            return ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.LANCZOS)
        scale = size / max(image.size)
        shape = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        # A few pixels blown up are to be seen as pixels.
        how = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
        return image.convert("RGB").resize(shape, how)

    def _read(self, pack: str, offset: int, length: int) -> bytes:
        if "/" in pack or pack.startswith("."):
            raise ValueError("its pack is not a file of pictures/")
        if pack not in self._open:
            manager = self._folder.open(layout.pack_path(pack))
            self._open[pack] = (manager, manager.__enter__())
        stream = self._open[pack][1]
        stream.seek(offset)
        return bytes(stream.read(length))


def fitting(size: int, across: int, down: int) -> int:
    """The side of a cell with which the sheet stays within `LARGEST` pixels."""
    return max(4, min(size, int(math.sqrt(LARGEST / (across * down)))))


def paper(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """A white sheet, and a pen for it."""
    sheet = Image.new("RGB", (width, height), PAPER)
    return sheet, ImageDraw.Draw(sheet)


def paste(sheet: Image.Image, image: Image.Image | None, x: int, y: int, size: int) -> None:
    """Puts a picture into the middle of its cell; an empty cell is pale."""
    if image is None:
        sheet.paste(EMPTY, (x, y, x + size, y + size))
    else:
        sheet.paste(image, (x + (size - image.width) // 2, y + (size - image.height) // 2))


def shortened(pen: ImageDraw.ImageDraw, text: str, font: Any, width: int) -> str:
    """As much of a text as fits."""
    while text and pen.textlength(text, font) > width:
        text = text[:-2].rstrip() + "…" if len(text) > 2 else ""
    return text


def letters(size: int) -> Any:
    """Pillow's own letters."""
    return ImageFont.load_default(size)
