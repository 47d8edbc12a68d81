"""Small tables that are read as they are: what was left out, and how far pictures depend on the weights."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from atlas.read import source


@lru_cache(maxsize=16)
def quarantine(root: Path) -> pa.Table:
    """Rows of quarantine.parquet, by image_id."""
    return source.read(root, "quarantine").sort_by("image_id")


@lru_cache(maxsize=256)
def driven(root: Path, class_id: int) -> pa.Table:
    """Rows of classes.parquet of a class: layer, channel and mean response."""
    wanted = pc.field("class_id") == class_id
    return source.read(root, "classes", columns=("layer", "channel", "mean"), filters=wanted)


@lru_cache(maxsize=16)
def sanity(root: Path) -> pa.Table:
    """Rows of sanity.parquet."""
    return source.read(root, "sanity")
