"""Scores with levels from the other half, against computations image by image; planted cases."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.localize import scores
from atlas.localize.scores import Judged, Way
from tests.naive_localize import share_right


def judged(images: int = 60, levels: int = 5, seed: int = 0) -> Judged:
    rng = np.random.default_rng(seed)
    true, predicted = Way("saliency", "true"), Way("saliency", "predicted")
    fixed = Way("centre", "true")
    top1 = rng.random(images) < 0.6
    return Judged(
        {true: rng.random((images, levels)), predicted: rng.random((images, levels)), fixed: rng.random((images, 1))},
        {"saliency": tuple(n / levels for n in range(levels))},
        rng.random(images) < 0.5,
        top1,
        top1 | (rng.random(images) < 0.5),
    )


def test_scores_against_one_image_at_a_time() -> None:
    given = judged()
    rows = {(row.method, row.of, row.measure, row.split): row for row in scores.scores(given)}
    every = np.ones(60, bool)
    for way, overlaps in given.overlaps.items():
        counted = {"gt_known_loc": every, "top1_loc": given.top1, "top5_loc": given.top5}
        for measure in scores.measured(way):
            if measure == "max_box_acc_v2":
                each = [share_right(overlaps, given.first, every, least) for least in (0.3, 0.5, 0.7)]
                expected = {split: np.mean([one[split] for one in each]) for split in ("a", "b", "both")}
            else:
                expected = share_right(overlaps, given.first, counted[measure], 0.5)
            for split, value in expected.items():
                row = rows[*way, measure, split]
                assert row.value == pytest.approx(value)
                assert row.n == {"a": given.first.sum(), "b": (~given.first).sum(), "both": 60}[split]
    assert rows["centre", "true", "gt_known_loc", "a"].threshold is None
    assert rows["saliency", "true", "gt_known_loc", "a"].threshold in (0, 0.2, 0.4, 0.6, 0.8)
    assert rows["saliency", "true", "max_box_acc_v2", "a"].threshold is None
    assert len(rows) == 3 * (3 + 1 + 3)


def test_a_level_is_never_chosen_where_it_is_reported() -> None:
    """Half a is right at level 0 alone, half b at level 1 alone: chosen on the other half, nothing is right."""
    first = np.array([True] * 4 + [False] * 4)
    overlaps = np.where(first[:, None], [[0.9, 0.1]], [[0.1, 0.9]])
    given = Judged({Way("m", "true"): overlaps}, {"m": (0.2, 0.4)}, first, first, first)
    rows = {row.split: row for row in scores.scores(given) if row.measure == "gt_known_loc"}
    assert {split: row.value for split, row in rows.items()} == {"a": 0, "b": 0, "both": 0}
    assert (rows["a"].threshold, rows["b"].threshold) == (0.4, 0.2)


def test_images_that_were_not_judged_do_not_count() -> None:
    overlaps = np.array([[0.9], [np.nan], [0.1]])
    given = Judged({Way("m", "true"): overlaps}, {}, np.array([True] * 3), np.ones(3, bool), np.ones(3, bool))
    (row,) = [r for r in scores.scores(given) if r.measure == "gt_known_loc" and r.split == "both"]
    assert (row.value, row.n) == (0.5, 2)
    assert not [r for r in scores.scores(given) if r.split == "b"]


def test_the_middle_of_equally_good_levels() -> None:
    assert scores.best_level(np.array([[0.1, 0.6, 0.7, 0.8, 0.2]]), 0.5) == 2
    assert scores.best_level(np.zeros((3, 4)), 0.5) == 1


def test_differences_are_paired() -> None:
    """Two methods that differ on three of a hundred images: the interval is narrow, though each has a wide one."""
    rng = np.random.default_rng(0)
    base = (rng.random((100, 1)) < 0.5).astype(float)
    better = base.copy()
    better[np.flatnonzero(base[:, 0] == 0)[:12]] = 1
    first = np.arange(100) % 2 == 0
    given = Judged({Way("a", "true"): better, Way("b", "true"): base}, {}, first, first, first)
    rows = scores.differences(given, [("a", "b"), ("a", "absent")])
    known = next(row for row in rows if row.measure == "gt_known_loc")
    assert known.difference == pytest.approx(0.12)
    assert 0 < known.low < 0.12 < known.high < 0.2
    assert {row.other for row in rows} == {"b"}
    assert scores.words(rows) == [
        f"a is better than b on 100 images: +12 points ({100 * known.low:+.0f} to {100 * known.high:+.0f})"
    ]


def test_the_interval_covers_the_truth() -> None:
    """Of 200 draws of a known difference about 95 % of the intervals hold it."""
    rng = np.random.default_rng(1)
    held = 0
    for number in range(200):
        gaps = rng.choice([-1.0, 0.0, 1.0], 80, p=[0.1, 0.6, 0.3])
        _, low, high = scores.interval(gaps, number)
        held += low <= 0.2 <= high
    assert 180 <= held <= 199


def test_halves_follow_the_content() -> None:
    sides = [scores.in_first(bytes([n]) * 32) for n in range(200)]
    assert 70 < sum(sides) < 130
    assert sides == [scores.in_first(bytes([n]) * 32) for n in range(200)]
    assert sides != [scores.in_first(bytes([n]) * 32, seed=1) for n in range(200)]
