"""What an image's bytes are: their digest, and whether they belong to the response sample.

The response sample is the images with the smallest hashes of (seed, content): so it is the same however the work is
split, and two atlases over the same images share it.
"""

from __future__ import annotations

import hashlib

SIZE = 32
"""Bytes of a content digest."""
ALL = 2**64 - 1


def content_of(body: bytes) -> bytes:
    """SHA-256 of the bytes of an image as stored."""
    return hashlib.sha256(body).digest()


def hash_of(seed: int, content: bytes) -> int:
    """0 to 2^64 - 1, evenly, from the seed and the content alone."""
    return int.from_bytes(hashlib.blake2b(b"%d\0" % seed + content, digest_size=8).digest(), "little")


def threshold(count: int, sample: int) -> int:
    """The hash up to which an image may be among the `sample` smallest of `count`.

    Twice as many as are needed are kept, so that some may be in quarantine. Contents that are often repeated can leave
    fewer; each chunk keeps its smallest whatever it is, so that there is a sample.
    """
    candidates = 2 * sample + 256
    return ALL if count <= candidates else ALL * candidates // count
