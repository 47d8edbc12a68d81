"""Neurons that examples and pictures are made of, where fewer than all are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from atlas.arrays import Flags
from atlas.types import Layer


def chosen(layers: Sequence[Layer], count: int | None, seed: int) -> Flags:
    """Which neurons, counted over all layers: of each layer the `count` with the smallest hashes; all for None.

    A hash depends on (seed, layer, channel) alone: the same neurons for any images and workers, and those of a smaller
    `count` are among those of a larger one.
    """
    parts = [np.ones(layer.channels, bool) for layer in layers]
    for layer, part in zip(layers, parts, strict=True):
        if count is not None and count < layer.channels:
            hashes = [_hash(seed, layer.name, channel) for channel in range(layer.channels)]
            part[sorted(range(layer.channels), key=hashes.__getitem__)[count:]] = False
    return np.concatenate(parts) if parts else np.zeros(0, bool)


def _hash(seed: int, layer: str, channel: int) -> bytes:
    return hashlib.blake2b(f"{seed}/{layer}/{channel}".encode(), digest_size=16).digest()
