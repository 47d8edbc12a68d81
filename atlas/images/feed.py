"""Decoding ahead of the network: threads turn bytes into pixels while earlier images are run."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from atlas.errors import ImageError
from atlas.images import decode, properties
from atlas.images.decode import Preprocessing
from atlas.images.manifest import read_images


@dataclass(frozen=True)
class Decoded:
    """One image ready for the network; `seconds` is the processor time its decoding took."""

    image_id: int
    pixels: NDArray[np.uint8]  # (crop, crop, 3)
    width: int
    height: int
    thumbnail: bytes | None
    properties: NDArray[np.float32] | None
    seconds: float


@dataclass(frozen=True)
class Quarantined:
    """One image that cannot be used, and why."""

    image_id: int
    reason: str
    detail: str


@dataclass(frozen=True)
class Feed:
    """How images are decoded; `ahead` is how many may wait for the network (bounded memory)."""

    preprocessing: Preprocessing
    thumbnails: int
    threads: int
    ahead: int
    decoder: Callable[[bytes], Image.Image] = decode.decode

    def images(self, rows: pa.Table, measured: NDArray[np.bool_]) -> Iterator[Decoded | Quarantined]:
        """The images of the manifest's `rows` in order; properties are measured where `measured` says so."""
        with ThreadPoolExecutor(self.threads, thread_name_prefix="decode") as pool:
            waiting: deque[Future[Decoded | Quarantined]] = deque()
            try:
                for (image_id, body), wanted in zip(read_images(rows), measured, strict=True):
                    waiting.append(pool.submit(self._decode, image_id, body, bool(wanted)))
                    if len(waiting) >= self.ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _decode(self, image_id: int, body: bytes | ImageError, measured: bool) -> Decoded | Quarantined:
        start = time.thread_time()
        try:
            if isinstance(body, ImageError):
                raise body
            image = self.decoder(body)
            pixels = decode.to_input(image, self.preprocessing)
            return Decoded(
                image_id,
                pixels,
                image.width,
                image.height,
                decode.thumbnail(image, self.thumbnails) if self.thumbnails else None,
                properties.measure(pixels, image.width, image.height) if measured else None,
                time.thread_time() - start,
            )
        except ImageError as error:
            return Quarantined(image_id, error.reason, error.detail)
