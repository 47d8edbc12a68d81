"""A mask from a map and the picture's colours."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.localize import cut as grabcut
from atlas.localize.boxes import box_of, largest

pytest.importorskip("cv2")


def test_seeds_by_hand() -> None:
    values = np.arange(100.0).reshape(10, 10)
    within, between, note = grabcut.seeds(values) or pytest.fail("there are seeds")
    assert np.flatnonzero(within.reshape(-1)).tolist() == [95, 96, 97, 98, 99]
    assert np.flatnonzero(between.reshape(-1)).tolist() == list(range(30))
    assert note is None


def test_ties_and_empty_sets_are_said() -> None:
    values = np.zeros((10, 10))
    values[:3, :5] = 1.0  # the upper quantile is 1, the lower one 0: nothing lies beyond either
    within, between, note = grabcut.seeds(values) or pytest.fail("there are seeds")
    assert (within.sum(), between.sum()) == (15, 85)
    assert note is not None
    assert "upper" in note
    assert "lower" in note
    assert grabcut.seeds(np.ones((10, 10))) is None
    assert grabcut.seeds(np.full((10, 10), np.nan)) is None
    mostly = np.zeros((10, 10))
    mostly[0, :4] = 5.0  # four pixels make no model of five colours, and with the ties all would be object
    assert grabcut.seeds(mostly) is None
    refused = grabcut.cut(mostly, np.zeros((10, 10, 3), np.uint8), 0)
    assert refused.mask is None
    assert refused.why is not None


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A red disc on green noise, and a map that knows only a part of its middle."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:80, :100]
    disc = (y - 35) ** 2 + (x - 60) ** 2 <= 20**2
    pixels = np.where(disc[..., None], (200, 40, 40), (40, 160, 60)) + rng.integers(-25, 26, (80, 100, 3))
    values = np.exp(-((y - 35) ** 2 + (x - 60) ** 2) / 200.0) + 0.05 * rng.random((80, 100))
    return pixels.clip(0, 255).astype(np.uint8), values


def test_a_disc_is_cut_out_whole() -> None:
    pixels, values = scene()
    found = grabcut.cut(values, pixels, 1)
    assert found.mask is not None
    assert found.why is None
    box = box_of(largest(found.mask))
    assert box is not None
    np.testing.assert_allclose([box.left, box.top, box.right, box.bottom], [40, 15, 81, 56], atol=1)


def test_no_pixel_is_fixed_beforehand() -> None:
    """A stray mark in the background colours one model a little, and is cut away."""
    pixels, values = scene()
    values[70:72, 5:8] = 1.2
    found = grabcut.cut(values, pixels, 1)
    assert found.mask is not None
    assert not found.mask[70:72, 5:8].any()


def test_the_same_seed_gives_the_same_mask_whatever_came_before() -> None:
    pixels, values = scene()
    rng = np.random.default_rng(5)
    noise = rng.integers(0, 256, pixels.shape).astype(np.uint8)
    first = grabcut.cut(values, noise, 7).mask
    grabcut.cut(values, pixels, 3)
    np.testing.assert_array_equal(grabcut.cut(values, noise, 7).mask, first)
    assert grabcut.number("a", 1) == grabcut.number("a", 1) != grabcut.number("a", 2)


def test_a_gaussian_knows_the_middle() -> None:
    values = grabcut.gaussian(9, 13)
    assert values[4, 6] == 1 == values.max()
    np.testing.assert_allclose(values, values[::-1, ::-1])
    assert values[4, 6 + 3] == pytest.approx(np.exp(-((3 / (13 / 4)) ** 2) / 2))


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from atlas.errors import SettingsError

    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(SettingsError, match="neuron-atlas\\[localize\\]"):
        grabcut.opencv()
