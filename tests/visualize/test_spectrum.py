"""The data's spectrum: against a transform written out, and as a sum that adds up in any split."""

from __future__ import annotations

import cmath

import numpy as np
import pytest

from atlas.visualize.spectrum import OPPONENT, Spectrum, SpectrumSum
from tests.visualize.subjects import noise


def test_a_transform_written_out_gives_the_same() -> None:
    images = noise(2, 4)
    expected = np.zeros((3, 4, 3))
    for image in images:
        for row in range(3):
            for v in range(4):
                for u in range(3):
                    total = sum(
                        sum(OPPONENT[row, c] * image[y, x, c] / 255 for c in range(3))
                        * cmath.exp(-2j * cmath.pi * (v * y + u * x) / 4)
                        for y in range(4)
                        for x in range(4)
                    )
                    expected[row, v, u] += (total.real if u == v == 0 else abs(total)) / 2
    np.testing.assert_allclose(SpectrumSum.of(images).mean().values, expected, atol=1e-10)


def test_any_split_adds_up() -> None:
    images = noise(6, 8)
    parts = SpectrumSum.of(images[:2]) + SpectrumSum.of(images[2:])
    np.testing.assert_allclose(parts.mean().values, SpectrumSum.of(images).mean().values, rtol=1e-12)
    assert parts.count == 6


def test_the_mean_colour_is_the_data_s() -> None:
    images = noise(5, 8)
    np.testing.assert_allclose(SpectrumSum.of(images).mean().colour, images.mean((0, 1, 2)) / 255, rtol=1e-12)


@pytest.mark.parametrize("side", [7, 8])
def test_norm_is_parseval_s(side: int) -> None:
    image = noise(1, side)
    away = image[0] / 255 - image[0].mean((0, 1)) / 255
    assert SpectrumSum.of(image).mean().norm == pytest.approx(np.linalg.norm(away))


def test_its_own_size_gives_it_back() -> None:
    found = SpectrumSum.of(noise(3, 8)).mean()
    at = found.at(8, 8)
    np.testing.assert_allclose(at.ravel()[1:5], found.values.ravel()[1:5])
    np.testing.assert_allclose(at[:, 0, 0], found.values[:, 0, 0])
    np.testing.assert_allclose(at, found.values)


def test_half_the_size_keeps_every_second_frequency_and_half_the_magnitude() -> None:
    found = SpectrumSum.of(noise(3, 8)).mean()
    at = found.at(4, 4)
    np.testing.assert_allclose(at[:, 1, 1], found.values[:, 2, 2] / 2)
    np.testing.assert_allclose(at[:, 2, 2], found.values[:, 4, 4] / 2)
    np.testing.assert_allclose(at[:, 3, 1], found.values[:, 6, 2] / 2)
    # The mean colour is that of the data on every canvas.
    np.testing.assert_allclose(Spectrum(at, 4).colour, found.colour)


def test_grey_data_has_no_strength_in_coloured_channels() -> None:
    grey = np.repeat(noise(2, 8)[..., :1], 3, 3)
    values = SpectrumSum.of(grey).mean().values
    assert values[0].max() > 1
    assert np.abs(values[1:]).max() < 1e-10


def test_one_channel_is_its_own_basis() -> None:
    assert SpectrumSum.of(noise(2, 8)[..., :1]).mean().channels == 1


def test_of_no_image_there_is_no_mean() -> None:
    with pytest.raises(ValueError, match="no images"):
        SpectrumSum.of(noise(0, 8)).mean()
