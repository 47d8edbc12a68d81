"""Maps to pictures: signed values around mid-grey on a robust scale, each pixel of the field a block of the picture.

Lossless pictures are WebP at the least effort: on fields of 19 and 155 px drawn at 224 px that takes 0.6 and 1.5 ms for
3 and 46 kB; PNG with run lengths only 0.6 and 2.1 ms for 2 and 47 kB, at zlib's default 0.9 and 6.5 ms.

Compact ones are JPEG with one quantiser step for all frequencies and no subsampling of colour: for noise-like maps that
is the least bytes at a given squared error, and makes the error nearly the same from map to map, where libjpeg's own
tables (for eyes, and photographs) leave 31 to 42 dB. Each is decoded again and its error measured before it is taken.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PERCENTILE = 99.5
"""Of the absolute values that are not 0: what is drawn as full black or white. The maximum leaves most grey."""
ENDING = "webp"
"""Of a lossless picture's name."""
LEAST_PSNR = 35.0
"""Of a compact picture against the drawn one, in dB."""
_STEPS = (16, 12)  # of 800 maps of SqueezeNet 94 of 100 pass at the first, all at the second
_BLOCKS = 4  # map pixels drawn as blocks of so many pixels a side take fewer bytes without loss

Pixels = NDArray[np.uint8]
Size = tuple[int, int]
"""Width and height of a picture."""


@dataclass(frozen=True)
class Drawn:
    """A picture's bytes. `scale`: the value drawn as white (and its negative as black), in the map's unit."""

    body: bytes
    scale: float

    @property
    def ending(self) -> str:
        """Of the picture's name, from its first bytes."""
        return "jpg" if self.body.startswith(b"\xff\xd8\xff") else ENDING


def robust_scale(values: NDArray[Any]) -> float:
    """The 99.5th percentile of the absolute values that are not 0 (the nearest value from below); 0 if all are 0."""
    sizes = np.abs(values[values != 0])
    if not sizes.size:
        return 0.0
    at = int(PERCENTILE / 100 * (sizes.size - 1))
    return float(np.partition(sizes, at)[at])


def encoded(pixels: Pixels, size: Size) -> bytes:
    """(h, w) or (h, w, 3) enlarged to `size` without smoothing, so that blocks lie on the crop's pixels; lossless."""
    return _lossless(_enlarged(pixels, size))


def compact(pixels: Pixels, size: Size) -> bytes:
    """The same picture at `LEAST_PSNR` or better: JPEG; lossless where that fails, or where blocks are large.

    PSNR is 10 · log10(255² / mean squared error) over all pixels and colours of the picture as decoded.
    """
    image = _enlarged(pixels, size)
    if max(size) < _BLOCKS * max(pixels.shape[:2]):
        for step in _STEPS:
            body = _jpeg(image, step)
            if psnr(image, Image.open(io.BytesIO(body))) >= LEAST_PSNR:
                return body
    return _lossless(image)


Encoder = Callable[[Pixels, Size], bytes]
FORMATS: dict[str, Encoder] = {"lossless": encoded, "compact": compact}
"""What `--projection-format` may say."""


def signed(values: NDArray[Any], size: Size, encode: Encoder = encoded) -> Drawn | None:
    """A map (3, h, w) as an RGB picture of `size` (width, height): 127.5 + 127.5 · v / scale, clipped, rounded to even.

    A map (1, h, w), of a network of grey images, is drawn in grey.

    None where the map is 0 everywhere: there is nothing to show.
    """
    scale = robust_scale(values)
    if not scale:
        return None
    pixels = np.rint(127.5 + 127.5 * (np.clip(values, -scale, scale) / scale)).astype(np.uint8)
    return Drawn(encode(np.broadcast_to(pixels.transpose(1, 2, 0), (*pixels.shape[1:], 3)), size), scale)


def magnitude(values: NDArray[Any], size: Size, encode: Encoder = encoded) -> Drawn | None:
    """Simonyan et al. 2014, section 3.1: M = max over channels of |v|, (3, h, w) to grey, 255 · M / scale, clipped."""
    largest = np.abs(values).max(axis=0)  # (h, w)
    scale = robust_scale(largest)
    if not scale:
        return None
    pixels = np.rint(255 * (np.minimum(largest, scale) / scale)).astype(np.uint8)
    return Drawn(encode(pixels, size), scale)


def psnr(a: Image.Image | Pixels, b: Image.Image | Pixels) -> float:
    """Peak signal-to-noise ratio of two pictures of one size and mode, in dB; infinite where they are equal."""
    difference = np.subtract(np.asarray(a), np.asarray(b), dtype=np.float64).ravel()
    squares = float(difference @ difference)  # a sum of whole numbers: exact in any order
    return 10 * math.log10(255**2 * difference.size / squares) if squares else math.inf


def _enlarged(pixels: Pixels, size: Size) -> Image.Image:
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)


def _lossless(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.convert("RGB").save(out, "WEBP", lossless=True, quality=0, method=0)
    return out.getvalue()


def _jpeg(image: Image.Image, step: int) -> bytes:
    """With one quantiser `step` everywhere. Without a quality Pillow makes room for two bytes a pixel; at a step of 12
    black and white at random, the most there is, takes 1.9."""
    out = io.BytesIO()
    tables = [[step] * 64] * min(len(image.getbands()), 2)  # for luma and chroma
    image.save(out, "JPEG", qtables=tables, subsampling=0, optimize=True)
    return out.getvalue()
