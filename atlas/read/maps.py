"""The maps of an atlas, a kind at a time."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from atlas.errors import NotFoundError
from atlas.read import source
from atlas.store.files import Folder


class Points(NamedTuple):
    """The points of one kind of map, with the class of each image, and the kinds that there are."""

    kind: str
    kinds: list[str]
    table: pa.Table


def read(folder: Folder, kind: str | None = None) -> Points:
    """Points of a kind (without one: of t-SNE, else of the first). Raises `NotFoundError` for a kind there is not."""
    there = kinds(folder)
    wanted = kind or ("tsne" if "tsne" in there else next(iter(there), ""))
    if kind is not None and kind not in there:
        raise NotFoundError(f"map {kind!r}: expected one of {', '.join(there) or 'none'}")
    table = source.read(folder, "map", filters=pc.field("kind") == wanted).drop_columns(["kind"])
    images = source.read(folder, "images", columns=["image_id", "class_id"])
    at = pc.index_in(table["image_id"], images["image_id"])
    return Points(wanted, list(there), table.append_column("class_id", images["class_id"].take(at)))


@lru_cache(maxsize=64)
def kinds(folder: Folder) -> tuple[str, ...]:
    """Kinds of map that there are, in the order of the table."""
    found: dict[str, None] = {}
    for batch in source.batches(folder, "map", columns=["kind"], dictionary=["kind"]):
        found.update(dict.fromkeys(pc.unique(batch.column("kind")).to_pylist()))
    return tuple(found)
