"""The k strongest: equal to sorting, however the images are split and in whatever order the parts are folded."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from atlas.scan import topk

NEURONS = 3


def by_sorting(values: NDArray[np.float32], ids: list[int], k: int) -> list[list[tuple[float, int]]]:
    rows = []
    for row in values.T:
        order = sorted(zip(row.tolist(), ids, strict=True), key=lambda pair: (-pair[0], pair[1]))[:k]
        rows.append(order + [(-np.inf, -1)] * (k - len(order)))
    return rows


def as_lists(result: tuple[Any, Any]) -> list[list[tuple[float, int]]]:
    return [list(zip(r.tolist(), i.tolist(), strict=True)) for r, i in zip(*result, strict=True)]


@st.composite
def responses(draw: st.DrawFn) -> NDArray[np.float32]:
    """(images, neurons): few values, so that ties are the rule; zeros of both signs, extremes."""
    few = st.sampled_from([-3.4e38, -1.5, -0.0, 0.0, 0.25, 0.25000003, 7.0, 3.4e38])
    images = draw(st.integers(0, 40))
    rows = [draw(st.lists(few, min_size=NEURONS, max_size=NEURONS)) for _ in range(images)]
    return np.array(rows, np.float32).reshape(images, NEURONS)


@given(responses(), st.integers(1, 12))
def test_equals_sorting(values: NDArray[np.float32], k: int) -> None:
    ids = np.arange(len(values), dtype=np.int64) * 3 + 5
    assert as_lists(topk.strongest(values, ids, k)) == by_sorting(values, ids.tolist(), k)
    smallest, images = topk.weakest(values, ids, k)
    assert as_lists((-smallest, images)) == by_sorting(-values, ids.tolist(), k)


@pytest.mark.parametrize("k", [1, 9, 200, 1000])
def test_many_images_equal_sorting(k: int) -> None:
    """Deep heaps, with ties and without."""
    rng = np.random.default_rng(0)
    values = np.stack([rng.normal(0, 1, 700), rng.integers(0, 9, 700), np.arange(700)], axis=1).astype(np.float32)
    ids = np.arange(700, dtype=np.int64)
    assert as_lists(topk.strongest(values, ids, k)) == by_sorting(values, ids.tolist(), k)
    assert as_lists(topk.strongest(values[::-1], ids, k)) == by_sorting(values[::-1], ids.tolist(), k)


@given(responses(), st.integers(1, 12), st.lists(st.integers(0, 40), max_size=5), st.randoms(use_true_random=False))
def test_fold_in_any_order_and_grouping_equals_sorting(
    values: NDArray[np.float32], k: int, cuts: list[int], random: Any
) -> None:
    images = len(values)
    ids = np.arange(images, dtype=np.int64)
    bounds = sorted({0, images, *(min(cut, images) for cut in cuts)})
    slices = [slice(a, b) for a, b in itertools.pairwise(bounds)] or [slice(0, 0)]
    parts = [topk.strongest(values[part], ids[part], k) for part in slices]
    while len(parts) > 1:  # any tree over any order
        a = parts.pop(random.randrange(len(parts)))
        b = parts.pop(random.randrange(len(parts)))
        parts.append(topk.fold(a, b))
    assert as_lists(parts[0]) == by_sorting(values, ids.tolist(), k)


def test_fewer_images_than_k_end_in_nothing() -> None:
    """Starting at 0 would invent examples for a neuron that never fires."""
    response, image = topk.strongest(np.array([[-2.0], [-1.0]], np.float32), np.array([4, 9]), 3)
    assert response.tolist() == [[-1.0, -2.0, -np.inf]]
    assert image.tolist() == [[9, 4, -1]]


def test_fold_leaves_its_arguments_alone() -> None:
    a = topk.strongest(np.array([[1.0]], np.float32), np.array([0]), 2)
    b = topk.strongest(np.array([[2.0]], np.float32), np.array([1]), 2)
    before = a[0].copy(), b[0].copy()
    topk.fold(a, b)
    assert np.array_equal(a[0], before[0])
    assert np.array_equal(b[0], before[1])
