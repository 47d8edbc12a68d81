"""Folding partial results: what all images together say of every neuron.

What is exact in any order (the strongest, the histogram) is kept once. Sums of floats depend on the order in their last
bits, so they are folded in a fixed binary tree over chunk numbers: a node of level l holds the 2^l chunks from a
multiple of 2^l on, and is its left half plus its right half, whoever adds them. Chunks that are no whole node at the
end are added from left to right. `state/` holds the nodes as they stand after the last full chunk, so that an atlas can
be extended. All is done neuron by neuron: a fold of some neurons is the same columns of the fold of all.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from atlas.arrays import Floats, Ints
from atlas.scan import topk
from atlas.scan.partial import Part, Partial
from atlas.scan.statistics import BINS, ClassSums, Histogram, Moments


@dataclass(frozen=True)
class Node:
    """The sums of the chunks `[first, first + 2**level)`."""

    first: int
    level: int
    moments: Moments
    classes: ClassSums

    def joined(self, right: Node) -> Node:
        """The node above this one and its right neighbour of the same level."""
        assert self.level == right.level
        assert right.first == self.first + 2**self.level
        return Node(self.first, self.level + 1, *_added(self, right))


def _added(left: Node, right: Node) -> tuple[Moments, ClassSums]:
    return left.moments.fold(right.moments), left.classes.fold(right.classes)


@dataclass
class Fold:
    """The fold of the chunks 0, 1, …. `histogram` (neurons, BINS); `nodes`: whole subtrees, from left to right."""

    neurons: int
    k: int
    strongest: tuple[Floats, Ints] = field(init=False)
    weakest: tuple[Floats, Ints] = field(init=False)
    histogram: NDArray[np.uint32] = field(init=False)
    nodes: list[Node] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        shape = (self.neurons, self.k)
        self.strongest = np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int64)
        self.weakest = np.full(shape, np.inf, np.float32), np.full(shape, -1, np.int64)
        self.histogram = np.zeros((self.neurons, BINS), np.uint32)

    @property
    def chunks(self) -> int:
        """How many were added."""
        return self.nodes[-1].first + 2 ** self.nodes[-1].level if self.nodes else 0

    def add(self, partial: Partial | Part) -> None:
        """Adds the next chunk: what it says of these neurons."""
        self.__dict__.pop("sums", None)
        self.strongest = topk.fold(self.strongest, partial.strongest)
        weakest = topk.fold(_negated(self.weakest), _negated(partial.weakest))
        self.weakest = _negated(weakest)
        self._add_histogram(partial.histogram)
        self._push(Node(self.chunks, 0, partial.moments, partial.classes))

    def _push(self, node: Node) -> None:
        while self.nodes and self.nodes[-1].level == node.level:
            node = self.nodes.pop().joined(node)
        self.nodes.append(node if node.level else _copied(node))

    def _add_histogram(self, histogram: Histogram) -> None:
        self.histogram.reshape(-1)[histogram.key] += histogram.count.astype(np.uint32, copy=False)  # keys are unique

    @cached_property
    def sums(self) -> tuple[Moments, ClassSums]:
        """Moments and class sums of all chunks; whole subtrees are added from left to right."""
        if not self.nodes:
            return Moments.none(self.neurons), ClassSums.none(self.neurons)
        first, *rest = self.nodes
        moments, classes = first.moments, first.classes
        for node in rest:
            moments, classes = moments.fold(node.moments), classes.fold(node.classes)
        return moments, classes

    @property
    def moments(self) -> Moments:
        return self.sums[0]

    @property
    def classes(self) -> ClassSums:
        return self.sums[1]

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
        arrays: dict[str, NDArray[Any]] = {"histogram": self.histogram}
        for side in ("strongest", "weakest"):
            arrays[f"{side}.response"], arrays[f"{side}.image_id"] = getattr(self, side)
        arrays["nodes"] = np.array([[node.first, node.level] for node in self.nodes], np.int64).reshape(-1, 2)
        for number, node in enumerate(self.nodes):
            for name in ("moments", "classes"):
                values = getattr(node, name).__dict__
                arrays |= {f"node{number}.{name}.{key}": np.asarray(value) for key, value in values.items()}
        # As safetensors lays them out: the widest first, so that each begins at a multiple of its width.
        return {k: np.ascontiguousarray(v) for k, v in sorted(arrays.items(), key=lambda a: (-a[1].itemsize, a[0]))}

    @staticmethod
    def load(body: bytes) -> Fold:
        """The inverse of `dump`."""
        arrays = safetensors.numpy.load(body)
        neurons, k = arrays["strongest.response"].shape
        fold = Fold(neurons, k)
        fold.strongest = arrays["strongest.response"], arrays["strongest.image_id"]
        fold.weakest = arrays["weakest.response"], arrays["weakest.image_id"]
        fold.histogram = arrays["histogram"]
        for number, (first, level) in enumerate(arrays["nodes"].tolist()):
            moments: dict[str, Any] = {n: arrays[f"node{number}.moments.{n}"] for n in Moments.__dataclass_fields__}
            classes = {n: arrays[f"node{number}.classes.{n}"] for n in ClassSums.__dataclass_fields__}
            known = Moments(**{**moments, "images": int(moments["images"].item())})
            fold.nodes.append(Node(first, level, known, ClassSums(**classes)))
        return fold


def _copied(node: Node) -> Node:
    """A partial result's arrays look into its blob, and would keep all of it in memory."""
    moments: dict[str, Any] = {name: np.copy(value) for name, value in node.moments.__dict__.items()}
    classes = {name: value.copy() for name, value in node.classes.__dict__.items()}
    return Node(node.first, node.level, Moments(**{**moments, "images": node.moments.images}), ClassSums(**classes))


_KINDS = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "U32": "<u4"}


def _negated(side: tuple[Floats, Ints]) -> tuple[Floats, Ints]:
    return -side[0], side[1]
