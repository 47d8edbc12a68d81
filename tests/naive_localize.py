"""Slow twins of `atlas.localize`: components by flooding, scores image by image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def components(mask: Any) -> list[set[tuple[int, int]]]:
    """Components of a mask, corners included, in the order of their first pixels."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    found = []
    for start in sorted(left):
        if start not in left:
            continue
        part, waiting = set(), [start]
        while waiting:
            at = waiting.pop()
            if at not in left:
                continue
            left.discard(at)
            part.add(at)
            waiting += [(at[0] + i, at[1] + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        found.append(part)
    return found


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """By counting the cells of a grid of tenths; boxes (left, top, right, bottom) have tenths as edges."""

    def cells(box: Sequence[float]) -> set[tuple[int, int]]:
        left, top, right, bottom = (round(10 * edge) for edge in box)
        return {(y, x) for y in range(top, bottom) for x in range(left, right)}

    one, other = cells(a), cells(b)
    return len(one & other) / max(len(one | other), 1)


def share_right(overlaps: Any, first: Any, counts: Any, least: float) -> dict[str, float]:
    """Share of images whose box is right, level chosen on the other half: by half and over both."""
    hits: dict[str, list[float]] = {"a": [], "b": [], "both": []}
    for image in range(len(overlaps)):
        others = [i for i in range(len(overlaps)) if first[i] != first[image]]
        totals = [sum(overlaps[i][level] >= least for i in others) for level in range(len(overlaps[0]))]
        best = [level for level, total in enumerate(totals) if total == max(totals)]
        level = best[(len(best) - 1) // 2]
        hit = float(overlaps[image][level] >= least and counts[image])
        hits["a" if first[image] else "b"].append(hit)
        hits["both"].append(hit)
    return {split: sum(each) / len(each) for split, each in hits.items() if each}
