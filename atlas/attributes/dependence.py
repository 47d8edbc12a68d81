"""Does accuracy depend on a bin? Of counts by class and bin: intervals, accuracy within class, effect and test.

Within class: images of one class are compared with each other only, so that an attribute that merely goes with easy
classes has no slope (Simpson's paradox). Everything is a sum over classes of a small table, whatever the images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from atlas.arrays import Doubles

LEVEL = 0.05
Z95 = 1.959963984540054
LEAST = 10
"""Images below which nothing is tested, and comparisons below which a bin has no accuracy within class."""
WITHIN = 0.5
"""Share of the images that must have a classmate, for a test within classes."""
_RANK = 1e-9

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Dependence:
    """`effect`, `p`: None where nothing can be tested, and `why` says so."""

    effect: float | None
    p: float | None
    within_class: bool
    why: str | None = None


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share `right / n`, n > 0 (Wilson 1927)."""
    share, square = right / n, Z95 * Z95
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = Z95 / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    low = 0.0 if right == 0 else max(middle - half, 0.0)
    return low, 1.0 if right == n else min(middle + half, 1.0)


def within_class(n: Counts, right: Counts) -> list[float | None]:
    """Accuracy of each bin had all the same mix of classes. `n`, `right` (classes, bins): images, and those right.

    Least squares of right (1) or wrong (0) on a bin's effect plus a class's effect; the bins' effects are moved so that
    their mean over images is the accuracy over these images, and cut to 0 to 1. None where a bin's images have fewer
    than `LEAST` comparisons with classmates in other bins, or cannot be compared with most bins at all.
    """
    sizes = n.sum(axis=1, keepdims=True).clip(1)  # (classes, 1)
    share = n / sizes
    normal = np.diag(n.sum(axis=0).astype(np.float64)) - n.T @ share  # (bins, bins), a graph's Laplacian
    residual = (right - share * right.sum(axis=1, keepdims=True)).sum(axis=0)
    together = _component(normal, n.sum(axis=0))
    if len(together) < 2:
        return [None] * n.shape[1]
    effects = np.linalg.lstsq(normal[np.ix_(together, together)], residual[together], rcond=_RANK)[0]
    weights = n.sum(axis=0)[together]
    effects += right.sum(axis=0)[together].sum() / weights.sum() - (weights * effects).sum() / weights.sum()
    answer: list[float | None] = [None] * n.shape[1]
    for place, effect in zip(together.tolist(), effects.tolist(), strict=True):
        if normal[place, place] >= LEAST:
            answer[place] = min(max(effect, 0.0), 1.0)
    return answer


def _component(normal: Doubles, images: Counts) -> Counts:
    """The bins, ascending, that classes connect with each other and that hold most images together."""
    left, best = set(range(len(normal))), np.zeros(0, np.int64)
    while left:
        reached: set[int] = set()
        front = [min(left)]
        while front:
            place = front.pop()
            if place not in reached:
                reached.add(place)
                front += np.flatnonzero(normal[place] < -_RANK).tolist()
        left -= reached
        found = np.array(sorted(reached), np.int64)
        if images[found].sum() > images[best].sum():
            best = found
    return best


def dependence(n: Counts, right: Counts) -> Dependence:
    """The Cochran-Mantel-Haenszel test of general association (Landis et al. 1978), a stratum a class, a column a bin.

    Given its class's totals, which of a class's images are right is chance: `d`, the right of each bin less what is
    expected, has a known covariance `V`, and dᵀ V⁺ d is χ² with as many degrees of freedom as `V` has ranks. Where
    fewer than `WITHIN` of the images have a classmate, all images are one stratum. Effect: Cramér's V, bias-corrected
    (Bergsma 2013), over the images of the strata that count.
    """
    from scipy import stats

    total = int(n.sum())
    if total < LEAST:
        return Dependence(None, None, False, f"{total} images have a value; expected at least {LEAST}")
    if right.sum() in (0, total):
        return Dependence(None, None, False, f"every image is {'right' if right.sum() else 'wrong'}")
    if (n.sum(axis=0) > 0).sum() < 2:
        return Dependence(None, None, False, "all values are the same")
    inside = bool(n.sum(axis=1)[n.sum(axis=1) > 1].sum() >= WITHIN * total)
    if not inside:
        n, right = n.sum(axis=0, keepdims=True), right.sum(axis=0, keepdims=True)
    sizes, rights = n.sum(axis=1), right.sum(axis=1)
    counts = (sizes > 1) & (rights > 0) & (rights < sizes)
    n, right, sizes, rights = n[counts], right[counts], sizes[counts].astype(float), rights[counts].astype(float)
    d = (right - n * (rights / sizes)[:, None]).sum(axis=0)
    factor = rights * (sizes - rights) / (sizes * sizes * (sizes - 1))  # (classes,)
    covariance = np.diag((n * (factor * sizes)[:, None]).sum(axis=0)) - (n * factor[:, None]).T @ n
    values, vectors = np.linalg.eigh(covariance)
    kept = values > _RANK * max(float(values[-1]), 1e-300) if len(values) else np.zeros(0, bool)
    freedom = int(kept.sum())
    if not freedom:
        return Dependence(None, None, inside, "no class has right and wrong images in different bins")
    statistic = float((((vectors.T @ d)[kept]) ** 2 / values[kept]).sum())
    return Dependence(_cramer(statistic, freedom, float(sizes.sum())), float(stats.chi2.sf(statistic, freedom)), inside)


def _cramer(statistic: float, freedom: int, n: float) -> float:
    """Bias-corrected Cramér's V of a table of `freedom + 1` bins and two answers."""
    phi = max(0.0, statistic / n - freedom / (n - 1))
    smaller = min(freedom + 1 - freedom**2 / (n - 1), 2 - 1 / (n - 1)) - 1
    return min(math.sqrt(phi / smaller), 1.0) if smaller > 0 else 0.0


def holm(p: list[float | None], level: float = LEVEL) -> list[bool]:
    """Which tests are significant, so that one or more of those without an effect is with probability `level` at most
    (Holm 1979). None: not tested, and not counted."""
    tested = sorted((value, i) for i, value in enumerate(p) if value is not None)
    answer = [False] * len(p)
    for rank, (value, i) in enumerate(tested):
        if value > level / (len(tested) - rank):
            break
        answer[i] = True
    return answer
