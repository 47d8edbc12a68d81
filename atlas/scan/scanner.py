"""Scanning one chunk: its images through the network once, reduced to a partial result."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor, nn

from atlas.images import properties
from atlas.images.content import SIZE as CONTENT
from atlas.images.feed import Decoded, Feed, Quarantined
from atlas.network.normalise import Normalise
from atlas.network.transfer import Download
from atlas.scan import statistics, topk
from atlas.scan.judge import Labelled, judge, unjudged
from atlas.scan.partial import Images, Partial, Sample, dump
from atlas.scan.pieces import blocks
from atlas.scan.respond import Responder
from atlas.store import layout
from atlas.store.files import Folder
from atlas.store.pictures import PackWriter
from atlas.types import Layer


class Light(NamedTuple):
    """What is kept of a decoded image when its pixels are not needed any more."""

    image_id: int
    content: bytes
    hash: int
    width: int
    height: int
    thumbnail: bytes | None
    properties: NDArray[np.float32] | None


@dataclass(frozen=True)
class ScanSettings:
    """What a scan depends on, besides the network and the images."""

    k: int
    batch_size: int
    chunk_size: int
    seed: int
    threshold: int  # images whose content hashes to at most this may be in the response sample
    half_codes: bool
    classes: bool = True  # the network gives logits; without it there is no prediction and no class profile


@dataclass
class Report:
    """What a chunk cost; seconds of processor time for decoding, of wall time for the rest."""

    chunk: int
    images: int = 0
    quarantined: int = 0
    seconds: float = 0.0
    decode_seconds: float = 0.0
    network_seconds: float = 0.0
    waiting_seconds: float = 0.0
    bytes_written: int = 0


@dataclass
class Scanner:
    """Scans chunks, one after another, through one network on one device."""

    module: nn.Module
    layers: Sequence[Layer]
    code: tuple[str, int]
    normalise: Normalise
    feed: Feed
    settings: ScanSettings
    in_flight: int = 0
    """Calls of the network that are begun before the outcome of the first is fetched: 1 hides the transfer to a GPU."""
    neurons: int = field(init=False)
    done: int = field(init=False, default=0)
    """Images run so far in the chunk at hand."""

    def __post_init__(self) -> None:
        self.neurons = sum(layer.channels for layer in self.layers)

    def scan(self, folder: Folder, number: int, rows: pa.Table, about: dict[str, Any]) -> Report:
        """Scans the manifest's `rows` and commits the chunk: thumbnails first, the partial result last."""
        report = Report(number)
        start = time.perf_counter()
        name = layout.pack("scan", number)
        if self.feed.thumbnails:
            with folder.writing(layout.pack_path(name)) as stream:
                pack = PackWriter(stream, name)
                partial = self.partial(rows, report, pack)
                pack.close()
        else:
            partial = self.partial(rows, report, None)
        report.seconds = time.perf_counter() - start
        body = dump(partial, about | {"chunk": number}, blocks(self.layers))
        report.bytes_written = len(body)
        folder.put(layout.scan_chunk(number), body)
        return report

    def partial(self, rows: pa.Table, report: Report, pack: PackWriter | None) -> Partial:
        """The partial result of the manifest's `rows`, which start at a multiple of the chunk size."""
        first = int(rows.column("image_id")[0].as_py())
        labels = Labelled.of_rows(rows)
        self.done = 0
        kept = _Kept(len(rows), self.neurons)
        run: list[Light] = []
        quarantine: list[tuple[int, str, str]] = []
        with Responder(self.module, self.layers, self.code) as responder:
            for batch, outcome in self._outcomes(responder, rows, quarantine, report):
                self.done += len(batch)
                slots = [image.image_id % self.settings.batch_size for image in batch]
                kept.add(outcome, slots, [image.image_id - first for image in batch])
                run += [
                    Light(i.image_id, i.content, i.hash, i.width, i.height, i.thumbnail, i.properties) for i in batch
                ]
        finite = kept.finite([image.image_id - first for image in run])
        done = [image for image, good in zip(run, finite, strict=True) if good]
        quarantine += [
            (image.image_id, "response", "the network's responses are not finite")
            for image, good in zip(run, finite, strict=True)
            if not good
        ]
        report.images, report.quarantined = len(done), len(quarantine)
        return self._reduce(first, kept, done, sorted(quarantine), labels, pack)

    def _outcomes(
        self,
        responder: Responder,
        rows: pa.Table,
        quarantine: list[tuple[int, str, str]],
        report: Report,
    ) -> Iterator[tuple[list[Decoded], tuple[Tensor, ...]]]:
        """Each batch with what the network says of it; `in_flight` calls are begun before the first is waited for."""
        waiting: deque[tuple[list[Decoded], Download]] = deque()
        for batch in self._batches(rows, quarantine, report):
            begin = time.perf_counter()
            waiting.append((batch, self._run(responder, batch)))
            report.network_seconds += time.perf_counter() - begin
            while len(waiting) > self.in_flight:
                yield self._waited(*waiting.popleft(), report)
        while waiting:
            yield self._waited(*waiting.popleft(), report)

    def _waited(
        self, batch: list[Decoded], outcome: Download, report: Report
    ) -> tuple[list[Decoded], tuple[Tensor, ...]]:
        begin = time.perf_counter()
        tensors = outcome.get()
        report.network_seconds += time.perf_counter() - begin
        return batch, tensors

    def _batches(
        self, rows: pa.Table, quarantine: list[tuple[int, str, str]], report: Report
    ) -> Iterator[list[Decoded]]:
        """Decoded images by batch: image i of the data set always shares its call with the same neighbours."""
        batch: list[Decoded] = []
        images = self.feed.images(rows)
        while True:
            begin = time.perf_counter()
            image = next(images, None)
            report.waiting_seconds += time.perf_counter() - begin
            if image is None:
                break
            if batch and image.image_id // self.settings.batch_size != batch[0].image_id // self.settings.batch_size:
                yield batch
                batch = []
            if isinstance(image, Quarantined):
                quarantine.append((image.image_id, image.reason, image.detail))
                continue
            report.decode_seconds += image.seconds
            batch.append(image)
        if batch:
            yield batch

    def _run(self, responder: Responder, batch: list[Decoded]) -> Download:
        pixels = np.zeros((self.settings.batch_size, *batch[0].pixels.shape), np.uint8)  # (N, H, W, 3)
        for image in batch:
            pixels[image.image_id % self.settings.batch_size] = image.pixels
        return Download(responder(self.normalise(pixels)))

    def _reduce(
        self,
        first: int,
        kept: _Kept,
        done: list[Light],
        quarantine: list[tuple[int, str, str]],
        labels: Labelled,
        pack: PackWriter | None,
    ) -> Partial:
        ids = np.array([image.image_id for image in done], np.int64)
        index = ids - first
        whole = len(index) == len(kept.high)
        high, low, mean = (each if whole else each[index] for each in (kept.high, kept.low, kept.mean))
        hashes = np.array([image.hash for image in done], np.uint64)
        sampled = _sampled(hashes, self.settings.threshold)
        unknown = np.full(len(properties.NAMES), np.nan, np.float32)
        labels = labels.take(index)
        judged = labels if self.settings.classes else labels.none()
        logits = kept.logits[index]
        measured = [unknown if (found := done[i].properties) is None else found for i in sampled]
        return Partial(
            images=_images(done, labels, judge(logits, labels) if self.settings.classes else unjudged(len(done)), pack),
            quarantine=quarantine,
            strongest=topk.strongest(high, ids, self.settings.k),
            weakest=topk.weakest(low, ids, self.settings.k),
            moments=statistics.moments(high, low, mean),
            histogram=statistics.histogram(high),
            classes=statistics.class_sums(high, judged.classes, judged.of),
            sample=Sample(
                hashes[sampled],
                ids[sampled],
                high[sampled],
                low[sampled],
                np.array(measured, np.float32).reshape(len(sampled), len(properties.NAMES)),
            ),
            codes=kept.codes[index].astype(np.float16 if self.settings.half_codes else np.float32),
            scores=logits if judged.several else logits[:, :0],
        )


