"""The merge of many partial results keeps nothing of them but what it folds."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np

from atlas.images import properties
from atlas.scan import partial as partials
from atlas.scan.merge import Gathered, gather
from atlas.store import layout
from atlas.store.files import Folder
from atlas.types import Axis, Field, Layer
from tests.scan.test_partial import NEURONS, K, make

IMAGES = 4
BLOB = 1_000_000
LAYER = Layer(0, "layer", "conv", NEURONS, 1, 1, Field(Axis(1, 1, 0), Axis(1, 1, 0)), True, "m")


def gathered(root: Path, chunks: int) -> tuple[Gathered, int]:
    """The merge of so many chunks, whose blobs are a MB each; and the bytes it took at most."""
    folder = Folder(str(root))
    for chunk in range(chunks):
        partial = make(chunk * IMAGES, IMAGES, chunk)
        measured = np.ones((IMAGES, len(properties.NAMES)), np.float32)
        partial = replace(partial, sample=replace(partial.sample, properties=measured), quarantine=[])
        folder.put(layout.scan_chunk(chunk), partials.dump(partial, {"padding": "x" * BLOB}))
    tracemalloc.start()
    try:
        return gather(folder, chunks, chunks, [LAYER], K, sample=40), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_units(tmp_path: Path) -> None:
    gathered(tmp_path / "first", 2)  # what is loaded once
    _, few = gathered(tmp_path / "few", 8)
    found, many = gathered(tmp_path / "many", 48)
    assert len(found.images.image_id) == 48 * IMAGES
    assert found.images.image_id.tolist() == list(range(48 * IMAGES))
    assert many < few + 5 * BLOB
