"""Small tables that are read as they are: what was left out, and how far pictures depend on the weights."""

from __future__ import annotations

from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from atlas.read import source
from atlas.store.files import Folder


@lru_cache(maxsize=16)
def quarantine(folder: Folder) -> pa.Table:
    """Rows of quarantine.parquet, by image_id."""
    return source.read(folder, "quarantine").sort_by("image_id")


@lru_cache(maxsize=256)
def driven(folder: Folder, class_id: int) -> pa.Table:
    """Rows of classes.parquet of a class: layer, channel and mean response."""
    wanted = pc.field("class_id") == class_id
    return source.read(folder, "classes", columns=("layer", "channel", "mean"), filters=wanted)


@lru_cache(maxsize=16)
def sanity(folder: Folder) -> pa.Table:
    """Rows of sanity.parquet."""
    return source.read(folder, "sanity")
