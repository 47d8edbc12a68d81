"""Boxes of masks and maps, half open, and how much two of them overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from atlas.types import Box, Placement

Mask = NDArray[np.bool_]
LEVELS: tuple[float, ...] = (0.01, 0.02, 0.03, 0.05, 0.07, *(n / 20 for n in range(2, 20)))
"""Shares of a map's range, or of an image's side, that are tried as thresholds."""
_EIGHT = np.ones((3, 3), bool)


def iou(a: Box, b: Box) -> float:
    """Intersection over union; 0 where either is empty."""
    width = min(a.right, b.right) - max(a.left, b.left)
    height = min(a.bottom, b.bottom) - max(a.top, b.top)
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / (a.width * a.height + b.width * b.height - both)


def best_iou(box: Box | None, truths: Sequence[Box]) -> float:
    """The largest overlap with any of the true boxes; 0 without a box."""
    return max((iou(box, truth) for truth in truths), default=0.0) if box is not None else 0.0


def largest(mask: Mask) -> Mask | None:
    """The largest component of a mask (h, w), pixels that touch at a corner included; None where it is empty.

    Of equally large ones that whose first pixel comes first, row by row.
    """
    labels, count = ndimage.label(mask, _EIGHT)
    if not count:
        return None
    sizes = np.bincount(labels.reshape(-1))[1:]
    chosen: Mask = labels == 1 + int(sizes.argmax())  # labels are given in the order of first pixels
    return chosen


def box_of(mask: Mask | None) -> Box | None:
    """The smallest box around the pixels of a mask (h, w); None where there are none."""
    if mask is None or not mask.any():
        return None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return Box(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


def stored(box: Box | None, placement: Placement, width: int, height: int) -> Box | None:
    """A box in input pixels, in pixels of the image as stored, clipped to its `width` and `height`."""
    if box is None:
        return None
    there = placement.to_stored(box)
    clipped = Box(max(there.left, 0.0), max(there.top, 0.0), min(there.right, width), min(there.bottom, height))
    return clipped if clipped.width > 0 and clipped.height > 0 else None


def scaled(values: NDArray[Any]) -> NDArray[np.float32] | None:
    """A map from 0 (its least value) to 1 (its largest); None where it is the same everywhere, or not finite."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(low) or not np.isfinite(high) or high <= low:
        return None
    return ((values - low) / (high - low)).astype(np.float32)


def at_levels(values: NDArray[Any], levels: Sequence[float] = LEVELS) -> list[Box | None]:
    """For each level the box of the largest component of what is at least so high in the map (h, w) from 0 to 1."""
    high = scaled(values)
    return [None if high is None else box_of(largest(high >= level)) for level in levels]


def centre(width: int, height: int, side: float) -> Box:
    """A box in the middle of an image, `side` of its width and of its height."""
    return Box(
        width * (1 - side) / 2, height * (1 - side) / 2, width * (1 + side) / 2, height * (1 + side) / 2
    )  # fmt: skip
