"""The two halves of the response sample: words are found on one and reported on the other."""

from __future__ import annotations

import hashlib

import numpy as np

from atlas.arrays import Flags, Ints


def halve(contents: list[bytes], seed: int) -> tuple[Ints, Ints]:
    """Rows of the half that is searched and of the half that reports, from images' contents (SHA-256).

    An image goes by the hash of seed and content, so that it is on the same side in every atlas that holds it; within
    a half the rows are in the order of these hashes, so that ties broken by the order depend on nothing else. Images
    of equal content are on one side.
    """
    seeds = int(seed).to_bytes(8, "little", signed=True)
    hashes = [hashlib.sha256(b"words" + seeds + content).digest() for content in contents]
    order = np.array(sorted(range(len(hashes)), key=lambda row: (hashes[row], row)), np.int64)
    searched: Flags = np.array([hashes[row][-1] & 1 == 0 for row in order], bool)
    return order[searched], order[~searched]
