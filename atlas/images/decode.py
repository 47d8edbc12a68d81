"""Bytes to pixels, and pixels to what the network sees. Needs Pillow and numpy only; every function is thread-safe.

The content decides what an image is, not the ending of its name. Pixels are taken as stored: no EXIF turn.
"""

from __future__ import annotations

import io
import re
import struct
import threading
import warnings
import zlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from atlas import placing
from atlas.errors import ImageError
from atlas.types import Placement

# Imported by name, so that they are registered before any thread decodes: Pillow's own loading is lazy.
_PLUGINS = (
    JpegImagePlugin, MpoImagePlugin, PngImagePlugin, GifImagePlugin, WebPImagePlugin, BmpImagePlugin,
    TiffImagePlugin, PpmImagePlugin, Jpeg2KImagePlugin, AvifImagePlugin,
)  # fmt: skip
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""What is decoded. Formats that run another program, such as EPS, are not among them."""
MAX_PIXELS = 178_956_970
"""Larger images are refused from their header, before decoding: where Pillow suspects a decompression bomb."""
RESIZED_LIMIT = 1 << 22
"""Pixels of a resized image above which only the part inside the crop is computed (very long, thin images)."""

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# Pillow turns a TIFF by its orientation tag while loading; these undo it.
_UNTURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
_ORIENTATION = 0x0112
_lock = threading.Lock()

# Pillow remarks on odd metadata and large images by warnings: an image is used, or quarantined with a reason.
warnings.filterwarnings("ignore", module=r"PIL\.")


CROP_MODES = ("center", "squash", "border")


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input: `resize` and `crop` (central square) in pixels;
    `mean` and `std` of each channel, of values from 0 to 1; `interpolation` nearest, bilinear, bicubic or lanczos.

    `crop_mode`: what is resized to `resize`. center: the shorter side; squash: both sides, whatever their ratio;
    border: the longer side, and what is missing of the crop is filled with the mean colour. `channels`: 3, or 1: grey.
    """

    resize: int
    crop: int
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"
    crop_mode: str = "center"
    channels: int = 3

    def of_channels(self, channels: int) -> Preprocessing:
        """The same for another number of channels: mean and deviation of grey are those of the colours on average."""
        if channels == self.channels:
            return self
        mean, std = ((sum(v) / len(v),) * channels for v in (self.mean, self.std))
        return replace(self, mean=mean, std=std, channels=channels)

    @property
    def fill(self) -> tuple[int, int, int]:
        """The mean colour, 0 to 255: what stands where there is no image. Of grey, three times the same."""
        red, *others = (round(255 * value) for value in self.mean)
        green, blue = others or (red, red)
        return red, green, blue


def decode(body: bytes) -> Image.Image:
    """The image as stored, RGB, 8 bits. Raises `ImageError` with one of these reasons:

    empty, not_an_image, truncated, broken, too_large, not_finite.

    Grey is repeated to three channels; alpha is dropped; a palette, CMYK and one bit are converted; of an animation
    the first frame. 16-bit grey is scaled to 8 bits. 32-bit values: see `_to_8_bits`.
    """
    if not body:
        raise ImageError("empty", "no bytes")
    try:
        return _decode(body)
    except Warning:
        # Only where warnings are errors (`python -W error`): warning filters are global, hence one at a time.
        with _lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode(body)


