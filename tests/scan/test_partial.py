"""A chunk's partial result and the fold of some chunks: what is written is what is read."""

from __future__ import annotations

import io
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import safetensors
from numpy.testing import assert_array_equal

from atlas.images.content import SIZE
from atlas.scan import partial as partials
from atlas.scan import statistics, topk
from atlas.scan.fold import Fold, Node
from atlas.scan.partial import Images, Partial, Sample
from atlas.scan.pieces import Block
from atlas.scan.statistics import Moments

NEURONS, K, CLASSES = 5, 3, 4
SAMPLED = ("hash", "image_id", "properties")


def make(first: int, count: int, seed: int = 0) -> Partial:
    rng = np.random.default_rng(seed)
    high = rng.normal(0, 1, (count, NEURONS)).astype(np.float32)
    low = high - 2
    ids = np.arange(first, first + count)
    class_ids = rng.integers(-1, CLASSES, count)
    ones = np.ones(count, np.int32)
    floats = np.ones(count, np.float32)
    return Partial(
        Images(
            ids,
            rng.integers(0, 256, (count, SIZE), np.uint8),
            ones,
            ones,
            class_ids.astype(np.int32),
            ones,
            floats,
            floats,
            ids,
            ids,
            ones.astype(np.uint32),
        ),
        [(first + count, "empty", "no bytes")],
        topk.strongest(high, ids, K),
        topk.weakest(low, ids, K),
        statistics.moments(high, low, high - 1),
        statistics.histogram(high),
        statistics.class_sums(high, class_ids),
        Sample(ids.astype(np.uint64), ids, high, low, floats[:, None]),
        high[:, :2],
        high[:, :1],
    )


def assert_same(a: Any, b: Any) -> None:
    if is_dataclass(a):
        for field in fields(a):
            assert_same(getattr(a, field.name), getattr(b, field.name))
    elif isinstance(a, tuple):
        for left, right in zip(a, b, strict=True):
            assert_same(left, right)
    elif isinstance(a, np.ndarray):
        assert a.dtype.kind == "f" or b.dtype.kind in "iu"  # integers may be written narrower
        assert_array_equal(a, b)
    else:
        assert a == b


@pytest.mark.parametrize("count", [0, 1, 7])
def test_what_is_read_is_what_was_written(count: int) -> None:
    partial = make(10, count)
    body = io.BytesIO(partials.dump(partial, {"chunk": 3}))
    rest = partials.read_rest(body)
    assert_same(partial.images, rest.images)
    assert rest.quarantine == partial.quarantine
    assert_same((rest.hash, rest.image_id, rest.properties), tuple(getattr(partial.sample, n) for n in SAMPLED))
    assert_array_equal(rest.scores, partial.scores)
    body.seek(0)
    assert_same(partials.read_codes(body), (partial.images.image_id, partial.codes))
    body.seek(0)
    part = partials.read_part(body, 0)
    for name in ("strongest", "weakest", "moments", "histogram", "classes"):
        assert_same(getattr(partial, name), getattr(part, name))
    assert_same((partial.sample.high, partial.sample.low), (part.high, part.low))


def test_a_block_is_some_columns_of_all() -> None:
    """However the neurons are cut, each has the same fold."""
    chunks = [make(20 * number, 11, number) for number in range(7)]
    whole = Fold(NEURONS, K)
    for chunk in chunks:
        whole.add(chunk)
    for cuts in ([0, 5], [0, 2, 5], [0, 1, 2, 3, 4, 5]):
        blocks = [Block(n, a, b) for n, (a, b) in enumerate(pairwise(cuts))]
        bodies = [partials.dump(chunk, {}, blocks) for chunk in chunks]
        for block in blocks:
            fold = Fold(block.neurons, K)
            for body in bodies:
                fold.add(partials.read_part(io.BytesIO(body), block.number))
            at = slice(block.first, block.last)
            assert_array_equal(fold.histogram, whole.histogram[at])
            assert_array_equal(fold.strongest[1], whole.strongest[1][at])
            assert_array_equal(fold.weakest[0], whole.weakest[0][at])
            assert_array_equal(fold.moments.m2, whole.moments.m2[at])
            assert_array_equal(fold.classes.total, whole.classes.total[:, at])


