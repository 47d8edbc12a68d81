"""Boxes of masks and maps, in pixels of the image as stored."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from atlas.images import decode
from atlas.localize import boxes
from atlas.types import Box
from tests import naive_localize

EDGE = st.integers(0, 20).map(lambda n: n / 10)


def test_overlaps_by_hand() -> None:
    assert boxes.iou(Box(0, 0, 2, 2), Box(1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert boxes.iou(Box(0, 0, 2, 2), Box(0, 0, 2, 2)) == 1
    assert boxes.iou(Box(0, 0, 2, 2), Box(2, 0, 3, 2)) == 0  # half open: they only touch
    assert boxes.best_iou(None, [Box(0, 0, 1, 1)]) == 0
    assert boxes.best_iou(Box(0, 0, 1, 1), [Box(5, 5, 6, 6), Box(0, 0, 1, 2)]) == 0.5


@given(st.tuples(*[EDGE] * 4), st.tuples(*[EDGE] * 4))
def test_overlaps_against_counting(a: tuple[float, ...], b: tuple[float, ...]) -> None:
    one, other = (Box(min(e[0], e[2]), min(e[1], e[3]), max(e[0], e[2]), max(e[1], e[3])) for e in (a, b))
    edges = [[each.left, each.top, each.right, each.bottom] for each in (one, other)]
    assert boxes.iou(one, other) == pytest.approx(naive_localize.iou(*edges), abs=1e-9)
    assert boxes.iou(one, other) == boxes.iou(other, one)


def test_the_largest_component_against_flooding() -> None:
    rng = np.random.default_rng(0)
    for density in (0.0, 0.1, 0.3, 0.5, 1.0):
        for _ in range(10):
            mask = rng.random((9, 13)) < density
            parts = naive_localize.components(mask)
            found = boxes.largest(mask)
            if not parts:
                assert found is None
                continue
            best = max(parts, key=len)  # the first of equally large ones
            assert found is not None
            assert {(int(y), int(x)) for y, x in zip(*np.nonzero(found), strict=True)} == best
            ys, xs = zip(*best, strict=True)
            assert boxes.box_of(found) == Box(min(xs), min(ys), max(xs) + 1, max(ys) + 1)


def test_levels_are_shares_of_the_range() -> None:
    values = np.array([[0, 0, 0, 0], [0, 10, 5, 0], [0, 0, 0, 2.0]])
    found = boxes.at_levels(values + 3, (0.1, 0.3, 0.5, 0.9))
    assert found == [Box(1, 1, 4, 3), Box(1, 1, 3, 2), Box(1, 1, 3, 2), Box(1, 1, 2, 2)]
    assert boxes.at_levels(np.ones((3, 3)), (0.1, 0.5)) == [None, None]
    assert boxes.scaled(np.array([[np.nan, 1.0]])) is None


def test_a_centre_box() -> None:
    box = boxes.centre(100, 50, 0.8)
    np.testing.assert_allclose([box.left, box.top, box.right, box.bottom], [10, 5, 90, 45])


def with_turn(image: Image.Image, turn: int) -> bytes:
    out, tags = io.BytesIO(), Image.Exif()
    tags[0x0112] = turn
    image.save(out, "PNG", exif=tags)
    return out.getvalue()


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
@pytest.mark.parametrize("size", [(90, 60), (60, 90), (64, 64), (400, 300)])
def test_a_white_square_comes_back_in_stored_pixels(size: tuple[int, int], turn: int) -> None:
    """To one stored pixel for each input pixel, whatever the turn that a viewer would make."""
    width, height = size
    square = Box(width // 2 - 12, height // 2 - 9, width // 2 + 10, height // 2 + 13)
    image = Image.new("RGB", size)
    image.paste((255, 255, 255), tuple(int(e) for e in (square.left, square.top, square.right, square.bottom)))
    preprocessing = decode.Preprocessing(72, 64)
    there = decode.decode(with_turn(image, turn))
    pixels = decode.to_input(there, preprocessing)
    placement = decode.place(there.width, there.height, preprocessing)
    found = boxes.stored(boxes.box_of(boxes.largest(pixels[..., 0] > 127)), placement, *there.size)
    assert found is not None
    assert abs(found.left - square.left) <= placement.scale_x
    assert abs(found.right - square.right) <= placement.scale_x
    assert abs(found.top - square.top) <= placement.scale_y
    assert abs(found.bottom - square.bottom) <= placement.scale_y


def test_boxes_end_where_the_image_does() -> None:
    preprocessing = decode.Preprocessing(20, 40)  # the crop goes beyond the image
    placement = decode.place(20, 30, preprocessing)
    assert boxes.stored(Box(0, 0, 40, 40), placement, 20, 30) == Box(0, 0, 20, 30)
    assert boxes.stored(Box(0, 0, 5, 40), placement, 20, 30) is None
    assert boxes.stored(None, placement, 20, 30) is None
