"""The two measures against slow twins, by hand, and on pictures that are not there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.explain.draw import robust_scale
from atlas.explain.similarity import MEASURES, Picture, compare
from tests.naive_similarity import spearman, ssim


def maps(seed: int, shape: tuple[int, int], ties: bool) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    pair = [random.normal(size=(3, *shape)) for _ in range(2)]
    pair[1] += 0.7 * pair[0]
    return [np.round(each) for each in pair] if ties else pair


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("shape", [(13, 17), (24, 12), (5, 30), (1, 9)])
def test_against_slow_twins(shape: tuple[int, int], ties: bool) -> None:
    a, b = maps(1, shape, ties)
    found = compare(Picture.of(a), Picture.of(b))
    radius = min(5, (min(shape) - 1) // 2)
    for how, flat, signed in (
        ("absolute", lambda v: np.abs(v).sum(0), 0.0),
        ("signed", lambda v: v.sum(0), 1.0),
    ):
        x, y = flat(a), flat(b)
        assert found[f"rank_{how}"] == pytest.approx(spearman(x, y), abs=1e-12)
        drawn = [(np.clip(each / robust_scale(each), -1, 1) + signed) / (1 + signed) for each in (x, y)]
        assert found[f"ssim_{how}"] == pytest.approx(ssim(*drawn, 1, radius), abs=1e-9)


def test_ranks_by_hand() -> None:
    a = np.zeros((3, 1, 4))
    b = np.zeros((3, 1, 4))
    a[0, 0] = [1, 2, 3, -4]  # ranks 2 3 4 1, absolute 1 2 3 4
    b[1, 0] = [2, 2, 9, -9]  # ranks 2.5 2.5 4 1, absolute 1.5 1.5 3.5 3.5
    found = compare(Picture.of(a), Picture.of(b))
    assert found["rank_signed"] == pytest.approx(4.5 / np.sqrt(5 * 4.5))
    assert found["rank_absolute"] == pytest.approx(4 / np.sqrt(5 * 4))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 20), st.integers(2, 20), st.booleans(), st.integers(-20, 20))
def test_laws(seed: int, height: int, width: int, ties: bool, power: int) -> None:
    a, b = (Picture.of(each) for each in maps(seed, (height, width), ties))
    found = compare(a, b)
    assert all(-1 - 1e-9 <= value <= 1 + 1e-9 for value in found.values())
    assert compare(b, a) == pytest.approx(found, abs=1e-9)
    if not a.empty:
        # A power of two scales without rounding, which would part ties of sums.
        scaled = compare(a, Picture.of(2.0**power * maps(seed, (height, width), ties)[0]))
        assert scaled["rank_absolute"] == pytest.approx(1, abs=1e-9)
        assert scaled["ssim_signed"] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 2.0, np.nan, np.inf])
def test_pictures_that_show_nothing_are_alike_to_none(value: float) -> None:
    some, nothing = Picture.of(maps(0, (9, 9), False)[0]), Picture.of(np.full((3, 9, 9), value))
    assert nothing.empty
    assert compare(some, nothing) == dict.fromkeys(MEASURES, 0.0)


def test_a_flipped_sign_shows_in_signed_values_alone() -> None:
    a = maps(0, (16, 16), False)[0]
    found = compare(Picture.of(a), Picture.of(-a))
    assert found["rank_absolute"] == pytest.approx(1)
    assert found["rank_signed"] == pytest.approx(-1)
    assert found["ssim_absolute"] == pytest.approx(1)
    assert found["ssim_signed"] < -0.5
