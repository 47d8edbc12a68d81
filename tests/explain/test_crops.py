"""Crops: exactly the box, its fractions by resampling, what lies outside padded."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from atlas.explain import crops
from atlas.types import Axis, Box, Field

FILL = (10, 200, 30)


def smooth(width: int = 80, height: int = 60) -> Image.Image:
    low = np.random.default_rng(5).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(low).resize((width, height), Image.Resampling.BICUBIC)


def kernel(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys's cubic with a = -1/2."""
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def weights(low: float, high: float, count: int, size: int, padding: int) -> NDArray[np.float64]:
    """(count, size + 2 padding): what each pixel of the crop takes from each of the padded image."""
    step = (high - low) / count
    centres = low + (np.arange(count) + 0.5) * step
    pixels = np.arange(-padding, size + padding) + 0.5
    rows = kernel((pixels[None] - centres[:, None]) / max(step, 1.0))
    return rows / rows.sum(1, keepdims=True)


def twin(image: Image.Image, box: Box, shape: tuple[int, int]) -> NDArray[np.float64]:
    """The crop by matrices, over an image padded widely on all sides."""
    pad = 200
    pixels = np.pad(np.asarray(image, np.float64), ((pad, pad), (pad, pad), (0, 0)), constant_values=np.nan)
    pixels = np.where(np.isnan(pixels), np.array(FILL, np.float64), pixels)
    rows = weights(box.top, box.bottom, shape[1], image.height, pad)
    columns = weights(box.left, box.right, shape[0], image.width, pad)
    return np.clip(np.einsum("ry,yxc,kx->rkc", rows, pixels, columns), 0, 255)


@pytest.mark.parametrize(
    "box",
    [
        Box(20.3, 10.7, 40.9, 30.2),  # inside, fractions on all sides
        Box(5.5, 5.5, 75.5, 55.5),  # reduced
        Box(30.25, 30.25, 33.75, 32.5),  # enlarged
        Box(-7.4, -3.3, 20.6, 18.8),  # beyond the top left corner
        Box(60.2, 40.1, 95.7, 71.3),  # beyond the bottom right corner
        Box(-10.5, -20.5, 90.5, 80.5),  # larger than the image
    ],
)
@pytest.mark.parametrize("shape", [(24, 24), (40, 16)])
def test_equals_an_independent_resampling(box: Box, shape: tuple[int, int]) -> None:
    image = smooth()
    found = np.asarray(crops.cut(image, box, shape, FILL), np.float64)
    inside = box.left >= 0 and box.top >= 0 and box.right <= image.width and box.bottom <= image.height
    difference = np.abs(found - twin(image, box, shape))
    if inside:  # at the image's own border the filter takes what there is; compared where it needs nothing beyond
        difference = difference[2:-2, 2:-2]
    assert difference.max() <= 2.0  # two roundings of 8 bits: after rows, after columns


def test_one_to_one_is_the_very_pixels() -> None:
    image = smooth()
    found = crops.cut(image, Box(11, 7, 43, 39), (32, 32), FILL)
    assert np.array_equal(np.asarray(found), np.asarray(image)[7:39, 11:43])


def test_padding_begins_where_the_image_ends() -> None:
    image = smooth()
    found = np.asarray(crops.cut(image, Box(-8, -4, 24, 28), (32, 32), FILL))
    assert (found[:4] == FILL).all()
    assert (found[:, :8] == FILL).all()
    assert np.array_equal(found[4:, 8:], np.asarray(image)[:28, :24])


def test_a_box_wholly_outside_is_all_padding() -> None:
    assert (np.asarray(crops.cut(smooth(), Box(-90, -90, -50, -50), (8, 8), FILL)) == FILL).all()


@pytest.mark.parametrize(("y", "x", "shape"), [(7, 7, (48, 48)), (1, 7, (48, 7)), (7, 1, (7, 48)), (300, 1, (1, 48))])
def test_pictures_have_the_shape_of_the_field(y: int, x: int, shape: tuple[int, int]) -> None:
    assert crops.picture_shape(Field(Axis(y, 1, 0), Axis(x, 1, 0)), 48) == shape


def test_is_written_as_jpeg() -> None:
    import io

    again = Image.open(io.BytesIO(crops.encode(smooth())))
    assert (again.format, again.size) == ("JPEG", (80, 60))
