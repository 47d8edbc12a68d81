"""An encoder of three numbers: how red, green and blue an image is, and which of these words a text holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

COLOURS = ("red", "green", "blue")


class Encoder:
    def images(self, images: Sequence[Image.Image]) -> np.ndarray:
        means = np.array([np.asarray(image, float).mean((0, 1)) for image in images])
        return means - means.min(1, keepdims=True) + 1

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([[1.0 + 99 * (colour in text) for colour in COLOURS] for text in texts])


def encoder() -> Encoder:
    return Encoder()


def other() -> object:
    return object()
