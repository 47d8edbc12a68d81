"""How alike two pictures are: rank correlation and structural similarity, of absolute and of signed values.

Maps (3, h, w) are first made one number a pixel, Σ |v| or Σ v over the channels, as Adebayo et al. 2018 (Sanity checks
for saliency maps) compare them with and without signs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d
from scipy.stats import rankdata

from atlas.explain.draw import robust_scale

MEASURES = ("rank_absolute", "rank_signed", "ssim_absolute", "ssim_signed")
RADIUS, SIGMA = 5, 1.5
"""Of the Gaussian window of 11 × 11 pixels."""
_K1, _K2 = 0.01, 0.03

Map = NDArray[np.float64]


@dataclass(frozen=True)
class _Form:
    """A map (h, w) made ready: its ranks about their mean, at length 1, and the picture on its robust scale."""

    ranks: Map
    shown: Map
    mean: Map
    square: Map

    @classmethod
    def of(cls, values: Map, signed: bool) -> _Form:
        ranks = rankdata(values).reshape(values.shape)
        ranks -= ranks.mean()
        length = float(np.sqrt((ranks * ranks).sum()))
        shown = np.clip(values / (robust_scale(values) or 1), -1, 1)
        shown = (1 + shown) / 2 if signed else shown
        return cls(ranks / length if length else ranks, shown, _window(shown), _window(shown * shown))


@dataclass(frozen=True)
class Picture:
    """One map (3, h, w), ready to be compared with others of its shape."""

    absolute: _Form
    signed: _Form
    empty: bool
    """No two pixels differ, or a value is not finite: there is no picture."""

    @classmethod
    def of(cls, values: NDArray[Any]) -> Picture:
        finite = bool(np.isfinite(values).all())
        whole = values.astype(np.float64) if finite else np.zeros(values.shape)
        absolute = np.abs(whole).sum(axis=0)
        return cls(_Form.of(absolute, False), _Form.of(whole.sum(axis=0), True), not np.ptp(absolute) > 0)


def compare(before: Picture, after: Picture) -> dict[str, float]:
    """`MEASURES`, each from −1 to 1; 1 is the same picture. All 0 where one of the two is empty.

    rank: Spearman's correlation over the pixels, ties at their mean rank; 0 where all are equal. ssim: Wang et al.
    2004, Image quality assessment: the mean over all windows that fit of the index with K₁ = 0.01, K₂ = 0.03, of the
    pictures as they are drawn: divided by their robust scale, clipped to ±1, signed ones around mid-grey, so 0 to 1.
    (Around 0, as Adebayo et al. take them, a picture and its negative are alike: two signs cancel.) The Gaussian window
    is the paper's, 11 × 11 with σ 1.5, and smaller on smaller pictures.
    """
    if before.empty or after.empty:
        return dict.fromkeys(MEASURES, 0.0)
    return {
        "rank_absolute": float((before.absolute.ranks * after.absolute.ranks).sum()),
        "rank_signed": float((before.signed.ranks * after.signed.ranks).sum()),
        "ssim_absolute": _ssim(before.absolute, after.absolute),
        "ssim_signed": _ssim(before.signed, after.signed),
    }


def _ssim(a: _Form, b: _Form) -> float:
    c1, c2 = _K1**2, _K2**2
    means, joint = a.mean * b.mean, _window(a.shown * b.shown)
    squares = a.mean**2 + b.mean**2
    light = (2 * means + c1) / (squares + c1)
    structure = (2 * (joint - means) + c2) / (a.square + b.square - squares + c2)
    return float((light * structure).mean())


def _window(values: Map) -> Map:
    """The Gaussian mean around each pixel whose window fits."""
    radius = min(RADIUS, (min(values.shape) - 1) // 2)
    weights = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * SIGMA**2))
    for axis in (0, 1):
        values = correlate1d(values, weights / weights.sum(), axis)
    return values[radius : values.shape[0] - radius, radius : values.shape[1] - radius]