def _decode(body: bytes) -> Image.Image:
    try:
        image: Image.Image = Image.open(io.BytesIO(body), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise ImageError("too_large", f"{image.width} x {image.height}; at most {MAX_PIXELS} pixels")
        if image.format == "PNG":
            _check_png(body)
        turn = _UNTURN.get(_tiff_orientation(image))
        image.load()
        return _to_rgb(image if turn is None else image.transpose(turn))
    except (ImageError, Warning, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise ImageError("too_large", _line(error)) from None
    except UnidentifiedImageError:
        raise ImageError("not_an_image", f"{len(body)} bytes that begin {body[:12]!r}") from None
    except Exception as error:  # Pillow's plugins let many kinds through: OSError, ValueError, struct.error, …
        detail = _line(error)
        raise ImageError("truncated" if "truncated" in detail else "broken", detail) from None


def _line(error: Exception) -> str:
    """An error as one short line that is the same in every process."""
    text = re.sub(r"0x[0-9a-f]+", "0x…", " ".join(str(error).split()))
    return f"{text[:200] or type(error).__name__}"


def _check_png(body: bytes) -> None:
    """Compares the checksums of the pixel data, which Pillow passes over."""
    at = 8
    while at + 12 <= len(body):
        length, kind = struct.unpack_from(">I4s", body, at)
        if at + 12 + length > len(body):
            raise ImageError("truncated", f"chunk {kind!r} at byte {at} goes beyond the end")
        if kind == b"IEND":
            return
        if kind == b"IDAT":
            (said,) = struct.unpack_from(">I", body, at + 8 + length)
            if zlib.crc32(memoryview(body)[at + 4 : at + 8 + length]) != said:
                raise ImageError("broken", f"checksum of the pixel data at byte {at} is wrong")
        at += 12 + length
    raise ImageError("truncated", "no end chunk")


def _tiff_orientation(image: Image.Image) -> int:
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    return int(tags.get(_ORIENTATION, 1))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
    image.info.pop("transparency", None)
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bits(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Grey of more than 8 bits (H, W) as uint8 (H, W).

    Integers from 0 to 65535 are divided by 257 and rounded. Floats from 0 to 1 are multiplied by 255; from 0 to 255
    they are kept. Anything else is stretched from its smallest to its largest value. Raises `ImageError`.
    """
    grey = values.astype(np.float64)
    if not np.isfinite(grey).all():
        raise ImageError("not_finite", f"{int((~np.isfinite(grey)).sum())} of {grey.size} values are not finite")
    low, high = float(grey.min()), float(grey.max())
    if values.dtype.kind in "iu" and low >= 0 and high <= 65535:
        grey /= 257
    elif low >= 0 and high <= 1:
        grey *= 255
    elif low < 0 or high > 255:
        grey = (grey - low) * (255 / ((high - low) or 1))
    return (grey + 0.5).astype(np.uint8)


def place(width: int, height: int, preprocessing: Preprocessing) -> Placement:
    """Where the network's input lies in an image of `width` x `height` pixels: stored = offset + scale * input."""
    p = preprocessing
    return placing.place(width, height, p.resize, p.crop, p.crop_mode)


def to_input(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """What the network sees, before normalisation: uint8 (crop, crop, channels).

    The pixels are those of torchvision's Resize (of PIL images, antialiased) and CenterCrop, zero where the crop
    exceeds the image; in mode border those of timm's, the mean colour there. Grey is taken before resizing (ITU-R 601
    luma). Where the resized image would hold more than `RESIZED_LIMIT` pixels, only the part inside the crop is
    computed; roundings may then differ.
    """
    p, crop = preprocessing, preprocessing.crop
    image = image.convert("L") if p.channels == 1 else image
    width, height = placing.resized_size(image.width, image.height, p.resize, p.crop_mode)
    left, top = placing.crop_start(width, crop), placing.crop_start(height, crop)
    inside = (max(left, 0), max(top, 0), min(left + crop, width), min(top + crop, height))
    part = _resized_part(image, (width, height), inside, _FILTERS[p.interpolation])
    pixels = np.array(part).reshape(part.height, part.width, p.channels)  # writable
    if pixels.shape == (crop, crop, p.channels):
        return pixels
    padded = np.zeros((crop, crop, p.channels), np.uint8)
    padded[:] = p.fill[: p.channels] if p.crop_mode == "border" else 0
    y, x = max(-top, 0), max(-left, 0)
    padded[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    return padded


def _resized_part(
    image: Image.Image, size: tuple[int, int], part: tuple[int, int, int, int], resample: Image.Resampling
) -> Image.Image:
    """The box `part` of `image` resized to `size`."""
    if size == image.size:
        return image.crop(part)
    if size[0] * size[1] <= RESIZED_LIMIT:
        return image.resize(size, resample).crop(part)
    scale_x, scale_y = image.width / size[0], image.height / size[1]
    left, top, right, bottom = part
    box = (
        left * scale_x,
        top * scale_y,
        min(right * scale_x, float(image.width)),
        min(bottom * scale_y, float(image.height)),
    )
    return image.resize((right - left, bottom - top), resample, box)


def scaled_size(width: int, height: int, longest: int) -> tuple[int, int]:
    """(width, height) whose longer side is at most `longest`; never larger than it was, never 0."""
    if max(width, height) <= longest:
        return width, height
    scale = longest / max(width, height)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def thumbnail(image: Image.Image, longest: int) -> bytes:
    """A JPEG of the whole image, its longer side at most `longest` pixels; never enlarged."""
    return _jpeg(image.resize(scaled_size(*image.size, longest), Image.Resampling.BICUBIC, reducing_gap=1.5), 80)


def frame(image: Image.Image, longest: int) -> bytes:
    """As `thumbnail`, of a quality to draw a field on."""
    return _jpeg(image.resize(scaled_size(*image.size, longest), Image.Resampling.BICUBIC, reducing_gap=3.0), 90)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()
