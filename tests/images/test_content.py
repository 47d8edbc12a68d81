"""Which images are the response sample: by content alone."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from atlas.images.content import ALL, SIZE, content_of, hash_of, threshold


def test_content_is_sha256() -> None:
    assert content_of(b"abc").hex() == hashlib.sha256(b"abc").hexdigest()
    assert len(content_of(b"")) == SIZE


@given(st.binary(max_size=50), st.integers(0, 2**63 - 1))
def test_a_hash_is_of_seed_and_content_alone(body: bytes, seed: int) -> None:
    content = content_of(body)
    assert 0 <= hash_of(seed, content) <= ALL
    assert hash_of(seed, content) == hash_of(seed, content_of(bytes(body)))
    assert hash_of(seed, content) != hash_of(seed + 1, content)


def test_hashes_are_even_and_stay() -> None:
    hashes = np.array([float(hash_of(0, content_of(b"%d" % n))) for n in range(20_000)])
    counts = np.histogram(hashes, 10, (0, 2.0**64))[0]
    assert np.abs(counts - 2000).max() < 250
    assert hash_of(0, content_of(b"a")) == 9910806157728877098


def test_the_threshold_lets_enough_through() -> None:
    assert threshold(8448, 4096) == ALL
    assert threshold(0, 10) == ALL
    for count, sample in ((10_000, 60), (50_000, 4096), (1_281_167, 4096)):
        expected = count * threshold(count, sample) / 2**64
        assert abs(expected - (2 * sample + 256)) < 1
        assert expected - 10 * expected**0.5 > sample  # ten deviations of the number that pass
