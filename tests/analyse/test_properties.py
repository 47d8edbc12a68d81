"""Simple properties of images, and their association with responses."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from atlas.analyse import associations
from atlas.images import properties
from atlas.tables.attributes import ANGLES
from tests import naive_codes

Pixels = npt.NDArray[np.uint8]


def measure(pixels: Pixels, width: int = 4, height: int = 2) -> dict[str, float]:
    values = properties.measure(pixels, width, height)
    assert values.dtype == np.float32
    return dict(zip(properties.NAMES, values.tolist(), strict=True))


def flat(colour: tuple[int, int, int], size: int = 4) -> Pixels:
    return np.broadcast_to(np.array(colour, np.uint8), (size, size, 3)).copy()


def grating(angle: float, frequency: float, size: int = 96) -> Pixels:
    """A grey sinusoid whose stripes run at `angle` from x towards y."""
    y, x = np.mgrid[:size, :size]
    across = -x * math.sin(angle) + y * math.cos(angle)
    grey = np.round(127.5 + 100 * np.sin(2 * math.pi * frequency * across)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def test_flat_images_by_hand() -> None:
    white = measure(flat((255, 255, 255)), 640, 480)
    assert (white["brightness"], white["contrast"], white["colourfulness"]) == (1, 0, 0)
    assert (white["edge_density"], white["width"], white["height"]) == (0, 640, 480)
    assert white["aspect"] == pytest.approx(4 / 3)
    assert all(math.isnan(white[name]) for name in ("hue", "edge_orientation", "spatial_frequency"))
    red = measure(flat((255, 0, 0)))
    assert red["hue"] == 0
    assert red["brightness"] == pytest.approx(77 / 256)
    assert red["colourfulness"] == pytest.approx(0.3 * math.hypot(255, 127.5))
    assert measure(flat((0, 255, 0)))["hue"] == pytest.approx(2 * math.pi / 3)
    assert measure(flat((0, 0, 255)))["hue"] == pytest.approx(4 * math.pi / 3)


def test_half_black_half_white_by_hand() -> None:
    image = flat((0, 0, 0))  # 4 x 4
    image[:, 2:] = 255
    found = measure(image)
    assert (found["brightness"], found["contrast"]) == (0.5, 0.5)
    assert found["edge_density"] == 1  # both inner columns see the step
    assert found["edge_orientation"] == pytest.approx(math.pi / 2)  # the edge is vertical
    assert measure(image.transpose(1, 0, 2).copy())["edge_orientation"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("angle", [0, 0.3, math.pi / 4, 1.2, math.pi / 2, 2.5])
@pytest.mark.parametrize("frequency", [0.04, 0.1])
def test_gratings(angle: float, frequency: float) -> None:
    found = measure(grating(angle, frequency))
    assert found["spatial_frequency"] == pytest.approx(frequency, rel=0.05)
    off = (found["edge_orientation"] - angle + math.pi / 2) % math.pi - math.pi / 2
    assert abs(off) < 0.03


@given(st.integers(0, 2**32 - 1), st.integers(3, 12), st.integers(3, 12))
@settings(max_examples=40, deadline=None)
def test_against_the_slow_twin(seed: int, height: int, width: int) -> None:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, random.integers(1, 257), (height, width, 3)).astype(np.uint8)
    found = measure(pixels)
    for name, value in naive_codes.properties(pixels).items():
        assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-5, nan_ok=True), name


def test_tiny_images_have_no_edges() -> None:
    found = measure(flat((1, 2, 200), 2))
    assert math.isnan(found["edge_density"])
    assert found["hue"] == pytest.approx(measure(flat((1, 2, 200)))["hue"])


@given(st.integers(0, 2**32 - 1), st.integers(10, 40), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_associations_against_the_slow_twin(seed: int, images: int, levels: int) -> None:
    """With ties in plenty, and undefined values."""
    random = np.random.default_rng(seed)
    responses = random.integers(0, levels + 1, (3, images)).astype(np.float32)
    measured = random.random((len(properties.NAMES), images))
    measured[random.random(measured.shape) < 0.1] = np.nan
    measured[0] = np.round(measured[0] * 2)
    for number, values, p, n in associations._pairs(responses, measured, stats):
        known = np.isfinite(measured[number])
        assert n == known.sum()
        other, name = measured[number, known].tolist(), properties.NAMES[number]
        for channel, value in enumerate(values):
            own = responses[channel, known].tolist()
            if min(own) == max(own) or min(other) == max(other):
                assert math.isnan(value)
                continue
            if name in ANGLES:
                doubled = [a * ANGLES[name] for a in other]
                assert value == pytest.approx(naive_codes.circular_linear(own, doubled), abs=1e-6)
            else:
                assert value == pytest.approx(naive_codes.spearman(own, other), abs=1e-9)
                assert p[channel] == pytest.approx(stats.spearmanr(own, other).pvalue, rel=1e-6, abs=1e-12)


def test_p_of_an_angle_is_uniform_without_a_relation() -> None:
    random = np.random.default_rng(0)
    ranks = associations._standard(stats.rankdata(random.random((4000, 60)), axis=1))
    p = associations._p_circular(associations.circular_linear(ranks, random.random(60) * 6), 60, stats)
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_an_edge_and_its_half_turn_are_one_orientation() -> None:
    random = np.random.default_rng(0)
    angles = random.random(50) * math.pi
    ranks = associations._standard(random.random((1, 50)))
    turned = angles + math.pi * random.integers(0, 2, 50)
    assert associations.circular_linear(ranks, 2 * angles) == pytest.approx(
        associations.circular_linear(ranks, 2 * turned)
    )