@pytest.mark.parametrize("cut", [0, 5, 60, 400])
def test_a_damaged_blob_is_refused(cut: int) -> None:
    body = partials.dump(make(10, 7), {})[:cut]
    with pytest.raises(safetensors.SafetensorError, match="not a partial result"):
        partials.read_part(io.BytesIO(body), 0)


def test_the_fold_is_that_of_all_images_and_survives_being_written() -> None:
    chunks = [make(0, 7, 1), make(8, 0, 2), make(16, 9, 3)]
    fold = Fold(NEURONS, K)
    fold.add(chunks[0])
    fold = Fold.load(fold.dump())
    for chunk in chunks[1:]:
        fold.add(chunk)
    high = np.concatenate([u.sample.high for u in chunks])
    ids = np.concatenate([u.sample.image_id for u in chunks])
    class_ids = np.concatenate([u.images.class_id for u in chunks])
    assert_same(fold.strongest, topk.strongest(high, ids, K))
    assert_same(fold.weakest, topk.weakest(high - 2, ids, K))
    assert fold.moments.images == len(ids)
    np.testing.assert_allclose(fold.moments.mean, high.mean(0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(fold.moments.map_total, (high - 1).sum(0, dtype=np.float64), rtol=1e-12)
    assert fold.histogram.sum() == high.size
    sums = fold.classes
    assert sums.classes.tolist() == sorted(set(class_ids.tolist()) - {-1})
    for row, class_id in enumerate(sums.classes):
        mine = high[class_ids == class_id]
        assert sums.images[row] == len(mine)
        np.testing.assert_allclose(sums.total[row], mine.sum(0, dtype=np.float64), atol=1e-12)
        assert_array_equal(sums.active[row], (mine > 0).sum(0))


def slow_tree(chunks: list[Partial]) -> tuple[float, float]:
    """The first neuron's mean of maps and first class sum by recursion: halves at the largest power of two."""

    def total(first: int, last: int) -> Moments:
        if last - first == 1:
            return chunks[first].moments
        half = 2 ** ((last - first - 1).bit_length() - 1)
        return total(first, first + half).fold(total(first + half, last))

    out: Moments | None = None
    start = 0
    while start < len(chunks):  # whole subtrees from left to right
        size = 2 ** ((len(chunks) - start).bit_length() - 1)
        node = total(start, start + size)
        out = node if out is None else out.fold(node)
        start += size
    assert out is not None
    return float(out.mean[0]), float(out.map_total[0])


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 13])
def test_sums_are_folded_in_the_fixed_tree(count: int) -> None:
    chunks = [make(20 * number, 11, number) for number in range(count)]
    fold = Fold(NEURONS, K)
    for number, chunk in enumerate(chunks):
        fold.add(chunk)
        if number == count // 2:
            fold = Fold.load(fold.dump())  # an atlas that is extended
        assert fold.chunks == number + 1
        assert len(fold.nodes) == (number + 1).bit_count()
    assert (float(fold.moments.mean[0]), float(fold.moments.map_total[0])) == slow_tree(chunks)


def test_whoever_folds_a_subtree_the_answer_is_the_same() -> None:
    chunks = [make(20 * number, 5, number) for number in range(8)]
    nodes = [Node(number, 0, chunk.moments, chunk.classes) for number, chunk in enumerate(chunks)]
    while len(nodes) > 1:
        nodes = [left.joined(right) for left, right in zip(nodes[::2], nodes[1::2], strict=True)]
    fold = Fold(NEURONS, K)
    for chunk in chunks:
        fold.add(chunk)
    assert_same(fold.nodes[0].moments, nodes[0].moments)
    assert_same(fold.nodes[0].classes, nodes[0].classes)


def test_the_smallest_of_a_sample() -> None:
    ids = np.array([3, 4, 5, 6])
    hashes = np.array([9, 1, 9, 2], np.uint64)
    wide = np.arange(4, dtype=np.float32)[:, None]
    kept = Sample(hashes, ids, wide, wide, wide).smallest(3)
    assert kept.image_id.tolist() == [3, 4, 6]  # the tie of 3 and 5 goes to the smaller image
    assert kept.high[:, 0].tolist() == [0, 1, 3]
