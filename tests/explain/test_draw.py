"""Maps as pictures: nothing is lost, and each pixel of the field is a block of the picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from atlas.explain import draw


def opened(drawn: draw.Drawn | None) -> NDArray[np.uint8]:
    assert drawn is not None
    return np.asarray(Image.open(io.BytesIO(drawn.body)).convert("RGB"))


def test_signed_by_hand() -> None:
    values = np.array([[[1, -1], [0, 0.5]], [[0, 0], [0, 0]], [[-0.25, 0], [0, 2.0]]])
    drawn = draw.signed(values, (4, 4))
    assert drawn is not None
    assert drawn.scale == 1.0  # the largest of five, 2.0, lies above the percentile
    picture = opened(drawn)
    assert picture.shape == (4, 4, 3)
    assert picture[0, 0].tolist() == [255, 128, 96]
    assert picture[1, 3].tolist() == [0, 128, 128]
    assert picture[3, 3].tolist() == [191, 128, 255]
    assert np.array_equal(picture, picture[::2, ::2].repeat(2, 0).repeat(2, 1))


def test_magnitude_by_hand() -> None:
    values = np.array([[[3.0, 0], [0, 0]], [[-4, 0], [1, 0]], [[0, 0], [0, -2]]])
    drawn = draw.magnitude(values, (2, 2))
    assert drawn is not None
    assert drawn.scale == 2.0
    assert opened(drawn)[..., 0].tolist() == [[255, 0], [128, 255]]


@pytest.mark.parametrize("make", [draw.signed, draw.magnitude])
def test_nothing_is_drawn_of_nothing(make: object) -> None:
    assert make(np.zeros((3, 4, 4)), (8, 8)) is None  # type: ignore[operator]


def test_a_field_that_is_not_square() -> None:
    values = np.random.default_rng(0).normal(size=(3, 1, 7))
    assert opened(draw.signed(values, (224, 32))).shape == (32, 224, 3)


def test_scale_is_robust_and_ignores_zeros() -> None:
    values = np.zeros(100_000)
    values[:1000] = np.arange(1, 1001)
    values[0] = 1e9
    assert 990 <= draw.robust_scale(values) <= 1000
    assert draw.robust_scale(-values) == draw.robust_scale(values)


def test_a_scale_far_below_the_largest_value() -> None:
    values = np.full((3, 20, 20), 1e-42, np.float32)
    values[0, 0, 0], values[0, 0, 1] = 1e3, -1e3
    drawn = draw.signed(values, (20, 20))
    assert drawn is not None
    assert opened(drawn)[0, :3].tolist() == [[255, 255, 255], [0, 255, 255], [255, 255, 255]]
    grey = draw.magnitude(values, (20, 20))
    assert grey is not None
    assert (opened(grey) == 255).all()


@given(arrays.arrays(np.float32, (3, 5, 6), elements=st.floats(-1e3, 1e3, width=32)))
@settings(max_examples=50, deadline=None)
def test_values_can_be_read_back(values: NDArray[np.float32]) -> None:
    drawn = draw.signed(values, (12, 10))
    if drawn is None:
        assert not values.any()
        return
    back = (opened(drawn)[::2, ::2].transpose(2, 0, 1).astype(float) - 127.5) / 127.5 * drawn.scale
    clipped = np.clip(values, -drawn.scale, drawn.scale)
    assert np.abs(back - clipped).max() <= drawn.scale / 127.5 * 0.51


def naive_psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """10 log10(255² / MSE), pixel by pixel in whole numbers."""
    total = sum((int(x) - int(y)) ** 2 for x, y in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
    return float("inf") if not total else float(10 * np.log10(255**2 * a.size / total))


def like_a_projection(seed: int, side: int, exponent: float, kept: float) -> NDArray[np.float32]:
    """Noise with a spectrum of 1 / f^exponent in a window, most of it 0 where `kept` is small: (3, side, side)."""
    rng = np.random.default_rng(seed)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij"))
    f[0, 0] = 1 / side
    values = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(3, side, side))) / f**exponent, s=(side, side))
    values *= np.exp(-3 * np.linspace(-1, 1, side) ** 2)[:, None]
    return (values * (rng.random(values.shape) < kept)).astype(np.float32)


MAPS = [(side, exponent, kept) for side in (12, 30, 59, 107, 155, 300) for exponent in (0, 1.5) for kept in (0.1, 1)]


@pytest.mark.parametrize(("side", "exponent", "kept"), MAPS)
def test_a_compact_picture_is_as_near_as_promised(side: int, exponent: float, kept: float) -> None:
    values = like_a_projection(side, side, exponent, kept)
    for make in (draw.signed, draw.magnitude):
        exact, near = make(values, (224, 224)), make(values, (224, 224), draw.compact)
        assert exact is not None
        assert near is not None
        assert near.scale == exact.scale
        found = naive_psnr(opened(exact), opened(near))
        assert found >= draw.LEAST_PSNR
        assert near.ending == ("webp" if found == np.inf else "jpg")
        if side <= 30:
            assert near == exact  # blocks are smaller without loss


def test_smooth_pictures_become_smaller() -> None:
    values = like_a_projection(0, 155, 1.5, 1)
    exact, near = draw.signed(values, (224, 224)), draw.signed(values, (224, 224), draw.compact)
    assert exact is not None
    assert near is not None
    assert len(near.body) <= 0.45 * len(exact.body)


@pytest.mark.parametrize("side", [224, 512])
def test_what_is_beyond_the_encoder_stays_lossless(side: int) -> None:
    rng = np.random.default_rng(1)
    grey = rng.integers(30, 226, (side, side, 3), dtype=np.uint8)  # white noise that no clipping helps
    assert draw.compact(grey, (side, side)) == draw.encoded(grey, (side, side))
    stark = 255 * rng.integers(0, 2, (side, side, 3), dtype=np.uint8)  # the most bytes that JPEG can be asked for
    assert naive_psnr(opened(draw.Drawn(draw.compact(stark, (side, side)), 1.0)), stark) >= draw.LEAST_PSNR


def test_psnr_by_hand() -> None:
    a = Image.fromarray(np.array([[0, 10], [20, 30]], np.uint8))
    b = Image.fromarray(np.array([[3, 10], [16, 30]], np.uint8))
    assert draw.psnr(a, b) == pytest.approx(10 * np.log10(65025 * 4 / 25), abs=1e-12)
    assert draw.psnr(a, a) == np.inf


@given(arrays.arrays(np.float32, (3, 40, 56), elements=st.floats(-1e3, 1e3, width=32)))
@settings(max_examples=30, deadline=None)
def test_any_map_is_compact_and_near(values: NDArray[np.float32]) -> None:
    exact, near = draw.signed(values, (56, 40)), draw.signed(values, (56, 40), draw.compact)
    if exact is None or near is None:
        assert exact is near
        return
    assert naive_psnr(opened(exact), opened(near)) >= draw.LEAST_PSNR
