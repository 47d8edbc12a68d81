"""CKA against its definition, in stripes, on known cases; intervals cover."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.compare import cka
from tests.compare import naive


def whole(a: list[np.ndarray], b: list[np.ndarray], step: int = 10_000) -> np.ndarray:
    a, b = [cka.centred(x) for x in a], [cka.centred(x) for x in b]
    images = len(a[0])
    parts = [cka.stripe(a, b, at, min(step, images - at)) for at in range(0, images, step)]
    return cka.alignment(cka.joined(parts))


def layers(images: int, sizes: list[int], seed: int) -> list[np.ndarray]:
    source = np.random.default_rng(seed)
    hidden = source.normal(size=(images, 3))
    return [
        (hidden @ source.normal(size=(3, p)) + source.normal(size=(images, p)) + 7).astype(np.float32) for p in sizes
    ]


@pytest.mark.parametrize("step", [4, 5, 12])
def test_equal_to_the_definition(step: int) -> None:
    a, b = layers(12, [2, 30], 0), layers(12, [5, 1, 4], 1)
    found = whole(a, b, step)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            assert found[i, j] == pytest.approx(naive.cka(x.astype(np.float64), y.astype(np.float64)), abs=1e-9)


def test_the_same_layer_permuted_scaled_or_turned_is_1() -> None:
    x = layers(300, [20], 0)[0]
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(20, 20)))[0]
    same = [x[:, ::-1], x * 3 + 1, (x.astype(np.float64) @ turn)]
    np.testing.assert_allclose(whole([x], same), 1, atol=1e-9)


def test_more_neurons_than_images_do_not_raise_it() -> None:
    source = np.random.default_rng(0)
    a, b = source.normal(size=(2, 100, 2000)).astype(np.float32)
    assert abs(whole([a], [b])[0, 0]) < 0.1


def test_a_layer_that_never_changes_has_none() -> None:
    x = layers(50, [4], 0)[0]
    assert np.isnan(whole([x, np.ones((50, 3), np.float32)], [x])[1, 0])


def test_a_half_is_what_the_whole_of_that_half_is() -> None:
    a, b = layers(60, [5, 3], 0), layers(60, [4], 1)
    found = cka.halves(a, b, 3, np.array([0, 5]))
    for at, number in enumerate((0, 5)):
        half = np.sort(np.random.default_rng([3, 60, number]).permutation(60)[:30])
        np.testing.assert_allclose(found[at], whole([x[half] for x in a], [x[half] for x in b]), atol=1e-4)


def test_intervals_hold_what_many_images_say() -> None:
    source = np.random.default_rng(0)
    mix_a, mix_b = source.normal(size=(3, 6)), source.normal(size=(3, 6))

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        hidden = source.normal(size=(n, 3))
        return tuple((hidden @ mix + source.normal(size=(n, 6))).astype(np.float32) for mix in (mix_a, mix_b))  # type: ignore[return-value]

    x, y = draw(4000)
    truth = float(whole([x], [y])[0, 0])
    inside = 0
    for number in range(40):
        x, y = draw(200)
        value = whole([x], [y])
        low, high = cka.interval(value, cka.halves([x], [y], number, np.arange(100)), 200, 200)
        assert low[0, 0] <= value[0, 0] <= high[0, 0] <= 1
        inside += bool(low[0, 0] <= truth <= high[0, 0])
    assert inside >= 34  # of 40, 38 expected
