"""Pictures' codes among all images' codes, and the mean codes of the map's cells; in bounded memory.

Codes come in blocks: image_id (n,) and codes (n, dimensions), again each time `blocks` is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from atlas.arrays import Doubles, Floats

Blocks = Callable[[], Iterable[tuple[NDArray[np.int64], Floats]]]
Cell = tuple[int, int]
"""Row and column of a cell of the map."""


def _units(codes: Floats | Doubles) -> Doubles:
    found = codes.astype(np.float64)
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-30))


def ranks(blocks: Blocks, found: Doubles, originals: Sequence[int]) -> list[int | None]:
    """Of each original its place among all images, from 0, by cosine to the code (N, dimensions) of its picture.

    An image that is exactly as near does not count before it. None for an original that has no code.
    """
    pictures = _units(found)
    own = np.full(len(originals), np.nan)
    for ids, codes in blocks():
        place = {int(image_id): row for row, image_id in enumerate(ids)}
        for row, original in enumerate(originals):
            if original in place:
                own[row] = _units(codes[place[original]][None])[0] @ pictures[row]
    nearer = np.zeros(len(originals), np.int64)
    for ids, codes in blocks():
        similarity = _units(codes) @ pictures.T  # (n, N)
        similarity[ids[:, None] == np.asarray(originals)[None]] = -np.inf
        nearer += (similarity > own).sum(0)
    return [None if np.isnan(mine) else int(count) for mine, count in zip(own, nearer, strict=True)]


def cells(places: Sequence[tuple[int, int | None, int | None]], side: int) -> dict[Cell, list[int]]:
    """Images of each of `side` × `side` cells, by (row, column); cells without any are absent.

    `places`: image_id, and its row and column in the map's grid arrangement, None where it is not arranged.
    """
    arranged = [(i, r, c) for i, r, c in places if r is not None and c is not None]
    height, width = (max((each[axis] for each in arranged), default=0) + 1 for axis in (1, 2))
    found: dict[Cell, list[int]] = {}
    for image_id, row, column in arranged:
        found.setdefault((row * side // height, column * side // width), []).append(image_id)
    return {cell: sorted(found[cell]) for cell in sorted(found)}


def mean_codes(blocks: Blocks, members: Mapping[Cell, Sequence[int]]) -> dict[Cell, Doubles]:
    """The mean code (dimensions,) of each cell's images; summed in float64 in the order of image_id."""
    of = {image_id: cell for cell, ids in members.items() for image_id in ids}
    sums: dict[Cell, Doubles] = {}
    counts: dict[Cell, int] = {}
    for ids, codes in blocks():
        for image_id, code in zip(ids, codes, strict=True):
            cell = of.get(int(image_id))
            if cell is not None:
                sums[cell] = sums.get(cell, 0.0) + code.astype(np.float64)
                counts[cell] = counts.get(cell, 0) + 1
    return {cell: sums[cell] / counts[cell] for cell in members if cell in sums}
