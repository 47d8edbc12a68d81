"""Intervals, accuracy within class and the test, against slow twins and what is known of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from atlas.attributes import dependence
from tests import naive_attributes as naive


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (0, 30), (30, 30), (7, 10), (81, 263), (1, 100000)])
def test_wilson(right: int, n: int) -> None:
    assert dependence.wilson(right, n) == pytest.approx(naive.wilson(right, n), abs=1e-9)


def test_wilson_by_hand() -> None:
    assert dependence.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998, table I
    assert dependence.wilson(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)


@st.composite
def answers(draw: st.DrawFn) -> list[tuple[int, int, bool]]:
    """(class, bin, right) of a few images."""
    classes, bins = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    row = st.tuples(st.integers(0, classes - 1), st.integers(0, bins - 1), st.booleans())
    return draw(st.lists(row, min_size=1, max_size=80))


def counted(rows: list[tuple[int, int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    n, right = np.zeros((5, 5), np.int64), np.zeros((5, 5), np.int64)
    for c, b, r in rows:
        n[c, b] += 1
        right[c, b] += r
    return n[n.any(axis=1)], right[n.any(axis=1)]


@given(answers())
@settings(max_examples=150)
def test_the_test_is_that_of_its_definition(rows: list[tuple[int, int, bool]]) -> None:
    n, right = counted(rows)
    found = dependence.dependence(n, right)
    if len(rows) < 10 or len({b for _, b, _ in rows}) < 2 or len({r for *_, r in rows}) < 2:
        assert found.p is None
        assert found.why
        return
    by_class = [[(b, r) for c, b, r in rows if c == wanted] for wanted in range(5)]
    inside = sum(len(s) for s in by_class if len(s) > 1) >= len(rows) / 2
    assert found.within_class == inside
    statistic, freedom = naive.association(by_class if inside else [[(b, r) for _, b, r in rows]], 5)
    if not freedom:
        assert found.p is None
        return
    assert found.p == pytest.approx(stats.chi2.sf(statistic, freedom), rel=1e-6, abs=1e-9)


def test_one_class_is_pearsons_test() -> None:
    rng = np.random.default_rng(1)
    n = rng.integers(5, 40, (1, 6))
    right = rng.binomial(n, 0.6)
    expected = stats.contingency.chi2_contingency(np.concatenate([right, n - right]), correction=False)
    found = dependence.dependence(n, right)
    total = n.sum()
    assert found.p == pytest.approx(stats.chi2.sf(expected.statistic * (total - 1) / total, 5), rel=1e-9)


def test_p_is_that_of_permutations_within_class() -> None:
    rng = np.random.default_rng(0)
    classes, bins = rng.integers(0, 4, 120), rng.integers(0, 3, 120)
    right = rng.random(120) < 0.3 + 0.15 * classes + 0.1 * (bins == 1)

    def statistic(right: np.ndarray) -> float:
        by_class = [list(zip(bins[classes == c].tolist(), right[classes == c].tolist(), strict=True)) for c in range(4)]
        return naive.association(by_class, 3)[0]

    least, beyond = statistic(right), 0
    for _ in range(400):
        shuffled = right.copy()
        for c in range(4):
            shuffled[classes == c] = rng.permutation(right[classes == c])
        beyond += statistic(shuffled) >= least
    n, rights = counted(list(zip(classes.tolist(), bins.tolist(), right.tolist(), strict=True)))
    assert dependence.dependence(n, rights).p == pytest.approx(beyond / 400, abs=0.06)


@given(answers())
@settings(max_examples=100)
def test_within_class_is_least_squares_with_classes(rows: list[tuple[int, int, bool]]) -> None:
    n, right = counted(rows * 4)
    bins = [[i for i, (_, b, _) in enumerate(rows * 4) if b == wanted] for wanted in range(5)]
    found = dependence.within_class(n, right)
    known = [b for b, each in enumerate(found) if each is not None]
    if not known:
        return
    together = dependence._component(np.diag(n.sum(0)) - n.T @ (n / n.sum(1, keepdims=True)), n.sum(0)).tolist()
    images = [{"class_id": c, "correct": r} for c, _, r in rows * 4]
    expected = dict(zip(together, naive.within_class(images, [bins[b] for b in together]), strict=True))
    for b in known:
        assert found[b] == pytest.approx(min(max(expected[b], 0), 1), abs=1e-7)


def test_within_class_by_hand() -> None:
    n, right = np.array([[90, 10], [10, 90]]), np.array([[81, 9], [1, 9]])  # 90 % of one class, 10 % of the other
    assert dependence.within_class(n, right) == pytest.approx([0.5, 0.5])
    assert dependence.within_class(np.array([[50, 0], [0, 50]]), np.array([[40, 0], [0, 10]])) == [None, None]


def test_effect_is_cramers_v() -> None:
    half = np.array([[5000, 5000]])
    assert dependence.dependence(half, np.array([[5000, 0]])).effect == pytest.approx(1, abs=1e-3)
    assert dependence.dependence(half, np.array([[2500, 2500]])).effect == 0
    assert dependence.dependence(half, np.array([[3000, 2000]])).effect == pytest.approx(0.2, abs=1e-3)


def test_holm_by_hand() -> None:
    assert dependence.holm([0.01, None, 0.04, 0.03]) == [True, False, False, False]  # 0.05 / 3, then 0.05 / 2
    assert dependence.holm([0.01, 0.04, 0.02]) == [True, True, True]
    assert dependence.holm([None]) == [False]
