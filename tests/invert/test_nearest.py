"""Ranks among all images and the map's cells, beside slow twins."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from atlas.invert.nearest import cells, mean_codes, ranks


def test_ranks_are_those_of_a_full_sort() -> None:
    random = np.random.default_rng(0)
    ids, codes = np.arange(5, 45), random.normal(size=(40, 7)).astype(np.float32)
    pictures = codes[[3, 30, 12]].astype(float) + random.normal(size=(3, 7)) * [[0], [0.8], [3]]

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in (0, 17, 29):
            stop = {0: 17, 17: 29, 29: 40}[start]
            yield ids[start:stop], codes[start:stop]

    slow = []
    for picture, row in zip(pictures, (3, 30, 12), strict=True):
        near = [picture @ code / np.linalg.norm(code.astype(float)) for code in codes.astype(float)]
        slow.append(sorted(near, reverse=True).index(near[row]))
    assert ranks(blocks, pictures, [8, 35, 17]) == slow
    assert slow[0] == 0
    assert ranks(blocks, pictures[:1], [99]) == [None]


def test_equal_codes_do_not_stand_before_each_other() -> None:
    codes = np.array([[1, 0], [2, 0], [0, 1]], np.float32)
    assert ranks(lambda: [(np.arange(3), codes)], np.array([[1.0, 0.0], [1.0, 0.0]]), [0, 1]) == [0, 0]


def test_cells_and_their_means() -> None:
    places = [(0, 0, 0), (1, 0, 1), (2, 1, 3), (3, 3, 3), (4, None, None)]
    found = cells(places, 2)
    assert found == {(0, 0): [0, 1], (0, 1): [2], (1, 1): [3]}
    codes = np.array([[1, 1], [3, 5], [7, 7], [2, 0], [100, 100]], np.float32)
    means = mean_codes(lambda: [(np.arange(2), codes[:2]), (np.arange(2, 5), codes[2:])], found)
    assert {cell: code.tolist() for cell, code in means.items()} == {(0, 0): [2, 3], (0, 1): [7, 7], (1, 1): [2, 0]}
    assert cells([], 3) == {}
    with pytest.raises(KeyError):
        means[1, 0]
