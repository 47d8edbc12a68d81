"""Matches against SciPy pair by pair, across blocks, with ties, and under a permutation of channels."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.compare import matching
from atlas.compare.matching import Best, Unit
from tests.compare import naive


def matched(a: np.ndarray, b: np.ndarray, step: int) -> tuple[Best, Best]:
    best_a, best_b = Best.none(a.shape[1]), Best.none(b.shape[1])
    for i in range(0, a.shape[1], step):
        for j in range(0, b.shape[1], step):
            matching.match(Unit.of(a[:, i : i + step]), Unit.of(b[:, j : j + step]), best_a, best_b, i, j)
    return best_a, best_b


@pytest.mark.parametrize("step", [3, 7, 100])
def test_matches_equal_the_naive_ones_however_blocks_are_cut(step: int) -> None:
    source = np.random.default_rng(0)
    a = source.normal(size=(50, 12)).astype(np.float32) * 100 + 3
    b = (a[:, source.integers(0, 12, 17)] + source.normal(size=(50, 17)) * 150).astype(np.float32)
    best_a, best_b = matched(a, b, step)
    for best, (others, values) in ((best_a, naive.best_match(a, b)), (best_b, naive.best_match(b, a))):
        assert best.other.tolist() == others
        np.testing.assert_allclose(best.correlation, values, rtol=0, atol=1e-12)
    both = matching.mutual(best_a, best_b)
    assert both.tolist() == [best_b.other[o] == i for i, o in enumerate(best_a.other)]


def test_permuted_channels_are_all_matched_rightly() -> None:
    source = np.random.default_rng(1)
    a = source.normal(size=(300, 40)).astype(np.float32)
    order = source.permutation(40)
    best_a, best_b = matched(a, a[:, order], 16)
    assert order[best_a.other].tolist() == list(range(40))
    assert matching.mutual(best_a, best_b).all()
    np.testing.assert_allclose(best_a.correlation, 1, atol=1e-12)


def test_of_equal_neurons_the_first_and_of_constant_ones_none() -> None:
    a = np.random.default_rng(2).normal(size=(30, 3)).astype(np.float32)
    b = np.concatenate([np.ones((30, 1), np.float32), a[:, 1:2], a[:, 1:2] * 2, a[:, :1]], 1)
    a[:, 2] = 5
    for step in (1, 2, 10):
        best_a, _ = matched(a, b, step)
        assert best_a.other.tolist() == [3, 1, -1]
        assert best_a.correlation[2] == -np.inf


def test_parts_join_to_the_same_answer_in_any_order() -> None:
    source = np.random.default_rng(3)
    a, b = source.normal(size=(2, 40, 9)).astype(np.float32)
    whole = matched(a, b, 9)[1]
    parts = []
    for i in (6, 0, 3):
        part = Best.none(9)
        matching.match(Unit.of(a[:, i : i + 3]), Unit.of(b), Best.none(9), part, i, 0)
        parts.append(part)
    joined = matching.joined(parts)
    assert joined.other.tolist() == whole.other.tolist()
    np.testing.assert_array_equal(joined.correlation, whole.correlation)
    assert len(matching.joined([]).other) == 0


def test_independent_networks_match_as_shuffled_ones_do() -> None:
    source = np.random.default_rng(4)
    a, b = source.normal(size=(2, 200, 300)).astype(np.float32)
    best, _ = matched(a, b, 300)
    shuffled = Unit.of(a).shuffled(np.arange(300), [(0, i) for i in range(300)])
    null = Best.none(300)
    matching.match(shuffled, Unit.of(b), null, Best.none(300), 0, 0)
    limit = matching.null95(null.correlation)
    assert 0.01 <= (best.correlation > limit).mean() <= 0.11
    assert np.isnan(matching.null95(np.array([-np.inf])))
