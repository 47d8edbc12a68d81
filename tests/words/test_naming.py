"""Planted words are found first and hold on the other half; noise is named as often as the level says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from atlas.words import naming, null
from tests.words.planted import noise_only, planted


@pytest.mark.parametrize("noise", [0.1, 0.2])
def test_planted_formulas_come_first(noise: float) -> None:
    made = planted(100, 500, 60, noise)
    halves = naming.Halves.of(made.searched, made.held, 5)
    found = naming.name(made.scores, made.held_scores, halves, 3, 10, 3)
    right = 0
    for truth, stated in zip(made.truth, found.stated, strict=True):
        held = truth.holds(np.concatenate([made.searched, made.held]))
        same = (stated[0].formula.holds(np.concatenate([made.searched, made.held])) == held).all()
        right += bool(same and len(stated[0].formula) == len(truth) and stated[0].held_precision >= 0.95)
    assert right >= 95


def test_noise_is_named_as_often_as_the_level_says() -> None:
    made = noise_only(600, 200, 40)
    halves = naming.Halves.of(made.searched, made.held, 5)
    best = null.draw(halves.table, (0, 0), 0, 2000, 3, 10, 0)
    found = naming.name(made.scores, made.held_scores, halves, 3, 10, 1)
    p = null.Null.of(best).p(found.best)
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert (p <= 0.05).mean() <= 0.07
    assert (null.false_discovery(p) <= 0.05).sum() <= 2


@pytest.mark.parametrize("tied", [0.3, 0.8])
def test_noise_with_ties_has_a_null_of_its_own(tied: float) -> None:
    made = noise_only(400, 200, 40, seed=1)
    scores = np.maximum(made.scores, np.quantile(made.scores, tied)).astype(np.float32)
    halves = naming.Halves.of(made.searched, made.held, 5)
    found = naming.name(scores, made.held_scores, halves, 2, 5, 1)
    p = np.empty(len(scores))
    for key in np.unique(found.keys, axis=0):
        rows = (found.keys == key).all(1)
        p[rows] = null.Null.of(null.draw(halves.table, tuple(key.tolist()), 0, 1000, 2, 5, 0)).p(found.best[rows])
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_a_neuron_that_never_changes_has_no_words() -> None:
    made = noise_only(2, 100, 20)
    made.scores[0] = 1
    made.held_scores[1] = 0
    found = naming.name(made.scores, made.held_scores, naming.Halves.of(made.searched, made.held, 5), 2, 5, 1)
    assert found.stated == [[], []]
    assert (found.best == -np.inf).all()


def test_the_null_does_not_depend_on_how_it_is_split() -> None:
    made = noise_only(1, 100, 20)
    table = naming.Halves.of(made.searched, made.held, 5).table
    whole = null.draw(table, (0, 2), 0, 10, 2, 5, 7)
    parts = np.concatenate([null.draw(table, (0, 2), 0, 4, 2, 5, 7), null.draw(table, (0, 2), 4, 6, 2, 5, 7)])
    np.testing.assert_array_equal(whole, parts)
