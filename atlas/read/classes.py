"""Small tables that are read as they are: what was left out, and how far pictures depend on the weights."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from atlas.store import layout


@lru_cache(maxsize=16)
def quarantine(root: Path) -> pa.Table:
    """Rows of quarantine.parquet, by image_id."""
    return pq.read_table(root / layout.table("quarantine")).sort_by("image_id")


@lru_cache(maxsize=16)
def sanity(root: Path) -> pa.Table:
    """Rows of sanity.parquet."""
    return pq.read_table(root / layout.table("sanity"))