def _sampled(hashes: NDArray[np.uint64], threshold: int) -> NDArray[np.intp]:
    """Places of the images that may be in the response sample: those up to the threshold, and the smallest."""
    kept = hashes <= np.uint64(threshold)
    if len(hashes):
        kept[np.argmin(hashes)] = True  # of equal ones the first: the smaller image_id
    return np.flatnonzero(kept)


class _Kept:
    """Responses, means of maps, codes and logits of a chunk's images, by their place in the chunk."""

    def __init__(self, images: int, neurons: int) -> None:
        self.high = np.zeros((images, neurons), np.float32)
        self.low = np.zeros((images, neurons), np.float32)
        self.mean = np.zeros((images, neurons), np.float32)
        self.codes = self.logits = np.zeros((images, 0), np.float32)

    def add(self, outcome: tuple[Tensor, ...], slots: list[int], places: list[int]) -> None:
        """Takes the outcome of one call."""
        high, low, mean, logits, codes = (
            (t if len(slots) == len(t) else t[slots]).numpy() for t in outcome
        )  # slots ascend
        if not self.codes.shape[1]:
            self.codes = np.zeros((len(self.high), codes.shape[1]), np.float32)
            self.logits = np.zeros((len(self.high), logits.shape[1]), np.float32)
        first, last = places[0], places[-1]
        at = slice(first, last + 1) if last - first == len(places) - 1 else places  # a slice is copied at once
        self.high[at], self.low[at], self.mean[at] = high, low, mean
        self.codes[at], self.logits[at] = codes, logits

    def finite(self, places: list[int]) -> NDArray[np.bool_]:
        """Whether all numbers of an image are finite, for each of `places`."""
        good = np.stack([np.isfinite(numbers).all(1) for numbers in (self.high, self.low, self.mean, self.logits)])
        return np.asarray(good.all(0))[places]


def _images(
    done: list[Light],
    labels: Labelled,
    judged: tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]],
    pack: PackWriter | None,
) -> Images:
    thumbnails = [
        pack.add(f"{image.image_id:012d}.jpg", image.thumbnail) if pack and image.thumbnail else None for image in done
    ]
    return Images(
        np.array([i.image_id for i in done], np.int64),
        np.frombuffer(b"".join(i.content for i in done), np.uint8).reshape(len(done), CONTENT),
        np.array([i.width for i in done], np.int32),
        np.array([i.height for i in done], np.int32),
        labels.single.astype(np.int32),
        *judged,
        np.array([t["offset"] if t else -1 for t in thumbnails], np.int64),
        np.array([t["length"] if t else 0 for t in thumbnails], np.int64),
        np.array([t["crc32"] if t else 0 for t in thumbnails], np.uint32),
    )
