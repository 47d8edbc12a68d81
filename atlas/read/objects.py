"""One neuron, layer, image or class of an opened atlas as an object: for notebooks and scripts.

Attributes are the columns of its row (pictures as PIL images) and, by their names, the rows that every table of the
atlas and of its parts has of it, as DuckDB relations: `neuron.max`, `neuron.similar.fetchall()`, `image.thumbnail`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from atlas import tables
from atlas.errors import InputError, NotFoundError, PictureError
from atlas.explain.kinds import BY_NAME as KINDS
from atlas.read.relational import quoted, text
from atlas.types import SIDES

if TYPE_CHECKING:
    import duckdb
    from PIL.Image import Image as Picture

    from atlas.read.catalog import Atlas
    from atlas.read.neighbours import Neighbour

CROP = "crop"
"""The picture of an example that is no kind: the field cut from the image."""


class Thing:
    """What has a row of its own, and rows in many tables. `row`: its columns; `at`: those that name it."""

    names: ClassVar[tuple[str, ...]]

    def __init__(self, opened: Atlas, row: Mapping[str, Any]) -> None:
        self.opened = opened
        self.row = dict(row)

    @property
    def at(self) -> dict[str, Any]:
        """The columns that name it, with their values."""
        return {name: self.row[name] for name in self.names}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("row", "opened"):  # being copied: nothing is there yet
            raise AttributeError(name)
        if name in self.row:
            value = self.row[name]
            return self.opened.picture_of(value) if _is_picture(value) else value
        if name in self._tables():
            return self.rows(name)
        known = ", ".join([*self.row, *(each for each in self._tables() if each not in self.row)])
        raise AttributeError(f"{self!r} has no attribute {name!r}; it has {known}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.row, *self._tables()})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(repr(value) for value in self.at.values())})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[Any, ...]:
        return (self.opened.about.get("digest"), *self.at.values())

    def _tables(self) -> list[str]:
        """Names of the tables that have rows of it."""
        return [table.name for table in tables.TABLES if set(self.names) <= set(table.columns.names)]

    def rows(self, table: str) -> duckdb.DuckDBPyRelation:
        """Its rows in a table, as a DuckDB relation. Raises `InputError` for a table that has none of such things."""
        if table not in self._tables():
            raise InputError(f"{table!r}: expected a table of {', '.join(self.names)}: {', '.join(self._tables())}")
        return self.opened.query(f"SELECT * FROM {quoted(table)} WHERE {_equal(self.at)}")

    def _repr_html_(self) -> str:
        from atlas.read import show

        return show.of(self)


class Neuron(Thing):
    """A neuron: a feature map, or a unit of a linear layer."""

    names = ("layer", "channel")

    @property
    def examples(self) -> duckdb.DuckDBPyRelation:
        """Its examples: sides max, min, spread, each by rank."""
        sides = " ".join(f"WHEN {text(side)} THEN {number}" for number, side in enumerate(SIDES))
        return self.rows("examples").order(f"CASE side {sides} END, rank")

    @cached_property
    def _places(self) -> dict[tuple[str, int, str], dict[str, Any]]:
        """Side, rank and kind of each picture of its examples."""
        crops = self.rows("examples").select("side, rank, crop").fetchall()
        drawn = self.rows("explanations").select("side, rank, kind, picture").fetchall()
        return {(s, r, CROP): p for s, r, p in crops} | {(s, r, kind): p for s, r, kind, p in drawn}

    @property
    def kinds(self) -> list[str]:
        """Pictures that its examples have: `crop`, then kinds in the order of the registry."""
        there = {kind for _, _, kind in self._places}
        return [kind for kind in (CROP, *KINDS) if kind in there]

    def picture(self, side: str = "max", rank: int = 0, kind: str = CROP) -> Picture:
        """The picture of one example: its crop, or of a kind.

        Raises `NotFoundError` with the reason where there is none, `PictureError` where it is damaged.
        """
        place = self._places.get((side, rank, kind))
        if place is None:
            why = self.row.get(f"why_{side}")
            raise NotFoundError(
                f"{self!r}: no picture {kind!r} of side {side!r}, rank {rank}" + (f": {why}" if why else "")
                + f"; there are {', '.join(self.kinds) or 'none'}"
            )  # fmt: skip
        return self.opened.picture_of(place)

    def pictures(self, side: str = "max", kind: str = CROP) -> list[Picture]:
        """The pictures of a side by rank, those that there are."""
        there = sorted(rank for s, rank, k in self._places if (s, k) == (side, kind))
        return [self.picture(side, rank, kind) for rank in there if self._places[side, rank, kind]["pack"] is not None]

    def sheet(self, **options: Any) -> Picture:
        """A sheet of its examples for a paper or a slide, as `Atlas.picture` draws it."""
        return self.opened.picture("neuron", **self.at, **options)


class Layer(Thing):
    """A recorded layer. `layer[3]` is its neuron of channel 3, `len(layer)` its number of neurons."""

    names = ("layer",)

    def __len__(self) -> int:
        return int(self.row["channels"])

    def __getitem__(self, channel: int) -> Neuron:
        if not 0 <= channel < len(self):
            raise IndexError(f"channel {channel} of layer {self.row['layer']!r}: expected 0 to {len(self) - 1}")
        return self.opened.neuron(self.row["layer"], channel)


class Image(Thing):
    """An image that was scanned. `thumbnail` and `picture` are PIL images."""

    names = ("image_id",)

    def neighbours(self, k: int = 10) -> list[Neighbour]:
        """The `k` images nearest to it by cosine of their codes."""
        return self.opened.neighbours(self.row["image_id"], k)


class Class(Thing):
    """A class of the network: `images` are those labelled with it, `classes` every neuron's mean response to it."""

    names = ("class_id",)

    @property
    def images(self) -> duckdb.DuckDBPyRelation:
        """Its images, those with several labels among them."""
        number = int(self.row["class_id"])
        return self.opened.query(
            f"SELECT * FROM images WHERE class_id = {number} OR list_contains(class_ids, {number})"
        )

    @property
    def neurons(self) -> duckdb.DuckDBPyRelation:
        """The neurons that respond to it most of all classes, the most selective first."""
        chosen = f"top_classes[1].class_id = {self.row['class_id']} AND why_max IS NULL"
        return self.opened.query(f"SELECT * FROM neurons WHERE {chosen} ORDER BY selectivity DESC, layer, channel")


def decoded(body: bytes, where: str) -> Picture:
    """The bytes of a picture as a PIL image. Raises `PictureError`."""
    from PIL import Image as Pillow

    try:
        image = Pillow.open(io.BytesIO(body))
        image.load()
    except Exception as error:  # what Pillow raises for a file that it cannot read has no common base
        raise PictureError(f"{where}: expected PNG, JPEG or WebP ({error})") from None
    return image


def _is_picture(value: Any) -> bool:
    return isinstance(value, dict) and "pack" in value


def _equal(key: Mapping[str, Any]) -> str:
    return " AND ".join(f"{quoted(n)} = {text(v) if isinstance(v, str) else int(v)}" for n, v in key.items())
