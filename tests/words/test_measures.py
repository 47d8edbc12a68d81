"""Every reported measure against scikit-learn or SciPy, ties included."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from atlas.words import chance, measures
from atlas.words.null import false_discovery


@pytest.mark.parametrize("levels", [0, 3, 20])
@pytest.mark.parametrize("seed", range(5))
def test_measures_equal_the_libraries(levels: int, seed: int) -> None:
    source = np.random.default_rng(seed)
    scores = source.normal(size=300).astype(np.float32)
    if levels:
        scores = np.round(scores * levels / 3) * 3 / levels
    flags = source.random((6, 300)) < source.uniform(0.02, 0.9, (6, 1))
    order = np.argsort(-scores, kind="stable")
    ends = chance.ends(scores[order]).astype(np.int64)
    wide = scores.astype(np.float64)
    exact = {"rtol": 0, "atol": 1e-12}
    np.testing.assert_allclose(
        measures.average_precision(flags[:, order], ends), [average_precision_score(f, scores) for f in flags], **exact
    )
    np.testing.assert_allclose(measures.area(flags[:, order], ends), [roc_auc_score(f, scores) for f in flags], **exact)
    np.testing.assert_allclose(
        measures.correlation(flags, wide), [stats.pearsonr(f, wide).statistic for f in flags], **exact
    )
    for flag in flags:
        z = measures.separation(flag[order], ends)
        p = stats.mannwhitneyu(
            wide[flag], wide[~flag], use_continuity=False, alternative="greater", method="asymptotic"
        ).pvalue
        assert stats.norm.sf(z) == pytest.approx(p, abs=1e-12)


def test_by_hand() -> None:
    ranked = np.array([[True, False, True, False]])
    ends = np.arange(1, 5)
    assert measures.average_precision(ranked, ends)[0] == pytest.approx((1 + 2 / 3) / 2)
    assert measures.area(ranked, ends)[0] == 0.75
    assert measures.average_precision(ranked, np.array([2, 2, 4, 4]))[0] == 0.5


def test_what_does_not_vary_is_nan() -> None:
    assert np.isnan(measures.correlation(np.array([[True, False]]), np.ones(2)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isnan(measures.area(np.zeros((1, 4), bool), np.arange(1, 5)))
    assert measures.separation(np.zeros(4, bool), np.arange(1, 5)) == 0


def test_false_discovery_rates_equal_scipys() -> None:
    p = np.random.default_rng(0).uniform(size=200) ** 3
    np.testing.assert_allclose(false_discovery(p), stats.false_discovery_control(p), rtol=0, atol=1e-12)
    assert len(false_discovery(np.empty(0))) == 0
