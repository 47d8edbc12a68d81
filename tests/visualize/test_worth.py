"""What pictures are worth: small cases by hand, and the bias that centring takes away."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.visualize.path import correlations, path
from atlas.visualize.worth import agreement, choice, scaled


def test_a_picture_that_tells_chooses_rightly() -> None:
    references = np.array([[2.0, 0], [0, 2]])
    held_out = np.array([[[3.0, 0], [2, 0], [0, 1], [0, 2]], [[0, 3.0], [0, 2], [1, 0], [2, 0]]])
    np.testing.assert_array_equal(choice(references, held_out), [1, 1])
    np.testing.assert_array_equal(choice(references[::-1], held_out), [0, 0])


def test_ties_are_half_an_answer() -> None:
    held_out = np.zeros((2, 4, 2))
    np.testing.assert_array_equal(choice(np.eye(2), held_out), [0.5, 0.5])


def test_what_all_pictures_share_answers_nothing() -> None:
    """Pictures that differ in noise only are at chance, though all are nearer to the upper half than to the lower."""
    random = np.random.default_rng(0)
    upper, lower = np.ones((200, 5, 8)), np.zeros((200, 5, 8))
    held_out = np.concatenate([upper, lower], 1) + 0.1 * random.normal(size=(200, 10, 8))
    references = 3 + random.normal(size=(200, 8))
    assert (references[:, None] @ held_out.transpose(0, 2, 1))[:, 0, :5].min() > 0
    assert choice(references, held_out).mean() == pytest.approx(0.5, abs=0.1)


def test_the_middle_one_of_an_odd_number_is_left_out() -> None:
    references = np.array([[1.0], [-1.0]])
    held_out = np.array([[[2.0], [9.0], [1.0]], [[2.0], [9.0], [1.0]]])
    np.testing.assert_array_equal(choice(references, held_out), [1, 0])


def test_agreement_by_hand() -> None:
    # Owners 0 and 1, two repeats each; the second of owner 1 lies beside owner 0's.
    pictures = np.array([[0.0, 0], [0.1, 0], [5, 5], [0.2, 0]])
    owners, repeats = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    np.testing.assert_array_equal(agreement(pictures, owners, repeats), [1, 1, 1, 0])


def test_without_a_second_repeat_there_is_no_agreement() -> None:
    assert np.isnan(agreement(np.eye(2), np.array([0, 1]), np.array([0, 0]))).all()


def test_channels_that_never_vary_count_nothing() -> None:
    first, second = scaled([np.array([[1.0, 5], [3, 5]], np.float32), np.array([[[5.0, 5]]], np.float32)])
    assert first[:, 1].tolist() == [0, 0]
    assert np.std([*first[:, 0], second[0, 0, 0]]) == pytest.approx(1)


def test_rank_correlations_against_scipy_s() -> None:
    from scipy.stats import spearmanr

    random = np.random.default_rng(0)
    a, b = random.integers(0, 5, (3, 9)).astype(np.float32), random.normal(size=(2, 9)).astype(np.float32)
    got = correlations(a, b)
    for i in range(3):
        for j in range(2):
            assert got[i, j] == pytest.approx(spearmanr(a[i], b[j]).statistic)
    assert correlations(np.ones((1, 4), np.float32), a[:1, :4]).tolist() == [[0.0]]


def test_path_is_1_on_the_natural_road_and_0_beside_it() -> None:
    random = np.random.default_rng(0)
    road = [random.normal(size=40) for _ in range(3)]

    def along(count: int, share: float) -> list[np.ndarray]:  # type: ignore[type-arg]
        return [(share * r + random.normal(size=(count, 40))).astype(np.float32) for r in road]

    natural, others = along(60, 2), along(60, 0)
    assert np.mean(path(along(60, 2), natural, others)) == pytest.approx(1, abs=0.1)  # type: ignore[arg-type]
    assert np.mean(path(along(60, 0), natural, others)) == pytest.approx(0, abs=0.1)  # type: ignore[arg-type]
    assert path(along(2, 2), along(1, 2), others) == [None, None]
    assert path(along(2, 2), along(9, 0), along(9, 0)) == [None, None]
