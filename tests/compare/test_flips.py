"""Classes that gained and lost, the neurons that moved, the images that are shared."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from atlas.compare import flips
from atlas.compare.shared import enough, shared
from atlas.errors import InputError


def test_classes_by_hand() -> None:
    class_id = np.array([3, 3, 3, 5, 5, -1])
    right = np.array([1, 0, 0, 1, 1, 1], bool)
    other = np.array([1, 1, 1, 0, 1, 0], bool)
    found = flips.by_class(class_id, right, other)
    assert found.class_id.tolist() == [3, 5]
    assert found.n.tolist() == [3, 2]
    assert found.accuracy.tolist() == [pytest.approx(1 / 3), 1]
    assert found.other_accuracy.tolist() == [1, 0.5]
    assert found.gained.tolist() == [2, 0]
    assert found.lost.tolist() == [0, 1]
    assert found.p.tolist() == [stats.binomtest(2, 2).pvalue, 1.0]
    same = flips.by_class(class_id, right, right)
    assert not same.gained.any()
    assert not same.lost.any()
    assert (same.p == 1).all()


def test_those_that_moved_most_however_they_are_given() -> None:
    source = np.random.default_rng(0)
    a, b = source.normal(size=(2, 6, 30))
    moved = flips.Moved(6)
    for at in (20, 0, 10):
        moved.take(np.arange(at, at + 10), a[:, at : at + 10], b[:, at : at + 10])
    for image in range(6):
        expected = np.argsort(-np.abs(b[image] - a[image]))[:5]
        assert moved.neuron[image].tolist() == expected.tolist()
        np.testing.assert_array_equal(moved.change[image], (b - a)[image, expected])


def test_standardised_by_hand() -> None:
    found = flips.standardised(np.array([[1, 5], [3, 5]], np.float32))
    assert found.tolist() == [[-1, 0], [1, 0]]


def test_images_are_shared_by_content() -> None:
    a, b = shared([b"x", b"y", b"x", b"z"], [b"z", b"w", b"x", b"x"])
    assert a.tolist() == [0, 3]
    assert b.tolist() == [2, 0]


def test_too_few_are_refused_with_the_number() -> None:
    enough(200, "both")
    with pytest.raises(InputError, match="199 images are shared by the response samples: expected at least 200"):
        enough(199, "the response samples")
