"""Bytes to pixels, and pixels to what the network sees."""

from __future__ import annotations

import io
import struct
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from atlas.errors import ImageError
from atlas.images import decode as module
from atlas.images.decode import (
    Preprocessing,
    decode,
    frame,
    place,
    scaled_size,
    thumbnail,
    to_input,
)
from atlas.placing import resized_size
from atlas.types import Box
from tests import naive_images


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    low = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(low).resize((width, height), Image.Resampling.BICUBIC)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image | NDArray[Any], kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, kind, **options)
    return out.getvalue()


def pixels(body: bytes) -> NDArray[np.uint8]:
    image = decode(body)
    assert image.mode == "RGB"
    return np.asarray(image)


def reason(body: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        decode(body)
    assert "\n" not in caught.value.detail
    return caught.value.reason


def test_colours_of_every_kind_of_image() -> None:
    rgb = photo(32, 24)
    stored = np.asarray(rgb)
    grey = np.asarray(rgb.convert("L"))
    assert (pixels(encoded(rgb, "PNG")) == stored).all()
    assert (pixels(encoded(rgb, "BMP")) == stored).all()
    assert (pixels(encoded(rgb, "TIFF")) == stored).all()
    assert (pixels(encoded(rgb, "PPM")) == stored).all()
    assert (pixels(encoded(rgb, "WEBP", lossless=True)) == stored).all()
    assert (pixels(encoded(rgb.convert("L"), "PNG")) == grey[..., None]).all()
    assert (pixels(encoded(rgb.convert("LA"), "PNG")) == grey[..., None]).all()
    one_bit = np.asarray(rgb.convert("1"))
    assert (pixels(encoded(rgb.convert("1"), "PNG")) == 255 * one_bit[..., None]).all()
    cmyk = rgb.convert("CMYK")
    assert np.abs(pixels(encoded(cmyk, "JPEG", quality=100)).astype(int) - np.asarray(cmyk.convert("RGB"))).max() < 12


def test_alpha_is_dropped_not_blended() -> None:
    rgba = np.dstack([np.asarray(photo(8, 8)), np.arange(64, dtype=np.uint8).reshape(8, 8)])
    assert (pixels(encoded(rgba, "PNG")) == rgba[..., :3]).all()


@pytest.mark.parametrize("transparency", [None, 0, bytes(range(256))])
def test_palette(transparency: int | bytes | None) -> None:
    palette = photo(16, 16).convert("P")
    options = {} if transparency is None else {"transparency": transparency}
    assert (pixels(encoded(palette, "PNG", **options)) == np.asarray(palette.convert("RGB"))).all()


def test_sixteen_bits_are_scaled_by_hand() -> None:
    values = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    by_hand = [0, 0, 1, 1, 128, 255]  # v / 257, rounded
    assert pixels(encoded(values, "PNG"))[0, :, 0].tolist() == by_hand
    assert pixels(encoded(values, "TIFF"))[0, :, 1].tolist() == by_hand
    assert pixels(b"P5 2 1 65535\n\x80\x00\xff\xff")[0, :, 2].tolist() == [128, 255]


def test_floats_are_scaled_by_hand() -> None:
    def grey(*values: float) -> list[int]:
        return [int(v) for v in pixels(encoded(np.array([values], np.float32), "TIFF"))[0, :, 0]]

    assert grey(0, 0.5, 1) == [0, 128, 255]
    assert grey(0, 2, 200) == [0, 2, 200]
    assert grey(-1, 0, 1) == [0, 128, 255]
    assert grey(1000, 1000) == [0, 0]
    assert reason(encoded(np.array([[0, np.nan]], np.float32), "TIFF")) == "not_finite"
    assert reason(encoded(np.array([[0, np.inf]], np.float32), "TIFF")) == "not_finite"


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        body = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert pixels(body)[0, 0].tolist() == [255, 0, 0], kind


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "TIFF lzw", "PNG", "WEBP"])
def test_pixels_are_taken_as_stored_before_any_turn(kind: str, orientation: int) -> None:
    image = photo(20, 10)
    exif = Image.Exif()
    exif[0x0112] = orientation
    name, _, compression = kind.partition(" ")
    options = {"compression": f"tiff_{compression}"} if compression else {}
    turned = decode(encoded(image, name, exif=exif, **options))
    assert turned.size == (20, 10)
    assert (np.asarray(turned) == np.asarray(decode(encoded(image, name, **options)))).all()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def claiming(width: int, height: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def test_what_cannot_be_used_has_a_reason() -> None:
    jpeg, png = encoded(photo(64, 48), "JPEG"), encoded(noise(64, 48), "PNG")
    assert reason(b"") == "empty"
    assert reason(b"this is not an image\n") == "not_an_image"
    assert reason(b"<!doctype html><title>404</title>") == "not_an_image"
    assert reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n") == "not_an_image"
    assert reason(jpeg[: len(jpeg) // 2]) == "truncated"
    assert reason(png[:-200]) == "truncated"
    assert reason(png[:-12]) == "truncated"
    assert reason(claiming(60_000, 60_000)) == "too_large"
    assert reason(claiming(0, 10)) == "not_an_image"
    wrong = bytearray(png)
    wrong[png.index(b"IDAT") + 20] ^= 0xFF
    assert reason(bytes(wrong)) == "broken"
    sums = bytearray(png)
    sums[-16] ^= 0xFF  # only the checksum, not the pixels
    assert reason(bytes(sums)) == "broken"


def test_a_large_header_is_refused_before_decoding() -> None:
    start = time.perf_counter()
    for width, height in ((13_378, 13_378), (1, 2**31 - 1), (2**31 - 1, 2**31 - 1)):
        assert reason(claiming(width, height)) == "too_large"
    assert reason(claiming(13_000, 13_000)) != "too_large"
    assert time.perf_counter() - start < 3


def test_warnings_are_no_errors_and_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    body = encoded(photo(30, 30), "PNG")
    expected = pixels(body)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)  # 900 pixels: Pillow warns, up to 1200
    before = list(sys.modules["warnings"].filters)
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(pixels, [body] * 64):
            assert (got == expected).all()
    assert sys.modules["warnings"].filters == before


def test_many_threads_decode_the_same_pixels() -> None:
    bodies = [
        encoded(photo(90, 70, seed), kind) for seed, kind in enumerate(["JPEG", "PNG", "TIFF", "WEBP", "GIF"] * 4)
    ]
    alone = [np.asarray(decode(body)) for body in bodies]
    with ThreadPoolExecutor(8) as pool:
        for got, expected in zip(pool.map(pixels, bodies * 4), alone * 4, strict=True):
            assert (got == expected).all()


@given(
    kind=st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF"]),
    seed=st.integers(0, 3),
    damage=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    kept=st.floats(0, 1),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(kind="PNG", seed=0, damage=[], kept=1.0)
def test_damage_gives_an_image_or_an_image_error(
    kind: str, seed: int, damage: list[tuple[float, int]], kept: float
) -> None:
    body = bytearray(_small(kind, seed))
    for where, value in damage:
        body[min(int(where * len(body)), len(body) - 1)] = value
    damaged = bytes(body[: int(kept * len(body)) + 1])
    outcomes = {_outcome(damaged), _outcome(damaged)}
    assert len(outcomes) == 1
    assert outcomes <= {"RGB", "empty", "not_an_image", "truncated", "broken", "too_large", "not_finite"}


def _outcome(body: bytes) -> str:
    try:
        return decode(body).mode
    except ImageError as error:
        return error.reason


_cache: dict[tuple[str, int], bytes] = {}


def _small(kind: str, seed: int) -> bytes:
    if (kind, seed) not in _cache:
        image = photo(23, 17, seed)
        _cache[kind, seed] = encoded([image, image.convert("L"), image.convert("1").convert("L"), image][seed], kind)
    return _cache[kind, seed]


SHAPES = [
    (500, 375, 256, 224), (375, 500, 256, 224), (333, 500, 256, 224), (256, 256, 256, 224), (224, 224, 224, 224),
    (32, 32, 32, 32), (30, 40, 32, 32), (5, 9, 16, 33), (9, 5, 16, 20), (1, 1, 8, 8), (1, 300, 32, 28),
    (3000, 2, 32, 28), (97, 101, 64, 63), (64, 64, 63, 64), (100, 100, 32, 41), (7, 300, 5, 9),
]  # fmt: skip


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_input_is_torchvisions_to_the_pixel(interpolation: str) -> None:
    transforms = _torchvision_transforms()
    for width, height, resize, crop in SHAPES:
        image = noise(width, height)
        mode = transforms.InterpolationMode[interpolation.upper()]
        expected = transforms.CenterCrop(crop)(transforms.Resize(resize, mode, antialias=True)(image))
        got = to_input(image, Preprocessing(resize, crop, interpolation=interpolation))
        assert got.dtype == np.uint8
        assert got.flags.writeable
        assert (got == np.asarray(expected)).all(), (width, height, resize, crop)


def _torchvision_transforms() -> Any:
    from atlas.network.load import import_torchvision

    import_torchvision()
    from torchvision import transforms

    return transforms


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_input_is_that_of_the_slow_twin(interpolation: str) -> None:
    for width, height, resize, crop in [(13, 9, 6, 4), (9, 13, 12, 11), (4, 4, 4, 4), (5, 3, 4, 9), (8, 31, 4, 4)]:
        image = Image.fromarray(64 + np.asarray(photo(width, height)) // 2)  # no overshoot beyond 8 bits
        expected = naive_images.to_input(image, resize, crop, interpolation)
        got = to_input(image, Preprocessing(resize, crop, interpolation=interpolation))
        assert np.abs(got - expected).max() <= 1.5  # 8 bits after each of two passes


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "nearest"])
def test_only_the_crop_of_a_thin_image_is_computed(interpolation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for width, height in [(1, 3000), (3000, 2), (2, 900)]:
        image = photo(width, height)
        preprocessing = Preprocessing(64, 56, interpolation=interpolation)
        monkeypatch.setattr(module, "RESIZED_LIMIT", 1 << 40)
        whole = to_input(image, preprocessing).astype(int)
        monkeypatch.setattr(module, "RESIZED_LIMIT", 0)
        part = to_input(image, preprocessing).astype(int)
        assert np.abs(whole - part).max() <= 1
        assert (whole != part).mean() < 0.02


def test_a_thin_image_costs_little() -> None:
    start = time.perf_counter()
    for width, height in [(1, 3000), (3000, 2), (1, 60_000)]:
        assert to_input(photo(width, height), Preprocessing(256, 224)).shape == (224, 224, 3)
    assert time.perf_counter() - start < 1


def test_placement_by_hand() -> None:
    # 500 x 375 becomes 341 x 256; the crop begins at round(58.5) = 58 and 16.
    assert resized_size(500, 375, 256) == (341, 256)
    there = place(500, 375, Preprocessing(256, 224))
    assert there.scale_x == 500 / 341
    assert there.scale_y == 375 / 256
    assert there.offset_x == pytest.approx(58 * 500 / 341)
    assert there.offset_y == pytest.approx(16 * 375 / 256)
    whole = place(32, 32, Preprocessing(32, 32)).to_stored(Box(0, 0, 32, 32))
    assert whole == Box(0, 0, 32, 32)
    padded = place(10, 10, Preprocessing(10, 15))
    assert (padded.offset_x, padded.offset_y) == (-2, -2)


@given(
    width=st.integers(1, 4000),
    height=st.integers(1, 4000),
    resize=st.integers(1, 512),
    crop=st.integers(1, 512),
)
@settings(max_examples=200, deadline=None)
def test_placement_is_where_the_pixels_come_from(width: int, height: int, resize: int, crop: int) -> None:
    there = place(width, height, Preprocessing(resize, crop))
    new_width, new_height = resized_size(width, height, resize)
    assert min(new_width, new_height) == resize
    stored = there.to_stored(Box(0, 0, crop, crop))
    assert stored.left == pytest.approx(naive_images.crop_start(new_width, crop) * width / new_width)
    assert stored.bottom == pytest.approx((naive_images.crop_start(new_height, crop) + crop) * height / new_height)
    back = there.to_input(stored)
    assert (back.left, back.top, back.right, back.bottom) == pytest.approx((0, 0, crop, crop), abs=1e-6)


def test_a_marked_pixel_lies_where_the_placement_says() -> None:
    image = Image.new("RGB", (400, 300))
    image.paste((255, 255, 255), (200, 90, 220, 110))
    preprocessing = Preprocessing(150, 128)
    seen = to_input(image, preprocessing)[..., 0] > 127
    rows, columns = np.nonzero(seen)
    box = place(400, 300, preprocessing).to_stored(
        Box(float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
    )
    assert (box.left, box.top, box.right, box.bottom) == pytest.approx((200, 90, 220, 110), abs=1.0)


def test_thumbnails_are_never_enlarged_and_never_empty() -> None:
    assert scaled_size(500, 375, 128) == (128, 96)
    assert scaled_size(3000, 2, 128) == (128, 1)
    assert scaled_size(20, 10, 128) == (20, 10)
    for width, height in [(500, 375), (3000, 2), (1, 3000), (1, 1), (20, 10)]:
        for body in (thumbnail(photo(width, height), 128), frame(photo(width, height), 128)):
            again = Image.open(io.BytesIO(body))
            assert again.format == "JPEG"
            assert again.size == scaled_size(width, height, 128)
    image = photo(500, 375)
    assert len(thumbnail(image, 128)) < len(frame(image, 500))
    fair = np.asarray(image.resize((128, 96), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(pixels(thumbnail(image, 128)) - fair).mean() < 4


def test_decoding_needs_no_torch() -> None:
    import subprocess

    code = (
        "import sys, atlas.images.decode, atlas.images.manifest; print(any(m in sys.modules for m in ('torch', 'ray')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
