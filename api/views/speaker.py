"""Who speaks for one atlas: its tables, its addresses, and whether its pictures may be shown."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from api.http.respond import IMMUTABLE
from api.http.urls import Urls
from api.library import Shelf
from api.views.values import Picture, without
from atlas.read.catalog import Store
from atlas.read.pictures import Place, none
from atlas.read.trust import in_order

if TYPE_CHECKING:
    import pyarrow as pa

    from api.probing import Prober

WITHHELD = "pictures are not served"


class Speaker:
    """Says what one atlas holds.

    `pictures`: whether their addresses are given. `private`: a token is needed, so nobody else may keep them.
    `prober`: the probe behind the service, where there is one. `others`: who speaks for the atlases served, by digest.
    """

    def __init__(
        self, shelf: Shelf, *, pictures: bool = True, private: bool = False, urls: Urls | None = None,
        prober: Prober | None = None,
    ) -> None:  # fmt: skip
        self.shelf = shelf
        self.urls = urls or Urls(shelf.name)
        self.pictures = pictures
        self.others: Mapping[str, Speaker] = {}
        self.prober = prober
        self.immutable = IMMUTABLE.replace("public", "private") if private else IMMUTABLE

    @property
    def store(self) -> Store:
        """The atlas's tables, laid out for single reads. Raises `NotFoundError` where it is unavailable."""
        return self.shelf.store

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of picture that the atlas has, in the order in which pages show them."""
        return in_order({*self.store.examples.kinds, *self.store.neurons.trust.kinds})

    # Rows that sections show

    def rows(self, table: str, at: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Rows of a table that belong to what `at` names, each with its `part` (None: the base).

        Empty where there is no such table. Raises `NotFoundError` for a thing that there is not.
        """
        return self.store.rows(table, at)

    def table(self, name: str) -> pa.Table:
        """A part's whole table, with a column `part`: for what is slow anyway."""
        return self.store.parts.table(name)

    # Pictures

    def picture(self, place: Place, part: str | None = None) -> Picture:
        """A picture by its place in the base, or in a part; or why there is none."""
        pack, offset, length, why, seed, scale = place
        if pack is None:
            return without(why)
        if not self.pictures:
            return {"url": None, "why": WITHHELD, "seed": seed, "scale": scale}
        return {"url": self.urls.picture(pack, offset, length, part), "why": None, "seed": seed, "scale": scale}

    def cell(self, value: Mapping[str, Any] | None, part: str | None = None) -> Picture:
        """A picture by the value of a picture column, as a table of the base, or of a part, has it."""
        if value is None or value["pack"] is None:
            return without(value["why"] if value else None)
        seed, scale = (None if value[name] is None else none(value[name]) for name in ("seed", "scale"))
        return self.picture(Place(value["pack"], value["offset"], value["length"], None, seed, scale), part)

    def at(self, url: str, why: str | None) -> Picture:
        """A picture at an address, or why there is none."""
        if why is not None:
            return without(why)
        if not self.pictures:
            return without(WITHHELD)
        return {"url": url, "why": None, "seed": None, "scale": None}

    def thumbnail(self, image_id: int, why: str | None) -> Picture:
        """The thumbnail of an image, or why there is none."""
        return self.at(self.urls.thumbnail(image_id), why)

    def class_name(self, class_id: int | None) -> str | None:
        """Readable name of a class; null where it has none."""
        return self.shelf.store.images.name(class_id)
