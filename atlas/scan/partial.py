"""A chunk's partial result: small, additive, and one blob that appears whole or not at all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from atlas.arrays import Floats, Ints
from atlas.scan.statistics import ClassSums, Histogram, Moments


@dataclass(frozen=True)
class Images:
    """One row an image that was scanned, in the order of image_id."""

    image_id: Ints
    content: NDArray[np.uint8]  # (images, 32)
    width: NDArray[np.int32]
    height: NDArray[np.int32]
    class_id: NDArray[np.int32]  # -1 without a class
    predicted: NDArray[np.int32]  # -1 without classes
    probability: Floats  # NaN without classes
    loss: Floats  # NaN without a class
    thumbnail_offset: Ints  # -1 without one
    thumbnail_length: Ints
    thumbnail_crc32: NDArray[np.uint32]


@dataclass(frozen=True)
class Sample:
    """Responses of all neurons to images of the response sample: those with the smallest hashes."""

    hash: NDArray[np.uint64]
    image_id: Ints
    high: Floats  # (images, neurons)
    low: Floats  # (images, neurons)
    properties: Floats  # (images, properties)

    def smallest(self, count: int) -> Sample:
        """The `count` images with the smallest hashes, in the order of image_id."""
        kept = np.lexsort((self.image_id, self.hash))[:count]
        kept = kept[np.argsort(self.image_id[kept])]
        return Sample(self.hash[kept], self.image_id[kept], self.high[kept], self.low[kept], self.properties[kept])


@dataclass(frozen=True)
class Partial:
    """What a chunk adds. `strongest` and `weakest`: responses and images (neurons, k), best first."""

    images: Images
    quarantine: list[tuple[int, str, str]]  # image_id, reason, detail
    strongest: tuple[Floats, Ints]
    weakest: tuple[Floats, Ints]
    moments: Moments
    histogram: Histogram
    classes: ClassSums
    sample: Sample
    codes: NDArray[Any]  # (images, dimensions)
    scores: Floats  # logits (images, classes) of images with lists of classes; else (images, 0)


_PARTS: tuple[tuple[str, type[Any]], ...] = (
    ("images", Images),
    ("moments", Moments),
    ("histogram", Histogram),
    ("classes", ClassSums),
    ("sample", Sample),
)


def dump(partial: Partial, about: dict[str, Any]) -> bytes:
    """The partial result as safetensors; `about` (plain JSON values) lies in its header.

    Counts are kept as narrow as they fit, which halves the blob; nothing is rounded.
    """
    arrays: dict[str, NDArray[Any]] = {"codes": partial.codes, "scores": partial.scores}
    for side in ("strongest", "weakest"):
        arrays[f"{side}.response"], arrays[f"{side}.image_id"] = getattr(partial, side)
    for name, kind in _PARTS:
        value = getattr(partial, name)
        arrays |= {f"{name}.{f}": np.asarray(getattr(value, f)) for f in kind.__dataclass_fields__}
    arrays["histogram.key"] = _narrow(partial.histogram.key)
    arrays["histogram.count"] = _narrow(partial.histogram.count)
    header = {"about": json.dumps(about), "quarantine": json.dumps(partial.quarantine)}
    return bytes(safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in arrays.items()}, header))


def _views(body: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Arrays that look into the blob, without a copy, and what its header says besides."""
    try:
        length = int.from_bytes(body[:8], "little")
        header = json.loads(body[8 : 8 + length])
        about = header.pop("__metadata__")
        arrays = {}
        for name, entry in header.items():
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            kind = np.dtype(_KINDS[entry["dtype"]])
            if end > len(body):
                raise ValueError(f"{name} ends at byte {end} of {len(body)}")
            arrays[name] = np.frombuffer(body, kind, (end - begin) // kind.itemsize, begin).reshape(entry["shape"])
    except (ValueError, KeyError, TypeError) as error:
        raise safetensors.SafetensorError(f"not a partial result: {error}") from None
    return arrays, about


def _narrow(values: NDArray[Any]) -> NDArray[Any]:
    most = int(values.max()) if values.size else 0
    return values.astype(next(kind for kind in (np.uint16, np.uint32, np.uint64) if most <= np.iinfo(kind).max))


def load_sample(stream: IO[bytes]) -> Sample:
    """The sample alone, without reading the rest of the blob."""
    length = int.from_bytes(stream.read(8), "little")
    header = json.loads(stream.read(length))
    arrays = {}
    for field in Sample.__dataclass_fields__:
        entry = header[f"sample.{field}"]
        begin, end = entry["data_offsets"]
        stream.seek(8 + length + begin)
        kind = np.dtype(_KINDS[entry["dtype"]])
        arrays[field] = np.frombuffer(stream.read(end - begin), kind).reshape(entry["shape"])
    return Sample(**arrays)


_KINDS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U64": "<u8", "U32": "<u4", "U16": "<u2",
    "U8": "|u1",
}  # fmt: skip


def load(body: bytes) -> tuple[Partial, dict[str, Any]]:
    """The inverse of `dump`. Raises `safetensors.SafetensorError` where the blob is damaged."""
    arrays, header = _views(body)
    parts = {name: kind(**{f: arrays[f"{name}.{f}"] for f in kind.__dataclass_fields__}) for name, kind in _PARTS}
    moments = parts["moments"]
    parts["moments"] = Moments(**{**moments.__dict__, "images": int(moments.images.item())})
    return (
        Partial(
            quarantine=[(int(i), str(r), str(d)) for i, r, d in json.loads(header["quarantine"])],
            strongest=(arrays["strongest.response"], arrays["strongest.image_id"]),
            weakest=(arrays["weakest.response"], arrays["weakest.image_id"]),
            codes=arrays["codes"],
            scores=arrays["scores"],
            **parts,
        ),
        json.loads(header["about"]),
    )
