"""Folding partial results in unit order: what all images together say of every neuron.

The fold keeps only what does not grow with the number of images. It is written to `state/` as it stands after the last
full unit, so that an atlas can be extended.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from atlas.arrays import Doubles, Floats, Ints
from atlas.scan import topk
from atlas.scan.partial import Partial
from atlas.scan.statistics import BINS, ClassSums, Histogram, Moments


@dataclass
class Fold:
    """The fold of some units. `histogram` (neurons, BINS); class sums (classes, neurons)."""

    neurons: int
    classes: int
    k: int
    strongest: tuple[Floats, Ints] = field(init=False)
    weakest: tuple[Floats, Ints] = field(init=False)
    moments: Moments | None = field(init=False, default=None)
    histogram: NDArray[np.uint32] = field(init=False)
    class_images: Ints = field(init=False)
    class_total: Doubles = field(init=False)
    class_rectified: Doubles = field(init=False)
    class_fires: NDArray[np.int32] = field(init=False)

    def __post_init__(self) -> None:
        shape = (self.neurons, self.k)
        self.strongest = np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int64)
        self.weakest = np.full(shape, np.inf, np.float32), np.full(shape, -1, np.int64)
        self.histogram = np.zeros((self.neurons, BINS), np.uint32)
        self.class_images = np.zeros(self.classes, np.int64)
        self.class_total = np.zeros((self.classes, self.neurons))
        self.class_rectified = np.zeros((self.classes, self.neurons))
        self.class_fires = np.zeros((self.classes, self.neurons), np.int32)

    def add(self, partial: Partial) -> None:
        """Adds the next unit. Sums of floats depend on the order, so units are always added in theirs."""
        self.strongest = topk.fold(self.strongest, partial.strongest)
        weakest = topk.fold(_negated(self.weakest), _negated(partial.weakest))
        self.weakest = _negated(weakest)
        self.moments = partial.moments if self.moments is None else self.moments.fold(partial.moments)
        self._add_histogram(partial.histogram)
        self._add_classes(partial.classes)

    def _add_histogram(self, histogram: Histogram) -> None:
        self.histogram.reshape(-1)[histogram.key] += histogram.count.astype(np.uint32, copy=False)  # keys are unique

    def _add_classes(self, sums: ClassSums) -> None:
        self.class_images[sums.classes] += sums.images
        for row, class_id in enumerate(sums.classes):
            self.class_total[class_id] += sums.total[row]
            self.class_rectified[class_id] += sums.rectified[row]
            self.class_fires[class_id] += sums.fires[row]

    def write(self, stream: IO[bytes]) -> None:
        """Writes the fold as safetensors, an array at a time: it may be a large part of the memory there is."""
        arrays = self._arrays()
        header: dict[str, Any] = {}
        position = 0
        for name, array in arrays.items():
            kind = next(code for code, dtype in _KINDS.items() if np.dtype(dtype) == array.dtype)
            place = [position, position + array.nbytes]
            header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": place}
            position += array.nbytes
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        stream.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            stream.write(array.reshape(-1).view(np.uint8).data)

    def dump(self) -> bytes:
        """The same as bytes."""
        sink = io.BytesIO()
        self.write(sink)
        return sink.getvalue()

    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {}
        for side in ("strongest", "weakest"):
            arrays[f"{side}.response"], arrays[f"{side}.image_id"] = getattr(self, side)
        arrays |= {name: getattr(self, name) for name in _DENSE}
        if self.moments is not None:
            arrays |= {f"moments.{name}": np.asarray(value) for name, value in self.moments.__dict__.items()}
        # As safetensors lays them out: the widest first, so that each begins at a multiple of its width.
        return {k: np.ascontiguousarray(v) for k, v in sorted(arrays.items(), key=lambda a: (-a[1].itemsize, a[0]))}

    def with_classes(self, classes: int) -> Fold:
        """The same with classes appended that have no images yet."""
        for name in ("class_images", "class_total", "class_rectified", "class_fires"):
            before = getattr(self, name)
            after = np.zeros((classes, *before.shape[1:]), before.dtype)
            after[: len(before)] = before
            setattr(self, name, after)
        self.classes = classes
        return self

    @staticmethod
    def load(body: bytes) -> Fold:
        """The inverse of `dump`."""
        arrays = safetensors.numpy.load(body)
        neurons, k = arrays["strongest.response"].shape
        fold = Fold(neurons, len(arrays["class_images"]), k)
        fold.strongest = arrays["strongest.response"], arrays["strongest.image_id"]
        fold.weakest = arrays["weakest.response"], arrays["weakest.image_id"]
        for name in _DENSE:
            setattr(fold, name, arrays[name])
        if "moments.images" in arrays:
            values: dict[str, Any] = {n: arrays[f"moments.{n}"] for n in Moments.__dataclass_fields__}
            fold.moments = Moments(**{**values, "images": int(values["images"].item())})
        return fold


_KINDS = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "U32": "<u4"}
_DENSE = ("histogram", "class_images", "class_total", "class_rectified", "class_fires")


def _negated(side: tuple[Floats, Ints]) -> tuple[Floats, Ints]:
    return -side[0], side[1]
