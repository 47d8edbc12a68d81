"""What sets the wrongly taken images of a class apart: planted, by hand, and by chance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from atlas.attributes.differences import benjamini_hochberg, circular_mean, difference
from atlas.attributes.part import make
from atlas.attributes.settings import AttributesSettings
from atlas.attributes.values import Attribute
from tests.attributes import planted

SIZE = Attribute("size", "a0", "number")


def test_by_hand() -> None:
    values = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    wrong = np.array([False] * 5 + [True] * 5)
    found = difference(values, wrong, SIZE)
    assert found is not None
    assert (found["n"], found["wrong"], found["right_value"], found["wrong_value"], found["effect"]) == (10, 5, 3, 8, 1)
    tied = difference(np.array([1.0, 1, 1, 1, 2, 1, 1, 2, 2, 2]), wrong, SIZE)
    assert tied is not None
    assert tied["effect"] == pytest.approx((12 + 0.5 * 11) * 2 / 25 - 1, abs=0.3)
    pairs = [(a > b) - (a < b) for a in [1.0, 1, 2, 2, 2] for b in [1.0, 1, 1, 1, 2]]
    assert tied["effect"] == pytest.approx(sum(pairs) / 25)
    assert difference(values, np.array([True] * 4 + [False] * 6), SIZE) is None
    assert difference(np.ones(10), wrong, SIZE) is None


def test_angles_differ_in_a_turn() -> None:
    rng = np.random.default_rng(0)
    tilt = Attribute("edge_orientation", "a0", "angle", 2)
    upright, tilted = rng.normal(0, 0.2, 60), rng.normal(0.8, 0.2, 40)
    values = np.concatenate([upright, tilted]) % math.pi
    found = difference(values, np.arange(100) >= 60, tilt)
    assert found is not None
    assert found["p"] < 1e-10
    assert found["wrong_value"] == pytest.approx(0.8, abs=0.1)
    assert min(found["right_value"], math.pi - found["right_value"]) < 0.1
    assert circular_mean(np.array([0.1, 2 * math.pi - 0.1]), 1) % (2 * math.pi) == pytest.approx(0, abs=1e-9)
    design = np.stack([np.ones(100), np.cos(2 * values), np.sin(2 * values)], 1)  # least squares as the twin
    right = (np.arange(100) >= 60).astype(float)
    residual = right - design @ np.linalg.lstsq(design, right, rcond=None)[0]
    squared = 1 - residual @ residual / ((right - right.mean()) ** 2).sum()
    assert found["effect"] == pytest.approx(math.sqrt(squared))
    assert found["p"] == pytest.approx(stats.f.sf(squared / 2 / ((1 - squared) / 97), 2, 97))


def test_a_planted_class() -> None:
    """Dark images of class 3 are wrong; of the others any."""
    rng = np.random.default_rng(2)
    class_id, brightness = rng.integers(0, 6, 4000), rng.random(4000).astype(np.float32)
    correct = np.where(class_id == 3, rng.random(4000) < brightness, rng.random(4000) < 0.6)
    measured = planted.measured(4000, brightness=brightness)
    rows = make(planted.images(class_id, correct), measured, AttributesSettings())["class_differences"].to_pylist()
    significant = [r for r in rows if r["significant"]]
    assert len(significant) <= 2  # of 41 others one may be there by chance
    [found] = [r for r in significant if (r["class_id"], r["attribute"]) == (3, "brightness")]
    assert found["wrong_value"] < 0.4 < 0.6 < found["right_value"]
    assert found["effect"] < -0.5
    assert len(rows) == 6 * 7
    assert stats.kstest([r["p"] for r in rows if r is not found], "uniform").pvalue > 0.01


def test_benjamini_hochberg_is_scipys() -> None:
    rng = np.random.default_rng(4)
    for _ in range(50):
        p = (rng.random(20) ** 3).tolist()
        assert benjamini_hochberg(p) == (stats.false_discovery_control(p) <= 0.05).tolist()
    assert benjamini_hochberg([]) == []


def test_mann_whitney_is_scipys() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        values, wrong = rng.integers(0, 12, 60) / 3, rng.random(60) < 0.4
        found = difference(values, wrong, SIZE)
        expected = stats.mannwhitneyu(values[wrong], values[~wrong], alternative="two-sided", method="asymptotic")
        assert found is not None
        assert found["p"] == pytest.approx(min(expected.pvalue, 1), rel=1e-9)
        assert found["effect"] == pytest.approx(2 * expected.statistic / (wrong.sum() * (~wrong).sum()) - 1)
