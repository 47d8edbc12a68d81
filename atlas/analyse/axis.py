"""Is the unit's own axis special? The same statistics for a layer's neurons and for random directions of it.

Szegedy et al. 2014 ("Intriguing properties of neural networks") found the images that activate a random direction of a
layer as alike as those that activate a neuron. Here both are measured, on the side-max responses to the response
sample. A random direction is a Gaussian vector of unit length; its response is the inner product with the layer's
responses to an image. Because a direction has no zero of its own, both count responses above their median: the
statistics do not change when a response is shifted or scaled.
"""

from __future__ import annotations

import numpy as np

from atlas.analyse.sample import Responses, Sample
from atlas.arrays import Doubles, Floats
from atlas.store.codes import Ids

NEAREST = 9
CHANNELS = 256  # directions looked at together

MEASURES = ("selectivity", "purity", "closeness")


def compare(sample: Sample, near: Floats, classes: Ids, seed: int) -> dict[str, dict[str, float | None]]:
    """By layer, the medians over its neurons and over as many random directions: values of the column `axis`.

    `near`: codes of the sample's images (images, dimensions) of unit length; `classes`: their class, -1 for none.
    Directions that do not vary are left out; a measure without any is None, as are class measures of fewer than two
    classes.
    """
    found = {}
    for number, part in enumerate(sample.layers()):
        random = np.random.default_rng([seed, 5, number])
        channels = part.maxima.shape[1]
        directions = random.standard_normal((channels, channels)).astype(np.float32)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        row: dict[str, float | None] = {}
        for who, across in (("neurons", None), ("random", directions)):
            for measure, values in _medians(part, across, near, classes).items():
                row[f"{measure}_{who}"] = values
        found[part.layer] = row
    return found


def _medians(part: Responses, directions: Floats | None, near: Floats, classes: Ids) -> dict[str, float | None]:
    collected: dict[str, list[Doubles]] = {measure: [] for measure in MEASURES}
    channels = part.maxima.shape[1]
    for start in range(0, channels, CHANNELS):
        if directions is None:
            responses = part.maxima[:, start : start + CHANNELS]
        else:
            responses = np.matmul(part.maxima, directions[start : start + CHANNELS].T)  # (images, channels)
        for measure, values in statistics(responses.T, near, classes).items():
            collected[measure].append(values)
    medians: dict[str, float | None] = {}
    for measure, pieces in collected.items():
        values = np.concatenate(pieces)
        values = values[np.isfinite(values)]
        medians[measure] = float(np.median(values)) if len(values) else None
    return medians


WORDS = {
    "selectivity": "class selectivity",
    "purity": "class purity of the strongest nine images",
    "closeness": "closeness of the codes of the strongest nine",
}


def words(axes: dict[str, dict[str, float | None]]) -> list[str]:
    """What `compare` found, a sentence a measure; none for a measure that no layer has."""
    sentences = []
    for measure, name in WORDS.items():
        rows = [(row[f"{measure}_neurons"], row[f"{measure}_random"]) for row in axes.values()]
        pairs = [(own, random) for own, random in rows if own is not None and random is not None]
        if not pairs:
            continue
        above = sum(own > random for own, random in pairs)
        own, random = (float(np.median(values)) for values in zip(*pairs, strict=True))
        sentences.append(
            f"{name}: neurons above random directions in {above} of {len(pairs)} layers "
            f"(median over layers {own:.3f} against {random:.3f})"
        )
    return sentences


def statistics(responses: Floats, near: Floats, classes: Ids) -> dict[str, Doubles]:
    """Selectivity, purity and closeness of directions; nan where undefined.

    `responses`: (directions, images). Selectivity: Morcos et al. 2018, (m - o) / (m + o), m the largest class mean of
    the responses above the median, o the mean of the other classes' means. Purity: share of the commonest class among
    the nine strongest images that have one. Closeness: mean cosine of the codes of the nine, over their pairs. Ties
    among the strongest go to the earlier image.
    """
    spread = responses.max(axis=1) > responses.min(axis=1) if responses.shape[1] else np.zeros(len(responses), bool)
    undefined = np.where(spread, 0.0, np.nan)
    strongest = np.argsort(-responses, axis=1, kind="stable")[:, :NEAREST]  # (directions, nine)
    return {
        "selectivity": selectivity(responses, classes) + undefined,
        "purity": purity(classes[strongest]) + undefined,
        "closeness": closeness(near[strongest]) + undefined,
    }


def selectivity(responses: Floats, classes: Ids) -> Doubles:
    """Class selectivity of each row of responses (directions, images); nan with fewer than two classes."""
    present, column = np.unique(classes[classes >= 0], return_inverse=True)
    if len(present) < 2:
        return np.full(len(responses), np.nan)
    above = responses.astype(np.float64) - np.median(responses, axis=1, keepdims=True)
    above = np.maximum(above, 0)[:, classes >= 0]
    member = np.zeros((len(column), len(present)))
    member[np.arange(len(column)), column] = 1 / np.bincount(column)[column]
    means = above @ member  # (directions, classes)
    most = means.max(axis=1)
    others = (means.sum(axis=1) - most) / (len(present) - 1)
    total = most + others
    return np.asarray(np.divide(most - others, total, out=np.full(len(total), np.nan), where=total > 0))


def purity(classes: Ids) -> Doubles:
    """Share of the commonest class in each row (directions, images), of the images that have one (-1: none)."""
    shares = np.full(len(classes), np.nan)
    for row, found in enumerate(classes):
        known = found[found >= 0]
        if len(known):
            shares[row] = np.unique(known, return_counts=True)[1].max() / len(known)
    return shares


def closeness(vectors: Floats) -> Doubles:
    """Mean cosine over the pairs of each group of unit vectors (groups, images, dimensions); nan without a pair."""
    groups, images = vectors.shape[:2]
    if images < 2:
        return np.full(groups, np.nan)
    total = vectors.sum(axis=1, dtype=np.float64)  # the square of a sum holds each pair twice, and each square once
    squares = np.einsum("gid,gid->g", vectors, vectors, dtype=np.float64)
    return np.asarray((np.einsum("gd,gd->g", total, total) - squares) / (images * (images - 1)))
