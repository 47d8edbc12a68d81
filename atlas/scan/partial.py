"""A chunk's partial result: small, additive, and one blob that appears whole or not at all.

Its sections are read apart: whoever folds a block of neurons reads that block.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from atlas.arrays import Floats, Ints
from atlas.scan.pieces import Block
from atlas.scan.statistics import BINS, ClassSums, Histogram, Moments


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


@dataclass(frozen=True)
class Rest:
    """What a partial result says of its images: all but responses and codes. `hash`, `image_id` and `properties`: of
    its images of the response sample; `scores`: as in `Partial`."""

    images: Images
    quarantine: list[tuple[int, str, str]]
    hash: NDArray[np.uint64]
    image_id: Ints
    properties: Floats
    scores: Floats


@dataclass(frozen=True)
class Part:
    """What a partial result says of a block of neurons. `high`, `low` (images, neurons): of the images `image_id` of
    the response sample."""

    strongest: tuple[Floats, Ints]
    weakest: tuple[Floats, Ints]
    moments: Moments
    histogram: Histogram
    classes: ClassSums
    image_id: Ints
    high: Floats
    low: Floats


_IMAGES = tuple(Images.__dataclass_fields__)
_MEASURED = ("hash", "image_id", "properties")
_MOMENTS = tuple(name for name in Moments.__dataclass_fields__ if name != "images")
_BY_NEURON = ("total", "rectified", "active")
"""Class sums with a column a neuron."""


def dump(partial: Partial, about: dict[str, Any], blocks: Sequence[Block] | None = None) -> bytes:
    """The partial result as one blob; `about` (plain JSON values) lies in its head.

    The head, a JSON text after its length in eight bytes, says where the sections lie: what it says of images, their
    codes, and a section a block of neurons (all of them, where no blocks are given). Each is a safetensors file, so
    that a reader takes what it needs. Counts are kept as narrow as they fit; nothing is rounded.
    """
    neurons = len(partial.strongest[0])
    sections = [_rest(partial), _codes(partial)]
    sections += [_part(partial, slice(each.first, each.last)) for each in blocks or [Block(0, 0, neurons)]]
    ends = np.cumsum([len(body) for body in sections]).tolist()
    places = [[end - len(body), end] for end, body in zip(ends, sections, strict=True)]
    head = json.dumps({"about": about, "rest": places[0], "codes": places[1], "blocks": places[2:]}).encode()
    head += b" " * (-len(head) % 8)
    return b"".join([len(head).to_bytes(8, "little"), head, *sections])


def _save(arrays: dict[str, NDArray[Any]], about: dict[str, str] | None = None) -> bytes:
    body = bytes(safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in arrays.items()}, about))
    return body + b" " * (-len(body) % 8)


def _rest(partial: Partial) -> bytes:
    arrays = {f"images.{name}": getattr(partial.images, name) for name in _IMAGES}
    arrays |= {f"sample.{name}": getattr(partial.sample, name) for name in _MEASURED}
    arrays["scores"] = partial.scores
    return _save(arrays, {"quarantine": json.dumps(partial.quarantine)})


def _codes(partial: Partial) -> bytes:
    return _save({"image_id": partial.images.image_id, "code": partial.codes})


def _part(partial: Partial, part: slice) -> bytes:
    arrays: dict[str, NDArray[Any]] = {}
    for side in ("strongest", "weakest"):
        response, image_id = getattr(partial, side)
        arrays[f"{side}.response"], arrays[f"{side}.image_id"] = response[part], image_id[part]
    arrays |= {f"moments.{name}": getattr(partial.moments, name)[part] for name in _MOMENTS}
    arrays["moments.images"] = np.asarray(partial.moments.images)
    key, count = partial.histogram.key, partial.histogram.count
    low, high = np.searchsorted(key, [part.start * BINS, part.stop * BINS])
    arrays["histogram.key"] = _narrow(key[low:high] - np.asarray(part.start * BINS, key.dtype))
    arrays["histogram.count"] = _narrow(count[low:high])
    arrays |= {f"classes.{name}": getattr(partial.classes, name) for name in ("classes", "images")}
    arrays |= {f"classes.{name}": getattr(partial.classes, name)[:, part] for name in _BY_NEURON}
    arrays["sample.image_id"] = partial.sample.image_id
    arrays |= {f"sample.{name}": getattr(partial.sample, name)[:, part] for name in ("high", "low")}
    return _save(arrays)


def _views(body: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Arrays that look into a section, without a copy, and what its header says besides."""
    try:
        length = int.from_bytes(body[:8], "little")
        header = json.loads(body[8 : 8 + length])
        about = header.pop("__metadata__", {})
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


_KINDS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U64": "<u8", "U32": "<u4", "U16": "<u2",
    "U8": "|u1",
}  # fmt: skip
_HEAD = 1 << 13
"""Bytes that are read at first: the head of a network of 300 blocks."""


def _section(stream: IO[bytes], name: str, number: int | None = None) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """One section, without reading the others. Raises `safetensors.SafetensorError` where the blob is damaged."""
    begun = stream.read(_HEAD)
    length = 8 + int.from_bytes(begun[:8], "little")
    begun += stream.read(length - len(begun)) if len(begun) < length <= 1 << 26 else b""
    begin, end = (length + place for place in _placed(begun[8:length], name, number))
    if end <= len(begun):
        return _views(begun[begin:end])
    stream.seek(begin)
    return _views(stream.read(end - begin))


def _placed(head: bytes, name: str, number: int | None) -> tuple[int, int]:
    try:
        found = json.loads(head)[name]
        begin, end = found if number is None else found[number]
        return int(begin), int(end)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise safetensors.SafetensorError(f"not a partial result: {error}") from None


def read_rest(stream: IO[bytes]) -> Rest:
    """What a partial result says of its images."""
    arrays, about = _section(stream, "rest")
    return Rest(
        Images(**{name: arrays[f"images.{name}"] for name in _IMAGES}),
        [(int(i), str(r), str(d)) for i, r, d in json.loads(about["quarantine"])],
        hash=arrays["sample.hash"],
        image_id=arrays["sample.image_id"],
        properties=arrays["sample.properties"],
        scores=arrays["scores"],
    )


def read_codes(stream: IO[bytes]) -> tuple[Ints, NDArray[Any]]:
    """image_id (images,) and codes (images, dimensions) of a partial result."""
    arrays, _ = _section(stream, "codes")
    return arrays["image_id"], arrays["code"]


def read_part(stream: IO[bytes], block: int) -> Part:
    """What a partial result says of a block of neurons; its arrays look into what was read."""
    arrays, _ = _section(stream, "blocks", block)
    known: dict[str, Any] = {name: arrays[f"moments.{name}"] for name in Moments.__dataclass_fields__}
    return Part(
        strongest=(arrays["strongest.response"], arrays["strongest.image_id"]),
        weakest=(arrays["weakest.response"], arrays["weakest.image_id"]),
        moments=Moments(**{**known, "images": int(known["images"].item())}),
        histogram=Histogram(arrays["histogram.key"], arrays["histogram.count"]),
        classes=ClassSums(**{name: arrays[f"classes.{name}"] for name in ClassSums.__dataclass_fields__}),
        image_id=arrays["sample.image_id"],
        high=arrays["sample.high"],
        low=arrays["sample.low"],
    )
