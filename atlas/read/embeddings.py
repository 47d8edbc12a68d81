"""Neurons by a vector in the space of a text-image encoder: the cosine of the mean of their strongest crops.

The encoder is not here: who asks brings the vector of the words, made by the encoder of the digest that is told.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from atlas.errors import FolderError, InputError


class Alike(NamedTuple):
    """A neuron and how near the words its crops lie: cosine, and how far that is above all neurons' mean (deviations).

    Any words have a nearest neuron: neither number is a test against chance.
    """

    layer: str
    channel: int
    cosine: float
    deviations: float

    @property
    def why(self) -> str:
        """In a few words."""
        return f"its crops: cosine {self.cosine:.3f}, {self.deviations:+.1f} deviations from all neurons' mean"


class Embeddings:
    """The table `embeddings` of an atlas. `encoder`: the digest of what made it; None where there is none."""

    def __init__(self, table: pa.Table, encoder: str | None) -> None:
        self.encoder = encoder
        self._neurons = table.select(["layer", "channel"])
        sizes = set(table.column("embedding").combine_chunks().value_lengths().to_pylist())
        if len(sizes) > 1 or None in sizes:
            raise FolderError("the part's embeddings have several sizes; make the part words again")
        values = table.column("embedding").combine_chunks().flatten().to_numpy(zero_copy_only=False)
        self._vectors = np.asarray(values, np.float32).reshape(len(table), max(sizes, default=0))

    def find(self, vector: ArrayLike, most: int) -> list[Alike]:
        """The neurons nearest to a vector (dimensions,) by cosine; of equals the first. Raises `InputError`."""
        wanted = np.asarray(vector, np.float64)
        if wanted.shape != self._vectors.shape[1:]:
            raise InputError(f"a vector of shape {wanted.shape}: expected {self._vectors.shape[1:]}, as the embeddings")
        cosines = self._vectors @ (wanted / np.linalg.norm(wanted)).astype(np.float32)
        spread = float(cosines.std(dtype=np.float64))
        above = (cosines - cosines.mean(dtype=np.float64)) / spread if spread > 0 else np.zeros(len(cosines))
        best = np.argsort(-cosines, kind="stable")[:most]
        rows = self._neurons.take(pa.array(best)).to_pylist()
        return [
            Alike(row["layer"], row["channel"], float(cosines[at]), float(above[at]))
            for row, at in zip(rows, best.tolist(), strict=True)
        ]
