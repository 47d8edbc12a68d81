"""What if: the image's parts shuffled on a grid, its colour removed, blurred; its silhouette, its texture.

On what the network sees (H, W, C), uint8. A shuffle depends on the pixels and the grid alone.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from atlas.errors import InputError
from probe.protocol import edit_of

if TYPE_CHECKING:
    from atlas.localize.locate import Locator
    from probe.subjects import Subject

Pixels = NDArray[np.uint8]
BLUR = 32
"""The standard deviation of the blur is this part of the input's side: 7 of 224 pixels."""


def edited(subject: Subject, pixels: Pixels, edit: str) -> Pixels:
    """The pixels after `edit`. Raises `InputError` where it cannot be done to them."""
    name, cells = edit_of(edit)
    if name == "shuffle":
        return shuffled(pixels, cells)
    if name == "gray":
        return gray(pixels)
    return blurred(pixels) if name == "blur" else masked(subject, pixels, name)


def shuffled(pixels: Pixels, cells: int) -> Pixels:
    """A grid of `cells` × `cells` squares in another order; what is left over at the right and below stays.

    Raises `InputError` where a cell would have no pixel.
    """
    height, width = pixels.shape[0] // cells, pixels.shape[1] // cells
    if not height or not width:
        raise InputError(f"edit=shuffle:{cells}: the input has {pixels.shape[1]} x {pixels.shape[0]} pixels")
    seed = int.from_bytes(hashlib.sha256(f"{cells}/".encode() + pixels.tobytes()).digest()[:8], "little")
    order = np.random.default_rng(seed).permutation(cells * cells)
    if (order == np.arange(len(order))).all():
        order = np.roll(order, 1)  # a shuffle that moves nothing would ask nothing
    out = pixels.copy()
    for to, of in enumerate(order.tolist()):
        (a, b), (c, d) = divmod(to, cells), divmod(of, cells)
        out[a * height : (a + 1) * height, b * width : (b + 1) * width] = pixels[
            c * height : (c + 1) * height, d * width : (d + 1) * width
        ]
    return out


def gray(pixels: Pixels) -> Pixels:
    """Without colour: ITU-R 601 luma in each channel."""
    if pixels.shape[2] == 1:
        return pixels
    luma = np.asarray(Image.fromarray(pixels).convert("L"))
    return np.repeat(luma[..., None], 3, axis=2)


def blurred(pixels: Pixels) -> Pixels:
    """A Gaussian blur of a 32nd of the side."""
    flat = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    soft = Image.fromarray(flat).filter(ImageFilter.GaussianBlur(max(pixels.shape[:2]) / BLUR))
    return np.asarray(soft).reshape(pixels.shape)


def masked(subject: Subject, pixels: Pixels, name: str) -> Pixels:
    """The silhouette, or the texture, of what the predicted class's saliency marks, cut by colours.

    Raises `InputError` where OpenCV is not installed, or there is no mask.
    """
    from atlas.localize import edits as of_mask

    if pixels.shape[2] != 3 or not subject.classes:
        raise InputError(f"edit={name}: needs a network of colour images and of classes")
    locator = _locator(subject)
    inputs = subject.session.call(pixels[None], [0])
    zero = torch.zeros(1, dtype=torch.int64)
    scored, _ = locator.maps(inputs, zero, zero.bool())
    token = hashlib.sha256(pixels.tobytes()).hexdigest()
    found = next(iter(locator.of_class(scored.maps[0][0], None, pixels, token)))
    if found.mask is None:
        raise InputError(f"edit={name}: no object is found in the image ({found.why})")
    made = of_mask.silhouette(found.mask) if name == "silhouette" else of_mask.texture(pixels, found.mask)
    if made is None:
        raise InputError(f"edit={name}: the object is too small to show a texture")
    return made


@lru_cache(maxsize=4)
def _locator(subject: Subject) -> Locator:
    from atlas.localize.cut import opencv
    from atlas.localize.locate import Locator

    opencv()
    crop = subject.session.preprocessing
    return Locator(subject.session.module, (crop.channels, crop.crop, crop.crop), 0)
