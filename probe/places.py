"""Where else? The places of the nearest images whose vectors in a layer's map are most like that of a chosen place.

After Long, Zhang & Darrell 2014, who ask whether networks learn correspondence: cosine of the vectors of responses over
all channels at one position.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.arrays import Floats
from atlas.errors import InputError
from atlas.images import decode
from atlas.network.recorder import cell, flat_of, positions_of
from atlas.types import Layer
from probe import originals
from probe.answer import edges, near, see
from probe.forward import forward
from probe.pictures import maps_on
from probe.subjects import Subject

MOST = 20
"""Images that are looked at."""


def alike(vector: Floats, maps: Floats) -> Floats:
    """Cosine (positions,) of a vector (C,) with those of maps (C, h, w); 0 where one of them is 0."""
    flat = maps.reshape(len(maps), -1)
    sizes = np.linalg.norm(flat, axis=0) * np.linalg.norm(vector)
    return np.asarray(np.divide(vector @ flat, sizes, out=np.zeros(flat.shape[1], np.float32), where=sizes > 0))


def place_in(layer: Layer, maps: Floats, y: int, x: int) -> Floats:
    """The vector (C,) at a position of maps (C, h, w). Raises `InputError`."""
    inside = 0 <= y < layer.height and 0 <= x < layer.width
    if not inside and not (layer.tokens and y == -1 and 0 <= x < layer.prefix_tokens):
        raise InputError(f"y={y}, x={x}: expected a position of {layer.name}, {layer.height} x {layer.width}")
    return np.asarray(maps.reshape(len(maps), -1)[:, int(flat_of(layer, y, x, maps.shape[-1]))])


def where_else(
    subject: Subject, pixels: NDArray[np.uint8], k: int, layer: Layer, y: int, x: int
) -> list[dict[str, Any]]:
    """The most alike place of each of the `k` nearest images, the most alike first."""
    session = subject.session
    outcome = forward(session.module, session.call(pixels[None], [0]), [], code=session.code)
    vector = place_in(layer, maps_on(subject, pixels, layer), y, x)
    found = []
    for image_id, _ in near(subject, outcome, k):
        body, source = originals.image(subject, int(image_id))
        seen = see(subject, body)
        similar = alike(vector, maps_on(subject, seen.pixels, layer))
        best = int(similar.argmax())
        ys, xs = positions_of(layer, np.array([best]))
        row = subject.atlas.store.images.get(int(image_id))
        stored = decode.place(row.width, row.height, subject.session.preprocessing)
        share = cell(layer, int(ys[0]), int(xs[0]), *seen.pixels.shape[:2])
        found.append(
            {
                "image_id": int(image_id),
                "similarity": float(np.clip(similar[best], -1, 1)),
                "y": int(ys[0]),
                "x": int(xs[0]),
                "cell_box": edges(stored.to_stored(share)),
                "source": source,
            }
        )
    return sorted(found, key=lambda each: (-each["similarity"], each["image_id"]))
