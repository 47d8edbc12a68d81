"""Slow twins of the routines of `atlas.codes`, written from their definitions with loops."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.floating]


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """Cosine of two vectors; 0 where one is zero."""
    length = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(x * x for x in b))
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / length if length else 0.0


def correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Pearson's correlation."""
    mean_a, mean_b = math.fsum(a) / len(a), math.fsum(b) / len(b)
    return cosine([x - mean_a for x in a], [x - mean_b for x in b])


def nearest(codes: Matrix, ids: Sequence[int], query: Sequence[float], k: int, own: int | None = None) -> list[int]:
    """image_ids of the `k` codes nearest to a query by cosine, ties to the smaller image_id."""
    ranked = sorted(
        (-cosine(code.tolist(), query), image) for code, image in zip(codes, ids, strict=True) if image != own
    )
    return [image for _, image in ranked[:k]]


def ranks(values: Sequence[float]) -> list[float]:
    """Average ranks, from 1."""
    return [1 + sum(y < x for y in values) + (sum(y == x for y in values) - 1) / 2 for x in values]


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation."""
    return correlation(ranks(a), ranks(b))


def circular_linear(values: Sequence[float], angles: Sequence[float]) -> float:
    """Mardia's circular-linear correlation on the ranks of the values: the multiple correlation with cos and sin."""
    x = np.array(ranks(values))
    design = np.stack([np.ones(len(x)), np.cos(angles), np.sin(angles)], 1)
    fitted = design @ np.linalg.lstsq(design, x, rcond=None)[0]
    return math.sqrt(max(0.0, 1 - float(((x - fitted) ** 2).sum() / ((x - x.mean()) ** 2).sum())))


def similar(profiles: Matrix, top: int, centred: bool) -> list[list[tuple[int, float]]]:
    """For each profile the `top` most similar others, similarity rounded to six digits, ties to the smaller."""
    compare = correlation if centred else cosine
    found = []
    for i, a in enumerate(profiles):
        pairs = [(-round(compare(a.tolist(), b.tolist()), 6), j) for j, b in enumerate(profiles) if j != i]
        found.append([(j, -value) for value, j in sorted(pairs)[:top]])
    return found


def mean_code(codes: Sequence[Sequence[float]], responses: Sequence[float]) -> list[float]:
    """Response-weighted mean of the codes; a plain mean where no response is above 0."""
    weights = [max(r, 0.0) for r in responses]
    if not any(weights):
        weights = [1.0] * len(responses)
    total = math.fsum(weights)
    return [math.fsum(w * c[d] for w, c in zip(weights, codes, strict=True)) / total for d in range(len(codes[0]))]


def closeness(vectors: Matrix) -> float:
    """Mean cosine over all pairs."""
    pairs = [cosine(a.tolist(), b.tolist()) for i, a in enumerate(vectors) for b in vectors[:i]]
    return math.fsum(pairs) / len(pairs)


def preservation(vectors: Matrix, coordinates: Matrix, k: int) -> float:
    """Share of the `k` nearest by cosine that are among the `k` nearest on the map, over all rows."""
    kept = 0
    for i in range(len(vectors)):
        others = [j for j in range(len(vectors)) if j != i]
        near = sorted(others, key=lambda j: -float(vectors[i] @ vectors[j]))[:k]
        shown = sorted(others, key=lambda j: float(((coordinates[i] - coordinates[j]) ** 2).sum()))[:k]
        kept += len(set(near) & set(shown))
    return kept / (k * len(vectors))


def properties(pixels: npt.NDArray[np.uint8]) -> dict[str, float]:
    """Brightness, contrast, colourfulness, hue and edges of an image, pixel by pixel."""
    rows = [[tuple(int(v) for v in p) for p in row] for row in pixels]
    flat = [p for row in rows for p in row]
    luma = [[(77 * r + 150 * g + 29 * b) / 256 for r, g, b in row] for row in rows]
    values = [v for row in luma for v in row]
    rg, yb = [r - g for r, g, _ in flat], [(r + g) / 2 - b for r, g, b in flat]
    mean = [math.fsum(p[c] for p in flat) / len(flat) for c in range(3)]
    alpha, beta = mean[0] - (mean[1] + mean[2]) / 2, math.sqrt(3) / 2 * (mean[1] - mean[2])
    xx = yy = xy = edges = count = 0.0
    for y in range(1, len(rows) - 1):
        for x in range(1, len(rows[0]) - 1):
            gx, gy = (luma[y][x + 1] - luma[y][x - 1]) / 2, (luma[y + 1][x] - luma[y - 1][x]) / 2
            xx, yy, xy, count = xx + gx * gx, yy + gy * gy, xy + gx * gy, count + 1
            edges += math.hypot(gx, gy) > 25.5
    return {
        "brightness": float(np.mean(values)) / 255,
        "contrast": float(np.std(values)) / 255,
        "colourfulness": math.hypot(np.std(rg), np.std(yb)) + 0.3 * math.hypot(np.mean(rg), np.mean(yb)),
        "hue": math.atan2(beta, alpha) % (2 * math.pi) if math.hypot(alpha, beta) >= 1 else math.nan,
        "edge_density": edges / count,
        "edge_orientation": (0.5 * math.atan2(2 * xy, xx - yy) + math.pi / 2) % math.pi
        if math.hypot(xx - yy, 2 * xy) >= 0.01 * (xx + yy) > 0
        else math.nan,
    }
