"""In what do the images of a class that are taken for something else differ from the others?

For each class and attribute of numbers Mann and Whitney's test (normal approximation with ties), whose effect is the
rank-biserial correlation; for angles the circular-linear correlation of being wrong with the angle, and p by F, as for
neurons (`atlas.analyse.associations`). q over all classes and attributes by Benjamini and Hochberg (1995).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from atlas.analyse.associations import circular_linear
from atlas.arrays import Doubles
from atlas.attributes.dependence import LEVEL
from atlas.attributes.values import Attribute, Judged
from atlas.tables import attributes as tables

LEAST = 5
"""Images taken rightly, and wrongly, that a class needs."""
Flags = npt.NDArray[np.bool_]


def differences(judged: Judged) -> pa.Table:
    """The table `class_differences`, by class and then attribute."""
    rows: list[dict[str, Any]] = []
    for attribute in judged.attributes:
        if attribute.kind == "words":
            continue
        own = attribute.column
        found = judged.connection.execute(
            f"SELECT class_id, correct, {own} AS value FROM judged WHERE {own} IS NOT NULL ORDER BY class_id, image_id"
        ).fetchnumpy()
        classes, wrong = np.asarray(found["class_id"], np.int64), ~np.asarray(found["correct"], bool)
        values = np.asarray(found["value"], np.float64)
        edges = np.flatnonzero(np.diff(classes, prepend=-1, append=-1)).tolist()
        for start, end in pairwise(edges):
            row = difference(values[start:end], wrong[start:end], attribute)
            if row is not None:
                rows.append({"class_id": int(classes[start]), "attribute": attribute.name, **row})
    for row, significant in zip(rows, benjamini_hochberg([row["p"] for row in rows]), strict=True):
        row["significant"] = significant
    rows.sort(key=lambda row: row["class_id"])
    return pa.Table.from_pylist(rows, tables.DIFFERENCES.columns)


def difference(values: Doubles, wrong: Flags, attribute: Attribute) -> dict[str, Any] | None:
    """A row without class and attribute, or None where too few are right or wrong or nothing varies."""
    count = int(wrong.sum())
    if min(count, len(values) - count) < LEAST or values.min() == values.max():
        return None
    if attribute.kind == "angle":
        circular = _circular(values * attribute.turns, wrong)
        if circular is None:
            return None
        effect, p = circular
        middles = [circular_mean(values[which], attribute.turns) for which in (~wrong, wrong)]
    else:
        effect, p = _mann_whitney(values, wrong)
        middles = [float(np.median(values[which])) for which in (~wrong, wrong)]
    numbers = {"right_value": middles[0], "wrong_value": middles[1], "effect": effect, "p": p}
    return {"n": len(values), "wrong": count, **numbers}


def _mann_whitney(values: Doubles, wrong: Flags) -> tuple[float, float]:
    """Rank-biserial correlation and two-sided p, with the corrections for ties and continuity."""
    _, place, equals = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(equals) - (equals - 1) / 2)[place]  # equal values share their mean rank, from 1
    n, m, total = int(wrong.sum()), int((~wrong).sum()), len(values)
    statistic = float(ranks[wrong].sum()) - n * (n + 1) / 2  # pairs in which the wrong one has more, ties half
    ties = float((equals.astype(np.float64) ** 3 - equals).sum()) / (total * (total - 1))
    deviation = math.sqrt(n * m / 12 * (total + 1 - ties))
    beyond = max(abs(statistic - n * m / 2) - 0.5, 0.0) / deviation
    return 2 * statistic / (n * m) - 1, math.erfc(beyond / math.sqrt(2))


def _circular(angles: Doubles, wrong: Flags) -> tuple[float, float] | None:
    from scipy import stats

    n = len(angles)
    share = float(wrong.mean())
    standard = (wrong - share) / np.sqrt(n * share * (1 - share))
    effect = float(circular_linear(standard[None], angles)[0])
    if not np.isfinite(effect):
        return None
    squared = min(effect**2, 1 - 1e-15)
    return effect, float(stats.f.sf(squared / 2 / ((1 - squared) / (n - 3)), 2, n - 3))


def circular_mean(angles: Doubles, turns: int) -> float:
    """Direction of the mean of unit vectors at `turns` times the angles, divided by `turns`: in [0, 2π / turns)."""
    at = np.arctan2(np.sin(turns * angles).sum(), np.cos(turns * angles).sum()) % (2 * np.pi)
    return float(at / turns)


def benjamini_hochberg(p: list[float], level: float = LEVEL) -> list[bool]:
    """Which tests are significant, so that of those found at most `level` are expected to be false."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    last = max((rank for rank, i in enumerate(order, 1) if p[i] <= level * rank / len(p)), default=0)
    answer = [False] * len(p)
    for i in order[:last]:
        answer[i] = True
    return answer
