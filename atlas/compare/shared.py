"""The images that two atlases share, by their contents, whatever they are called and in whatever order they stand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atlas.arrays import Ints
from atlas.errors import InputError

LEAST = 200
"""Fewer images that both hold are not compared."""


def shared(contents: Sequence[bytes], others: Sequence[bytes]) -> tuple[Ints, Ints]:
    """Rows of either side that hold the same content, in the order of the first side.

    Of a content that stands several times on a side, its first row counts.
    """
    place: dict[bytes, int] = {}
    for row, content in enumerate(others):
        place.setdefault(content, row)
    rows: list[int] = []
    matched: list[int] = []
    for row, content in enumerate(contents):
        if content in place:
            rows.append(row)
            matched.append(place.pop(content))
    return np.array(rows, np.int64), np.array(matched, np.int64)


def enough(found: int, of: str) -> None:
    """Raises `InputError` where too few images are shared; `of` says which: `the response samples`."""
    if found < LEAST:
        raise InputError(
            f"{found} images are shared by {of}: expected at least {LEAST}; compare atlases over the same images, "
            "or build with a larger --sample"
        )
