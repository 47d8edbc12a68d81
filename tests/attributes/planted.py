"""Tables of images in which it is known what makes them hard."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from atlas.images.properties import NAMES
from atlas.tables.images import IMAGES

COLUMNS = ("image_id", "source", "key", "class_id", "class_ids", "predicted", "loss", "width", "height")


def images(class_id: NDArray[Any], correct: NDArray[Any], **columns: Any) -> pa.Table:
    """Images of classes (-1: none); a wrong one is taken for the next class. `columns` instead of what is made up."""
    count = len(class_id)
    rng = np.random.default_rng(count)
    made = {
        "image_id": np.arange(count),
        "source": ["a"] * count,
        "key": [f"{i:06d}.png" for i in range(count)],
        "class_id": pa.array(class_id.astype(np.int32), mask=class_id < 0),
        "class_ids": pa.nulls(count, pa.list_(pa.int32())),
        "predicted": np.where(correct, class_id, class_id + 1).astype(np.int32),
        "loss": rng.exponential(size=count).astype(np.float32),
        "width": np.full(count, 32, np.int32),
        "height": np.full(count, 32, np.int32),
    }
    return pa.table({n: pa.array((made | columns)[n]).cast(IMAGES.columns.field(n).type) for n in COLUMNS})


def measured(count: int, seed: int = 0, **columns: NDArray[Any]) -> pa.Table:
    """Properties drawn at random, apart from `columns`."""
    rng = np.random.default_rng([seed, 1])
    values = {name: rng.random(count).astype(np.float32) for name in NAMES} | columns
    return pa.table({"image_id": np.arange(count)} | values)
