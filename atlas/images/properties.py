"""Simple properties of an image, measured during the scan on the pixels that the network sees.

All sums are sums of whole numbers (exact in int64 and, up to about 4 million pixels, in float64), and no BLAS is
called: the values do not depend on threads. An angle that is undefined, as the hue of a grey image, is nan.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from atlas.tables.attributes import MEASURED

NAMES = tuple(MEASURED)

EDGE = 0.1  # of the luma's range, a pixel
GREY = 1.0  # mean chroma below one grey level of 255 is no hue
COHERENCE = 0.01  # below, the structure tensor is round: no orientation prevails

Pixels = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.float32]


def measure(pixels: Pixels, width: int, height: int) -> Vector:
    """The properties of one image, in the order of `NAMES`.

    `pixels`: (H, W, 3) uint8, or grey (H, W, 1), as the network sees the image; `width`, `height`: of it as stored.
    """
    pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    moments, covariance = _colour(pixels)
    luma = _luma(pixels)  # (H, W) int32, 0 to 65,280
    variance = max(float(_LUMA @ covariance @ _LUMA), 0.0) / 256**2
    density, orientation, frequency = _edges(luma)
    values = (
        float(_LUMA @ moments) / (256 * 255),
        math.sqrt(variance) / 255,
        _colourfulness(moments, covariance),
        _hue(moments),
        density,
        orientation,
        frequency,
        float(width),
        float(height),
        width / height,
    )
    return np.array(values, np.float32)


_LUMA = np.array([77.0, 150.0, 29.0])  # BT.601 in 256ths
_OPPONENT = np.array([[1.0, -1.0, 0.0], [0.5, 0.5, -1.0]])  # red-green, yellow-blue


def _luma(pixels: Pixels) -> npt.NDArray[np.int32]:
    wide = pixels.astype(np.int32)  # (H, W, 3)
    luma: npt.NDArray[np.int32] = 77 * wide[..., 0] + 150 * wide[..., 1] + 29 * wide[..., 2]
    return luma


def _colour(pixels: Pixels) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean (3,) and covariance (3, 3) of red, green and blue, from exact sums."""
    count = pixels.shape[0] * pixels.shape[1]
    planes = [np.ascontiguousarray(pixels[..., c]).reshape(-1).astype(np.uint16) for c in range(3)]
    sums = [int(plane.sum(dtype=np.int64)) for plane in planes]
    covariance = np.empty((3, 3))
    for a in range(3):
        for b in range(a, 3):
            product = int((planes[a] * planes[b]).sum(dtype=np.int64))  # 255 * 255 fits in uint16
            covariance[a, b] = covariance[b, a] = (product * count - sums[a] * sums[b]) / count**2
    return np.array(sums) / count, covariance


def _colourfulness(moments: npt.NDArray[np.float64], covariance: npt.NDArray[np.float64]) -> float:
    means = _OPPONENT @ moments
    spread = max(float(np.trace(_OPPONENT @ covariance @ _OPPONENT.T)), 0.0)
    return math.sqrt(spread) + 0.3 * math.hypot(means[0], means[1])


def _hue(moments: npt.NDArray[np.float64]) -> float:
    red, green, blue = moments
    along, across = red - (green + blue) / 2, math.sqrt(3) / 2 * (green - blue)
    if math.hypot(along, across) < GREY:
        return math.nan
    return math.atan2(across, along) % (2 * math.pi)


def _edges(luma: npt.NDArray[np.int32]) -> tuple[float, float, float]:
    """Edge density, orientation along the edges, and frequency.

    Frequency: by Parseval, the mean squared difference of neighbours over the variance is the power-weighted mean of
    `2 - 2 cos(2 pi f)`; it is turned back into a frequency, for x and y apart, whose squares are added.
    """
    height, width = luma.shape
    if height < 3 or width < 3:
        return math.nan, math.nan, math.nan
    gx = (luma[1:-1, 2:] - luma[1:-1, :-2]).astype(np.float64)  # (H-2, W-2), twice the slope
    gy = (luma[2:, 1:-1] - luma[:-2, 1:-1]).astype(np.float64)
    xx, yy = gx * gx, gy * gy
    threshold = (2 * EDGE * 255 * 256) ** 2
    density = float(np.count_nonzero(xx + yy > threshold)) / gx.size
    difference, cross, total = float((xx - yy).sum()), 2 * float((gx * gy).sum()), float((xx + yy).sum())
    orientation = math.nan
    if total > 0 and math.hypot(difference, cross) >= COHERENCE * total:
        across = 0.5 * math.atan2(cross, difference)  # of the gradient; the edge is at a right angle to it
        orientation = (across + math.pi / 2) % math.pi
    frequency = math.hypot(_frequency(luma, 1), _frequency(luma, 0))
    return density, orientation, frequency


def _frequency(luma: npt.NDArray[np.int32], axis: int) -> float:
    """Root mean square frequency along an axis, cycles a pixel; nan where luma does not vary."""
    step = np.diff(luma, axis=axis).astype(np.float64)
    variance = float(luma.var(dtype=np.float64))
    if variance == 0:
        return math.nan
    power = min(float((step * step).mean()) / variance, 4.0)
    return math.acos(1 - power / 2) / (2 * math.pi)
