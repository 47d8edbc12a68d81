"""What is said of a table: its columns with meaning and unit, its key, what it refers to, whose part it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

Of = Literal["atlas", "layer", "neuron", "image", "class"]


@dataclass(frozen=True)
class Reference:
    """Each value of `columns` must be found in the columns `keys` of table `to`; null refers to nothing."""

    columns: tuple[str, ...]
    to: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """`what` is wrong where the query `sql` has a row."""

    what: str
    sql: str


@dataclass(frozen=True)
class Table:
    """A table of the folder.

    `of`: what a row belongs to, so which pages may show it. `key`: columns that name a row; no two rows have the same.
    `part`: the part it belongs to, None for the base. `required`: an atlas without it is refused; else an absent table
    reads as an empty one. `files`: a folder of Parquet files, read in the order of their names, in place of one file.
    `sectioned`: of the base, and shown by a section of the pages (a plain one, if it has none of its own), as the
    tables of parts always are.
    """

    name: str
    of: Of
    meaning: str
    columns: pa.Schema
    key: tuple[str, ...]
    references: tuple[Reference, ...] = ()
    rules: tuple[Rule, ...] = ()
    part: str | None = None
    required: bool = False
    files: bool = False
    sectioned: bool = False

    @property
    def path(self) -> str:
        """Where it lies in the folder of its atlas, or of its part: a file, or a folder of files."""
        return self.name if self.files else f"{self.name}.parquet"

    @property
    def pictures(self) -> tuple[str, ...]:
        """Names of its columns of pictures."""
        from atlas.tables.columns import PICTURE

        return tuple(field.name for field in self.columns if field.type == PICTURE)


def neuron(*, layer: str = "layer", channel: str = "channel") -> Reference:
    """The columns name a neuron."""
    return Reference((layer, channel), "neurons", ("layer", "channel"))


def layer(name: str = "layer") -> Reference:
    """The column names a layer."""
    return Reference((name,), "layers", ("layer",))


def image(name: str = "image_id") -> Reference:
    """The column names an image."""
    return Reference((name,), "images", ("image_id",))
