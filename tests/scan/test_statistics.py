"""Moments, histograms, class sums and selectivity against numpy in float64, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from atlas.scan import statistics
from atlas.scan.statistics import BINS, bins_of, edges_of

RNG = np.random.default_rng(0)
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(floats, min_size=1, max_size=30), st.integers(0, 30))
def test_moments_fold_as_numpy_counts(values: list[float], cut: int) -> None:
    high = np.array(values, np.float32)[:, None].clip(-1e15, 1e15)  # (images, 1)
    low = high - 1
    whole = statistics.moments(high[:cut], low[:cut], low[:cut]).fold(
        statistics.moments(high[cut:], low[cut:], low[cut:])
    )
    exact = high.astype(np.float64)
    scale = float(np.abs(exact).max()) or 1.0
    assert whole.images == len(values)
    assert whole.mean[0] == pytest.approx(exact.mean(), abs=1e-12 * scale)
    assert whole.m2[0] == pytest.approx(((exact - exact.mean()) ** 2).sum(), rel=1e-9, abs=1e-12 * scale**2)
    assert whole.active[0] == (high > 0).sum()
    assert (whole.max_high[0], whole.max_low[0]) == (high.max(), high.min())
    assert (whole.min_high[0], whole.min_low[0]) == (low.max(), low.min())


def test_moments_far_from_zero_keep_their_digits() -> None:
    high = (1e4 + RNG.normal(0, 0.01, (1000, 1))).astype(np.float32)
    found = statistics.moments(high, high, high)
    assert found.m2[0] / 1000 == pytest.approx(high.astype(np.float64).var(), rel=1e-9)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=50))
def test_a_value_lies_in_its_bin(values: list[float]) -> None:
    array = np.array(values, np.float32)
    bins = bins_of(array)
    left, right = edges_of(bins.astype(np.int64))
    assert ((bins >= 0) & (bins < BINS)).all()
    positive = array > 0
    assert (left <= array)[positive].all()
    assert ((array < right) | np.isinf(right))[positive].all()
    # Mirrored for negative values: there the right edge belongs to the bin.
    assert (array <= right)[~positive].all()
    assert ((left < array) | np.isinf(left))[~positive].all()


@given(floats, floats)
def test_bins_ascend(a: float, b: float) -> None:
    first, second = bins_of(np.array([min(a, b), max(a, b)], np.float32))
    assert first <= second


def test_edges_leave_no_gap_and_are_a_sixteenth_wide() -> None:
    left, right = edges_of(np.arange(BINS))
    assert np.array_equal(right[:-1], left[1:])
    assert np.isneginf(left[0])
    assert np.isposinf(right[-1])
    inner = np.abs(left[1:-1]) > 2.0**-19
    width = (right - left)[1:-1][inner] / np.minimum(np.abs(left), np.abs(right))[1:-1][inner]
    assert width.max() <= 1 / 16 + 1e-6


def test_histogram_counts_and_adds() -> None:
    neurons = 300
    values = RNG.normal(0, 3, (500, neurons)).astype(np.float32)
    parts = [statistics.histogram(part) for part in (values[:200], values[200:])]
    whole = statistics.histogram(values)
    dense = np.zeros(neurons * BINS, np.int64)
    for part in parts:
        assert (np.diff(part.key) > 0).all()
        dense[part.key] += part.count
    assert np.array_equal(np.flatnonzero(dense), whole.key)
    assert np.array_equal(dense[whole.key], whole.count)
    for neuron in range(neurons):
        wanted = np.bincount(bins_of(values[:, neuron]), minlength=BINS)
        assert np.array_equal(dense.reshape(neurons, BINS)[neuron], wanted)


def test_an_empty_histogram() -> None:
    empty = statistics.histogram(np.zeros((0, 3), np.float32))
    assert len(empty.key) == len(empty.count) == 0


@pytest.mark.parametrize("draw", ["normal", "exponential", "lognormal", "mixed"])
def test_quantiles_are_numpys_within_a_bin(draw: str) -> None:
    values = {
        "normal": lambda: RNG.normal(0, 1, 20_000),
        "exponential": lambda: RNG.exponential(5, 20_000),
        "lognormal": lambda: RNG.lognormal(0, 2, 20_000),
        "mixed": lambda: np.concatenate([RNG.normal(-50, 1, 10_000), RNG.normal(80, 3, 10_000)]),
    }[draw]().astype(np.float32)
    at = (0.01, 0.05, 0.25, 0.4, 0.75, 0.95, 0.99)
    found = statistics.histogram(values[:, None])
    got = statistics.quantiles(found.key, found.count, at, float(values.min()), float(values.max()))
    wanted = np.quantile(values.astype(np.float64), at)
    assert (np.abs(got - wanted) <= np.abs(wanted) / 16 + 2.0**-20).all()


def test_class_sums_by_hand() -> None:
    high = np.array([[1, -1], [2, 0], [3, 5], [4, -2]], np.float32)  # (images, neurons)
    sums = statistics.class_sums(high, np.array([2, -1, 0, 2]))
    assert sums.classes.tolist() == [0, 2]
    assert sums.images.tolist() == [1, 2]
    assert sums.total.tolist() == [[3, 5], [5, -3]]
    assert sums.rectified.tolist() == [[3, 5], [5, 0]]
    assert sums.active.tolist() == [[1, 1], [2, 0]]


def test_class_sums_without_classes() -> None:
    sums = statistics.class_sums(np.ones((3, 2), np.float32), np.full(3, -1))
    assert len(sums.classes) == 0
    assert sums.total.shape == (0, 2)


@pytest.mark.parametrize(
    ("means", "wanted"),
    [
        ([[1.0], [0.0], [0.0]], 1.0),  # one class alone
        ([[2.0], [2.0], [2.0]], 0.0),  # all classes alike
        ([[3.0], [1.0], [1.0]], 0.5),  # (3 - 1) / (3 + 1)
        ([[3.0], [0.0], [1.0]], (3 - 0.5) / (3 + 0.5)),
        ([[0.0], [0.0]], np.nan),  # never above 0
        ([[1.0]], np.nan),  # one class only
    ],
)
def test_selectivity_by_hand(means: list[list[float]], wanted: float) -> None:
    mean = np.array(means)
    found = statistics.selectivity(mean, np.ones(len(mean), np.int64))
    assert found[0] == pytest.approx(wanted, nan_ok=True)


def test_selectivity_leaves_absent_classes_out() -> None:
    mean: NDArray[np.float64] = np.array([[3.0], [1.0], [0.0]])
    assert statistics.selectivity(mean, np.array([5, 5, 0]))[0] == pytest.approx(0.5)
