"""The search finds what looking at every formula finds, its bounds are bounds, and ties are kept."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.words import chance, orders
from atlas.words.formula import Formula
from atlas.words.search import Table, search
from tests.words import naive

LEAST = 3


def flags_of(images: int, concepts: int, seed: int) -> np.ndarray:
    source = np.random.default_rng(seed)
    return source.random((images, concepts)) < source.uniform(0.05, 0.5, concepts)


def scores_of(kind: str, images: int, seed: int) -> np.ndarray:
    scores = np.random.default_rng(seed + 100).normal(size=images)
    if kind == "bottom tied":
        scores = np.maximum(scores, np.sort(scores)[images * 5 // 8 - 1])
    elif kind == "both tied":
        ordered = np.sort(scores)
        scores = np.clip(scores, ordered[images // 4 - 1], ordered[-images // 4])
    return scores.astype(np.float32)


@pytest.mark.parametrize("kind", ["distinct", "bottom tied", "both tied"])
@pytest.mark.parametrize("seed", range(4))
def test_a_beam_as_wide_as_the_concepts_finds_what_every_pair_has(kind: str, seed: int) -> None:
    flags = flags_of(128, 9, seed)
    searched, other = flags[:64], flags[64:]
    scores = scores_of(kind, 64, seed)
    order, keys = orders.of(scores[None])
    pattern = orders.pattern(64, *(int(k) for k in keys[0]))
    found = search(order, pattern, Table.of(searched, other, LEAST), 2, 9)
    sums = chance.moments(chance.ends(np.sort(scores)[::-1]))
    for length in (1, 2):
        assert found.excess[0, length - 1, 0] == pytest.approx(
            naive.best(searched, other, scores, sums, length, LEAST), abs=1e-9
        )


@pytest.mark.parametrize("seed", range(3))
def test_every_formula_of_a_beam_has_the_excess_that_is_stated(seed: int) -> None:
    flags = flags_of(600, 70, seed)  # more than a word of concepts, blocks of several words
    scores = scores_of("distinct", 300, seed)
    order, _ = orders.of(scores[None])
    found = search(order, orders.pattern(300, 0, 0), Table.of(flags[:300], flags[300:]), 3, 10)
    sums = chance.moments(chance.ends(np.sort(scores)[::-1]))
    for length in range(3):
        extents = set()
        for row in range(10):
            formula = Formula.of(found.terms[0, length, row])
            assert len(formula) == length + 1
            held = formula.holds(flags[:300])
            assert found.excess[0, length, row] == pytest.approx(naive.excess(held, scores, sums), abs=1e-9)
            extents.add(held.tobytes())
        assert len(extents) == 10
        assert (np.diff(found.excess[0, length]) <= 0).all()


def test_the_first_beam_is_the_best_concepts_whatever_their_bounds() -> None:
    flags = flags_of(1000, 200, 5)
    scores = scores_of("distinct", 500, 5) + flags[:500, 17]
    order, _ = orders.of(scores[None].astype(np.float32))
    found = search(order, orders.pattern(500, 0, 0), Table.of(flags[:500], flags[500:]), 1, 10)
    sums = chance.moments(np.arange(1, 501, dtype=np.int32))
    every = sorted((naive.excess(flags[:500, c], scores.astype(np.float32), sums) for c in range(200)), reverse=True)
    np.testing.assert_allclose(found.excess[0, 0], every[:10], atol=1e-9)


def test_a_beam_of_ten_loses_little_to_all_pairs() -> None:
    same = 0
    for seed in range(20):
        flags = flags_of(400, 40, seed)
        scores = scores_of("distinct", 200, seed)
        order, _ = orders.of(scores[None])
        table = Table.of(flags[:200], flags[200:])
        narrow, wide = (search(order, orders.pattern(200, 0, 0), table, 2, beam) for beam in (10, 40))
        assert narrow.excess[0, 1, 0] <= wide.excess[0, 1, 0]
        same += narrow.excess[0, 1, 0] == wide.excess[0, 1, 0]
    assert same >= 10  # of noise, where the best pair needs no good part


def test_fewer_concepts_than_the_beam_leave_empty_rows() -> None:
    flags = flags_of(64, 2, 0)
    order, _ = orders.of(scores_of("distinct", 32, 0)[None])
    found = search(order, orders.pattern(32, 0, 0), Table.of(flags[:32], flags[32:], 1), 3, 10)
    assert found.excess[0, 0, 2] == -np.inf
    assert (found.terms[0, 0, 2] == -1).all()


def test_one_order_gives_one_answer_beside_any_others() -> None:
    flags = flags_of(300, 50, 1)
    table = Table.of(flags[:150], flags[150:])
    many = orders.shuffled(150, 0, 0, 0, 6, 3)
    together = search(many, orders.pattern(150, 0, 0), table, 3, 5)
    alone = search(orders.shuffled(150, 0, 0, 4, 1, 3), orders.pattern(150, 0, 0), table, 3, 5)
    np.testing.assert_array_equal(together.excess[4], alone.excess[0])
    np.testing.assert_array_equal(together.terms[4], alone.terms[0])


@pytest.mark.parametrize(("top", "bottom"), [(0, 0), (2, 0), (0, 5), (3, 4), (1, 1)])
@pytest.mark.parametrize("images", [16, 63, 500, 2048])
def test_blocks_hold_whole_groups_and_words_cover_all_places(images: int, top: int, bottom: int) -> None:
    pattern = orders.pattern(images, top, bottom)
    assert pattern.block_ends[-1] == images
    assert (pattern.ends[pattern.block_ends - 1] == pattern.block_ends).all()
    places = np.concatenate([np.arange(a, a + n) for a, n in zip(pattern.word_start, pattern.word_size, strict=True)])
    np.testing.assert_array_equal(places, np.arange(images))
    assert (np.searchsorted(pattern.block_ends, places, side="right") == np.repeat(
        pattern.word_block, pattern.word_size)).all()  # fmt: skip
    assert pattern.word_size.max() <= 64


def test_ties_are_kept_at_both_ends_in_whole_eighths_and_broken_elsewhere() -> None:
    scores = np.array([[9, 9, 9, 9, 9, 5, 5, 5, 3, 2, 1, 0, 0, 0, 0, 0]], np.float32)  # five of sixteen at each end
    order, keys = orders.of(scores)
    assert keys.tolist() == [[2, 2]]
    assert order.tolist() == [list(range(16))]
    assert orders.pattern(16, 2, 2).ends.tolist() == [4] * 4 + list(range(5, 13)) + [16] * 4
    assert orders.of(np.arange(16, dtype=np.float32)[None])[1].tolist() == [[0, 0]]
