"""The mean spectrum of the data: how strong each frequency is in images as the network sees them.

Olah et al. 2017 optimise in a Fourier basis scaled by 1/f, Fel et al. 2023 fix the magnitudes to ImageNet's mean. Both
stand for "as natural images have it". Here it is measured on the atlas's own data, as a sum over images that adds up
in any split (float64, folded in order), so that an atlas of digits does not get photographs' spectrum.

Colours: magnitudes are taken in an opponent basis (grey, red against blue, green against both), near the principal
axes of natural colours, and orthonormal: grey data has no strength in the two coloured channels and so gets none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.arrays import Doubles

OPPONENT = np.array(
    [[3**-0.5, 3**-0.5, 3**-0.5], [2**-0.5, 0.0, -(2**-0.5)], [6**-0.5, -2 * 6**-0.5, 6**-0.5]], np.float64
)
"""Rows: opponent channels; columns: red, green, blue. Orthonormal."""


def basis(channels: int) -> Doubles:
    """The colour basis (channels, channels), its rows orthonormal."""
    return OPPONENT if channels == 3 else np.eye(channels)


@dataclass(frozen=True)
class SpectrumSum:
    """A sum over images of `width` pixels that can be added: `total` (C, H, W // 2 + 1), of `count` images."""

    total: Doubles
    width: int
    count: int

    @staticmethod
    def of(pixels: NDArray[np.uint8]) -> SpectrumSum:
        """Of images (N, H, W, C), uint8: magnitudes of the Fourier transform of values 0 to 1, in the opponent basis;
        at frequency 0 the value itself, with its sign, so that the mean colour is there too."""
        count, height, width, channels = pixels.shape
        total = np.zeros((channels, height, width // 2 + 1))
        for image in pixels:
            signal = np.tensordot(basis(channels), image / 255.0, (1, 2))  # (C, H, W)
            transform = np.fft.rfft2(signal)
            magnitude = np.abs(transform)
            magnitude[:, 0, 0] = transform[:, 0, 0].real
            total += magnitude
        return SpectrumSum(total, width, count)

    @staticmethod
    def nothing(height: int, width: int, channels: int) -> SpectrumSum:
        """The sum over no images."""
        return SpectrumSum(np.zeros((channels, height, width // 2 + 1)), width, 0)

    def __add__(self, other: SpectrumSum) -> SpectrumSum:
        return SpectrumSum(self.total + other.total, self.width, self.count + other.count)

    def mean(self) -> Spectrum:
        """The mean over the images. Raises `ValueError` where there are none."""
        if not self.count:
            raise ValueError("spectrum: no images; expected at least one")
        return Spectrum(self.total / self.count, self.width)


@dataclass(frozen=True)
class Spectrum:
    """The mean spectrum (C, H, W // 2 + 1) of images H × W of values 0 to 1, in the opponent basis."""

    values: Doubles
    width: int

    @property
    def height(self) -> int:
        return int(self.values.shape[1])

    @property
    def channels(self) -> int:
        return int(self.values.shape[0])

    @property
    def colour(self) -> Doubles:
        """The mean colour (C,), of values 0 to 1, in the image's own channels."""
        return basis(self.channels).T @ (self.values[:, 0, 0] / (self.height * self.width))

    @property
    def norm(self) -> float:
        """The Euclidean norm of an image of this spectrum about its mean colour, of values 0 to 1 (Parseval)."""
        power = self.values**2
        power[:, 0, 0] = 0
        # Columns that have a mirror image are counted twice.
        twice = power[:, :, 1 : (self.width + 1) // 2].sum()
        return float(np.sqrt((power.sum() + twice) / (self.height * self.width)))

    def at(self, height: int, width: int) -> Doubles:
        """The magnitudes (C, height, width // 2 + 1) of a canvas of another size.

        A frequency is in cycles a pixel, between the measured ones in a straight line; a patch of n pixels of a
        stationary image has √n of the magnitude. At frequency 0 the mean colour's.
        """
        smooth = self.values.copy()
        smooth[:, 0, 0] = (smooth[:, 0, 1] + smooth[:, 1 % self.height, 0]) / 2 if self.values.shape[2] > 1 else 0
        rows = (np.fft.fftfreq(height) * self.height) % self.height
        columns = np.fft.rfftfreq(width) * self.width
        upper, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
        down, right = (rows - upper)[:, None], (columns - left)[None]
        last = self.values.shape[2] - 1
        below, beside = (upper + 1) % self.height, np.minimum(left + 1, last)
        upper, left = upper % self.height, np.minimum(left, last)
        found = (
            smooth[:, upper][:, :, left] * (1 - down) * (1 - right)
            + smooth[:, upper][:, :, beside] * (1 - down) * right
            + smooth[:, below][:, :, left] * down * (1 - right)
            + smooth[:, below][:, :, beside] * down * right
        ) * np.sqrt(height * width / (self.height * self.width))
        found[:, 0, 0] = self.values[:, 0, 0] * (height * width) / (self.height * self.width)
        return np.asarray(found)
