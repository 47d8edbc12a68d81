"""A mask from a map and the picture's colours: GrabCut (Rother et al. 2004), with models made of what the map marks.

As in Simonyan et al. 2014, the pixels above the map's 95 % quantile make the colour model of the object, those below
its 30 % quantile that of the background, and a graph cut assigns every pixel. Deviations: OpenCV's GrabCut in place of
GraphCut; one cut with the two models as they are, so that no pixel is fixed beforehand, whatever the map says of it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.errors import SettingsError
from atlas.localize.boxes import Mask

OBJECT, BACKGROUND = 0.95, 0.30
"""Quantiles of the map above and below which pixels make the colour models."""
_BETWEEN, _WITHIN = 2, 3
"""OpenCV's words for probable background and probable foreground."""
LEAST = 5
"""Pixels that a model of five colours needs."""


def opencv() -> ModuleType:
    """OpenCV, on one thread. Raises `SettingsError` where it is not installed."""
    try:
        import cv2
    except ImportError:
        raise SettingsError(
            "localization: GrabCut needs OpenCV, which is not installed; pip install 'neuron-atlas[localize]'"
        ) from None
    cv2.setNumThreads(1)
    return cv2


@dataclass(frozen=True)
class Cut:
    """A mask (h, w), or the reason that there is none; `note`: what was done about ties, or None."""

    mask: Mask | None
    why: str | None = None
    note: str | None = None


def seeds(values: NDArray[Any]) -> tuple[Mask, Mask, str | None] | None:
    """Pixels of the object and of the background that a map (h, w) marks, and what was done about ties.

    Where none lies above the upper quantile, those that reach it are taken, and likewise below; None where the map is
    the same everywhere, not finite, or a set has less than five pixels.
    """
    if not np.isfinite(values).all() or values.min() == values.max():
        return None
    high, low = np.quantile(values, OBJECT), np.quantile(values, BACKGROUND)
    within, between, notes = values > high, values < low, []
    if within.sum() < LEAST:
        within = values >= high
        notes.append("many pixels tie at the upper quantile: all of them are the object")
    if between.sum() < LEAST:
        between = values <= low
        notes.append("many pixels tie at the lower quantile: all of them are the background")
    if (within & between).any() or min(within.sum(), between.sum()) < LEAST:
        return None
    return within, between, "; ".join(notes) or None


def number(*about: object) -> int:
    """A seed for OpenCV's generator that only what it is about decides."""
    digest = hashlib.blake2b("/".join(map(str, about)).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") >> 1


def cut(values: NDArray[Any], pixels: NDArray[np.uint8], seed: int) -> Cut:
    """The mask that a map (h, w) gives on a picture (h, w, 3). `seed`: of OpenCV's generator, for this image alone."""
    found = seeds(values)
    if found is None:
        return Cut(None, "the map is the same nearly everywhere, so that it marks neither object nor background")
    within, between, note = found
    cv2 = opencv()
    cv2.setRNGSeed(seed)
    models = np.zeros((1, 65)), np.zeros((1, 65))  # background, object: five Gaussians of 13 numbers
    strip = np.concatenate([pixels[between], pixels[within]])[None]  # (1, seeds, 3)
    labels = np.full(strip.shape[:2], _BETWEEN, np.uint8)
    labels[:, int(between.sum()) :] = _WITHIN
    cv2.grabCut(np.ascontiguousarray(strip), labels, None, *models, 1, cv2.GC_INIT_WITH_MASK)
    mask = np.where(within, _WITHIN, _BETWEEN).astype(np.uint8)
    cv2.grabCut(np.ascontiguousarray(pixels), mask, None, *models, 1, cv2.GC_EVAL_FREEZE_MODEL)
    return Cut(mask == _WITHIN, None, note)


def gaussian(height: int, width: int) -> NDArray[np.float32]:
    """A map that knows only the middle of a picture: a Gaussian of a quarter of each side (h, w)."""
    y, x = ((np.arange(n) - (n - 1) / 2) / (n / 4) for n in (height, width))
    return np.exp(-(y[:, None] ** 2 + x[None] ** 2) / 2).astype(np.float32)
