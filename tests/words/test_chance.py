"""Moments of average precision against all orders written out, and by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from atlas.words import chance

SCORES = ([6, 5, 4, 3, 2, 1], [3, 3, 3, 2, 1, 1], [1, 1, 1, 1, 0, 0], [2, 1, 1, 1, 1, 1], [4, 4, 3, 3, 2, 2])


@pytest.mark.parametrize("scores", SCORES)
@pytest.mark.parametrize("n", range(1, 7))
def test_mean_and_deviation_are_those_over_all_orders(scores: list[float], n: int) -> None:
    sums = chance.moments(chance.ends(np.array(scores, np.float64)))
    values = [
        average_precision_score(np.isin(np.arange(6), held), scores) for held in itertools.combinations(range(6), n)
    ]
    assert sums.mean(np.array(float(n))) == pytest.approx(np.mean(values), abs=1e-12)
    assert sums.deviation(np.array(float(n))) == pytest.approx(np.std(values), abs=1e-12)


def test_two_images_by_hand() -> None:
    sums = chance.moments(np.array([1, 2], np.int32))
    assert float(sums.mean(np.array(1.0))) == 0.75  # first: 1; second: 1/2
    assert float(sums.deviation(np.array(1.0))) == 0.25
    assert float(sums.excess(np.array(1.0), np.array(1.0))) == 1.0


def test_what_does_not_vary_has_no_excess() -> None:
    sums = chance.moments(np.array([4, 4, 4, 4], np.int32))
    assert float(sums.excess(np.array(0.25), np.array(1.0))) == -np.inf
    assert float(chance.moments(np.arange(1, 5, dtype=np.int32)).excess(np.array(1.0), np.array(4.0))) == -np.inf


def test_many_images_agree_with_drawn_orders() -> None:
    source = np.random.default_rng(0)
    scores = np.sort(source.integers(0, 300, 500))[::-1].astype(np.float64)
    sums = chance.moments(chance.ends(scores))
    drawn = [average_precision_score(source.permutation(np.arange(500) < 40), scores) for _ in range(2000)]
    assert float(sums.mean(np.array(40.0))) == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / 2000**0.5)
    assert float(sums.deviation(np.array(40.0))) == pytest.approx(np.std(drawn), rel=0.1)
