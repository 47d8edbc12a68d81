"""How well a formula agrees with responses: the measures that are reported. All keep ties, as scikit-learn does."""

from __future__ import annotations

import numpy as np

from atlas.arrays import Doubles, Flags, Ints
from atlas.words import chance


def average_precision(ranked: Flags, ends: Ints) -> Doubles:
    """Area under precision and recall (AUPRC), as scikit-learn's `average_precision_score`: (formulas,).

    `ranked` (formulas, images): for which images formulas hold, the strongest response first; `ends` (images,) where
    groups of equal responses end. nan where a formula holds for none.
    """
    held = np.cumsum(ranked, axis=1, dtype=np.int64)
    precisions = np.where(ranked, held[:, ends - 1] / ends, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(precisions.sum(1) / held[:, -1])


def area(ranked: Flags, ends: Ints) -> Doubles:
    """Area under the receiver operating characteristic (AUC), ties half; nan where all or none hold."""
    images = ranked.shape[1]
    below = (
        images - (chance.starts(ends) + ends + 1) / 2
    )  # images of weaker responses, and half of the equal ones but itself
    n = ranked.sum(1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((ranked @ below - n * (n - 1) / 2) / (n * (images - n)))


def correlation(flags: Flags, scores: Doubles) -> Doubles:
    """Pearson's correlation of the responses (images,) with formulas as 0 and 1 (formulas, images).

    nan where one side does not vary.
    """
    centred = scores - scores.mean()
    length = np.sqrt(centred @ centred)
    if length > 0:
        centred = centred / length
    share = flags.mean(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (flags @ centred) / np.sqrt(flags.shape[1] * share * (1 - share))
    return np.asarray(found if length > 0 else np.full(len(flags), np.nan))


def separation(ranked: Flags, ends: Ints) -> float:
    """Mann and Whitney's z: how far responses of flagged images lie above those of the others; 0 where none differ.

    `ranked`, `ends` (images,) as above. Normal approximation with ties; of few images it states less than an exact
    test would.
    """
    n, images = int(ranked.sum()), len(ranked)
    if n in (0, images):
        return 0.0
    sizes = (ends - chance.starts(ends)).astype(np.float64)
    u = float(area(ranked[None], ends)[0]) * n * (images - n)
    ties = (sizes**2 - 1).sum() / (images * (images - 1))
    variance = n * (images - n) / 12 * (images + 1 - ties)
    return float((u - n * (images - n) / 2) / np.sqrt(variance)) if variance > 0 else 0.0
