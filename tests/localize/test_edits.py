"""Shape without texture, and texture without shape."""

from __future__ import annotations

import numpy as np

from atlas.localize.edits import GREY, WHITE, inner_square, silhouette, texture


def naive_square(mask: np.ndarray) -> int:
    """Side of the largest odd square inside a mask, by trying all."""
    best = 0
    for side in range(1, min(mask.shape) + 1, 2):
        for y in range(mask.shape[0] - side + 1):
            for x in range(mask.shape[1] - side + 1):
                if mask[y : y + side, x : x + side].all():
                    best = side
    return best


def test_a_silhouette_has_two_colours() -> None:
    mask = np.zeros((4, 5), bool)
    mask[1:3, 2:4] = True
    made = silhouette(mask)
    assert made.shape == (4, 5, 3)
    assert np.unique(made[mask]).tolist() == [GREY]
    assert np.unique(made[~mask]).tolist() == [WHITE]


def test_the_largest_square_inside_a_mask() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.random((12, 15)) < 0.85
        top, left, side = inner_square(mask)
        assert mask[top : top + side, left : left + side].all()
        assert side == naive_square(mask)


def test_a_texture_is_made_of_the_inside_alone() -> None:
    pixels = np.zeros((40, 50, 3), np.uint8)
    mask = np.zeros((40, 50), bool)
    mask[5:16, 20:31] = True
    pixels[mask] = np.random.default_rng(1).integers(100, 200, (mask.sum(), 3))
    made = texture(pixels, mask)
    assert made is not None
    assert made.shape == pixels.shape
    assert made.min() >= 100
    np.testing.assert_array_equal(made[:11, :11], pixels[5:16, 20:31])
    np.testing.assert_array_equal(made[11:22, :11], pixels[5:16, 20:31][::-1])
    lonely = np.zeros((40, 50), bool)
    lonely[3, 3] = True
    assert texture(pixels, lonely) is None
