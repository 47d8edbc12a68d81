"""The missing-label and extra-label tests of Oikarinen, Yan & Weng 2025, on the measure that ranks words.

A neuron that is a concept is named once by the concept, once by half of its images (missing labels), once by twice as
many (extra labels). A measure is sound where it falls in both, for nearly all concepts and base rates.
"""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from atlas.words import chance


def scores(kind: str, flags: np.ndarray, neuron: np.ndarray) -> float:
    if kind == "auprc":
        return float(average_precision_score(flags, neuron))
    if kind == "auc":
        return float(roc_auc_score(flags, neuron))
    order = np.argsort(-neuron, kind="stable")
    sums = chance.moments(chance.ends(neuron[order]))
    return float(sums.excess(np.array(average_precision_score(flags, neuron)), np.array(float(flags.sum()))))


def passed(kind: str, test: str) -> float:
    """Share of concepts, of many base rates, whose score falls."""
    source = np.random.default_rng(0)
    falls = []
    for share in (0.005, 0.01, 0.03, 0.1, 0.2):
        for _ in range(20):
            truth = source.random(4000) < share
            neuron = truth + source.normal(size=4000) * 0.05
            changed = truth.copy()
            if test == "missing":
                changed[source.choice(np.flatnonzero(truth), truth.sum() // 2, replace=False)] = False
            else:
                changed[source.choice(np.flatnonzero(~truth), truth.sum(), replace=False)] = True
            falls.append(scores(kind, changed, neuron) < scores(kind, truth, neuron) - 1e-3)
    return float(np.mean(falls))


@pytest.mark.parametrize("test", ["missing", "extra"])
@pytest.mark.parametrize("kind", ["auprc", "excess"])
def test_the_ranking_falls_where_labels_are_wrong(kind: str, test: str) -> None:
    assert passed(kind, test) >= 0.95


def test_the_area_under_the_curve_hardly_sees_missing_labels_of_rare_concepts() -> None:
    source = np.random.default_rng(0)
    truth = source.random(4000) < 0.005
    neuron = truth + source.normal(size=4000) * 0.05
    half = truth.copy()
    half[np.flatnonzero(truth)[::2]] = False
    assert scores("auc", half, neuron) > 0.99 * scores("auc", truth, neuron)
    assert scores("excess", half, neuron) < 0.7 * scores("excess", truth, neuron)
