"""A unit's partial result and the fold of some units: what is written is what is read."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from atlas.scan import partial as partials
from atlas.scan import statistics, topk
from atlas.scan.fold import Fold
from atlas.scan.partial import Images, Partial, Sample

NEURONS, K, CLASSES = 5, 3, 4


def make(first: int, count: int, seed: int = 0) -> Partial:
    rng = np.random.default_rng(seed)
    high = rng.normal(0, 1, (count, NEURONS)).astype(np.float32)
    low = high - 2
    ids = np.arange(first, first + count)
    class_ids = rng.integers(-1, CLASSES, count)
    ones = np.ones(count, np.int32)
    floats = np.ones(count, np.float32)
    return Partial(
        Images(ids, ones, ones, class_ids.astype(np.int32), ones, floats, floats, ids, ids, ones.astype(np.uint32)),
        [(first + count, "empty", "no bytes")],
        topk.strongest(high, ids, K),
        topk.weakest(low, ids, K),
        statistics.moments(high, low),
        statistics.histogram(high),
        statistics.class_sums(high, class_ids),
        Sample(ids.astype(np.uint64), ids, high, low, floats[:, None]),
        high[:, :2],
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
def test_dump_and_load(count: int) -> None:
    partial = make(10, count)
    again, about = partials.load(partials.dump(partial, {"unit": 3}))
    assert_same(partial, again)
    assert about == {"unit": 3}


def test_the_fold_is_that_of_all_images_and_survives_being_written() -> None:
    units = [make(0, 7, 1), make(8, 0, 2), make(16, 9, 3)]
    fold = Fold(NEURONS, CLASSES, K)
    fold.add(units[0])
    fold = Fold.load(fold.dump())
    for unit in units[1:]:
        fold.add(unit)
    high = np.concatenate([u.sample.high for u in units])
    ids = np.concatenate([u.sample.image_id for u in units])
    class_ids = np.concatenate([u.images.class_id for u in units])
    assert_same(fold.strongest, topk.strongest(high, ids, K))
    assert_same(fold.weakest, topk.weakest(high - 2, ids, K))
    assert fold.moments is not None
    assert fold.moments.images == len(ids)
    np.testing.assert_allclose(fold.moments.mean, high.mean(0, dtype=np.float64), rtol=1e-12)
    assert fold.histogram.sum() == high.size
    for class_id in range(CLASSES):
        mine = high[class_ids == class_id]
        assert fold.class_images[class_id] == len(mine)
        np.testing.assert_allclose(fold.class_total[class_id], mine.sum(0, dtype=np.float64), atol=1e-12)
        assert_array_equal(fold.class_fires[class_id], (mine > 0).sum(0))


def test_the_smallest_of_a_sample() -> None:
    ids = np.array([3, 4, 5, 6])
    hashes = np.array([9, 1, 9, 2], np.uint64)
    wide = np.arange(4, dtype=np.float32)[:, None]
    kept = Sample(hashes, ids, wide, wide, wide).smallest(3)
    assert kept.image_id.tolist() == [3, 4, 6]  # the tie of 3 and 5 goes to the smaller image
    assert kept.high[:, 0].tolist() == [0, 1, 3]
