"""Winners of each side, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.scan.fold import Fold
from atlas.scan.references import References
from atlas.scan.winners import spread_of, winners_of
from tests.scan.test_partial import NEURONS, K, make


def test_spread_takes_the_middle_of_each_tenth() -> None:
    high = np.arange(100, dtype=np.float32)[:, None]  # image 99 is the strongest
    rows = spread_of(high, np.arange(100), 7, np.full(1, 0.25, np.float32)).to_pylist()
    assert [row["image_id"] for row in rows] == [95, 85, 75, 65, 55, 45, 35, 25, 15, 5]
    assert [row["rank"] for row in rows] == list(range(10))
    assert {(row["neuron"], row["reference"]) for row in rows} == {(7, 0.25)}
    assert [row["response"] for row in rows] == [row["image_id"] for row in rows]


@pytest.mark.parametrize("images", [1, 3, 10, 11, 19])
def test_spread_of_small_samples(images: int) -> None:
    rng = np.random.default_rng(images)
    high = rng.normal(size=(images, 2)).astype(np.float32)
    rows = spread_of(high, np.arange(images), 0, np.zeros(2, np.float32)).to_pylist()
    for neuron in range(2):
        mine = [row for row in rows if row["neuron"] == neuron]
        if images == 1:
            assert mine == []  # all responses are equal
            continue
        assert len({row["image_id"] for row in mine}) == len(mine) == min(images, 10)
        responses = [row["response"] for row in mine]
        assert responses == sorted(responses, reverse=True)


def test_ties_in_the_spread_go_to_the_smaller_image() -> None:
    high = np.array([[1.0], [1.0], [1.0], [0.0]], np.float32)
    rows = spread_of(high, np.array([2, 4, 6, 8]), 0, np.zeros(1, np.float32)).to_pylist()
    assert [row["image_id"] for row in rows] == [2, 4, 6, 8]


def test_a_side_without_differences_has_no_winners() -> None:
    fold = Fold(NEURONS, K)
    fold.add(make(0, 6))
    fold.moments.max_low[2] = fold.moments.max_high[2]
    references = References(np.arange(NEURONS, dtype=np.float32), np.full(NEURONS, -1, np.float32))
    rows = winners_of(fold, ("max", "min"), references).to_pylist()
    assert {(row["side"], row["neuron"], row["reference"]) for row in rows if row["neuron"] == 3} == {
        ("max", 3, 3.0),
        ("min", 3, -1.0),
    }
    assert {row["neuron"] for row in rows if row["side"] == "max"} == {0, 1, 3, 4}
    assert {row["neuron"] for row in rows if row["side"] == "min"} == set(range(NEURONS))
    assert winners_of(fold, ("spread",), references).num_rows == 0
