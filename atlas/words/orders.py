"""Responses as orders of images, the form in which they are searched, and the few patterns of ties that orders have.

The null of the whole search is the same for all neurons whose orders have the same ties. So that there are few nulls,
ties are kept only where they matter: a group of equal responses at the top, or at the bottom, of at least an eighth of
the images, cut to whole eighths. All other ties, and what is cut off, are broken by the order in which the images are
given, which is by their hashes. Under the null every order of the images is equally likely, so that breaking ties by
what has nothing to do with the responses leaves it exactly what it says. Reported measures keep all ties.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from atlas.arrays import Doubles, Floats
from atlas.words import chance
from atlas.words.chance import Places

PARTS = 8
"""A tied group is kept in whole eighths of the images."""
_PER_OCTAVE = 4
_WORD = 64

Orders = NDArray[np.int32]
Keys = NDArray[np.int16]
"""(top eighths, bottom eighths) that are tied, a row an order."""


@dataclass(frozen=True)
class Pattern:
    """Ties of an order of `images`, and how it is cut into blocks and words of bits for the search.

    `ends` (images,) as in `chance.ends`. Blocks hold whole groups of ties; `block_ends`, and `block_first`, where the
    first group of each ends (both (blocks,)). A block is `word_block` words; word w covers `word_size[w]` places from
    `word_start[w]`. `mean`, `deviation` (images + 1,): average precision by chance, by the number that hold.
    """

    images: int
    ends: Places
    block_ends: Places
    block_first: Places
    word_block: Places
    word_start: Places
    word_size: Places
    mean: Doubles
    deviation: Doubles


@lru_cache(maxsize=64)
def pattern(images: int, top: int, bottom: int) -> Pattern:
    """The pattern of so many images with so many eighths tied at the top and at the bottom."""
    head, tail = images * top // PARTS, images * bottom // PARTS
    ends = np.arange(1, images + 1, dtype=np.int32)
    ends[:head] = head
    ends[images - tail :] = images
    cuts = np.unique(ends[np.array(_cuts(images)) - 1])
    starts = np.concatenate([[0], cuts[:-1]]).astype(np.int32)
    sizes = [
        (block, start + offset, min(_WORD, end - start - offset))
        for block, (start, end) in enumerate(zip(starts.tolist(), cuts.tolist(), strict=True))
        for offset in range(0, end - start, _WORD)
    ]
    words = np.array(sizes, np.int32).T.copy()
    sums = chance.moments(ends)
    counts = np.arange(images + 1, dtype=np.float64)
    mean, deviation = sums.mean(counts), sums.deviation(counts)
    mean[0], deviation[0] = 0, 0
    return Pattern(images, ends, cuts.astype(np.int32), ends[starts], words[0], words[1], words[2], mean, deviation)


def _cuts(images: int) -> list[int]:
    """Ends of blocks: each place at the top, then four blocks each time the number of places doubles."""
    cuts, end = [], 0
    while end < images:
        end = min(end + max(1, (1 << (end.bit_length() - 1)) // _PER_OCTAVE if end else 1), images)
        cuts.append(end)
    return cuts


def of(scores: Floats) -> tuple[Orders, Keys]:
    """Orders (neurons, images), strongest first, and their keys (neurons, 2), of `scores` (neurons, images)."""
    # the tied bottom group loses what is cut off to the places above it, which are its first: nothing to move
    return np.argsort(-scores, axis=1, kind="stable").astype(np.int32), keys_of(scores)


def keys_of(scores: Floats) -> Keys:
    """The pattern of ties of each row of scores (neurons, images): eighths at the top and at the bottom."""
    images = scores.shape[1]
    top = (scores == scores.max(1, keepdims=True)).sum(1)
    bottom = np.where(top < images, (scores == scores.min(1, keepdims=True)).sum(1), 0)
    return np.stack([_whole(top, images), _whole(bottom, images)], 1).astype(np.int16)


def _whole(tied: NDArray[np.int64], images: int) -> NDArray[np.int64]:
    """Eighths that a tied group fills: the largest number that it is not smaller than; one image is no tie."""
    parts = np.arange(PARTS + 1)
    filled = np.searchsorted(images * parts // PARTS, tied, side="right") - 1
    return np.where(images * filled // PARTS > 1, filled, 0)


def shuffled(images: int, top: int, bottom: int, first: int, count: int, seed: int) -> Orders:
    """Shuffled orders number `first` to `first + count` of the null of a pattern (count, images)."""
    orders = np.empty((count, images), np.int32)
    for row in range(count):
        source = np.random.default_rng([seed, images, top, bottom, first + row])
        orders[row] = source.permutation(images)
    return orders
