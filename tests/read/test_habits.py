"""Quantiles of a response: a hand-made histogram, and the slow definition over drawn ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.read.habits import Habits
from atlas.scan import statistics

BIN = np.dtype([("left", "<f4"), ("right", "<f4"), ("count", "<i8")])


def stored(values: np.ndarray) -> np.ndarray:
    """One neuron's bins as `neurons.parquet` has them."""
    bins, count = np.unique(statistics.bins_of(values), return_counts=True)
    left, right = statistics.edges_of(bins)
    found = np.empty(len(bins), BIN)
    found["left"], found["right"] = np.maximum(left, values.min()), np.minimum(right, values.max())
    found["count"] = count
    return found


def habits(of: list[np.ndarray]) -> Habits:
    """Of neurons with these bins."""
    numbers = np.zeros(len(of), np.dtype([("mean", "<f8"), ("std", "<f8")]))
    numbers["mean"], numbers["std"] = 1, 2
    owner = np.repeat(np.arange(len(of)), [len(each) for each in of])
    made: Any = SimpleNamespace(numbers=numbers, bins=lambda: (owner, np.concatenate(of)))
    return Habits(made)


def one(of: Habits, response: float, number: int = 0) -> tuple[float, ...]:
    return tuple(float(v[0]) for v in of.places(np.array([number]), np.array([response], np.float32)))


def test_by_hand() -> None:
    rows = np.array([(-2, -1, 10), (0, 2**-20, 20), (1, 2, 40), (4, 8, 30)], BIN)
    found = habits([np.array([(5, 6, 1)], BIN), rows])
    assert one(found, -3, 1)[:3] == (0, 0, 0)
    assert one(found, -1.5, 1)[:3] == pytest.approx((0, 0.1, 0.05))
    assert one(found, -0.5, 1)[:3] == (0.1, 0.1, 0.1)  # between bins: nobody is here
    assert one(found, 0, 1)[:3] == (0.1, 0.3, 0.1)  # at its left edge
    assert one(found, 1.25, 1)[:3] == pytest.approx((0.3, 0.7, 0.4))
    assert one(found, 3, 1)[:3] == (0.7, 0.7, 0.7)
    assert one(found, 8, 1)[:3] == (0.7, 1, 1)  # the strongest itself
    assert one(found, 9, 1) == (1, 1, 1, 4)  # beyond all of them


@given(
    st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=60),
    st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=20),
)
def test_as_counted(data: list[float], asked: list[float]) -> None:
    values = np.array(data, np.float32)
    found = habits([stored(values), stored(values[::-1] * 2)])
    for response in [*asked, *data]:
        r = np.float32(response)
        low, high, quantile, _ = one(found, response)
        below, upto = float((values < r).mean()), float((values <= r).mean())
        assert low <= quantile <= high
        assert low <= below + 1e-12
        assert upto <= high + 1e-12
        if values.min() <= r <= values.max():  # the edges are those of the response's own bin
            mine, all_of = statistics.bins_of(np.array([r]))[0], statistics.bins_of(values)
            assert low == pytest.approx(float((all_of < mine).mean()))
            assert high == pytest.approx(float((all_of <= mine).mean()))
