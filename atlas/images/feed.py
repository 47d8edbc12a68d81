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
from atlas.images.content import content_of, hash_of
from atlas.images.decode import Preprocessing
from atlas.images.manifest import read_images


@dataclass(frozen=True)
class Decoded:
    """One image ready for the network. `content`: SHA-256 of its bytes; `hash`: what decides whether it is sampled;
    `properties` of sampled ones; `seconds`: the processor time its decoding took."""

    image_id: int
    content: bytes
    hash: int
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
    """How images are decoded; `ahead` is how many may wait for the network (bounded memory).

    Properties are measured of images whose hash of (seed, content) is at most `threshold`.
    """

    preprocessing: Preprocessing
    thumbnails: int
    threads: int
    ahead: int
    seed: int
    threshold: int
    decoder: Callable[[bytes], Image.Image] = decode.decode

    def images(self, rows: pa.Table) -> Iterator[Decoded | Quarantined]:
        """The images of the manifest's `rows` in order."""
        with ThreadPoolExecutor(self.threads, thread_name_prefix="decode") as pool:
            waiting: deque[Future[Decoded | Quarantined]] = deque()
            try:
                for image_id, body in read_images(rows):
                    waiting.append(pool.submit(self._decode, image_id, body))
                    if len(waiting) >= self.ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _decode(self, image_id: int, body: bytes | ImageError) -> Decoded | Quarantined:
        start = time.thread_time()
        try:
            if isinstance(body, ImageError):
                raise body
            content = content_of(body)
            hashed = hash_of(self.seed, content)
            image = self.decoder(body)
            pixels = decode.to_input(image, self.preprocessing)
            return Decoded(
                image_id,
                content,
                hashed,
                pixels,
                image.width,
                image.height,
                decode.thumbnail(image, self.thumbnails) if self.thumbnails else None,
                properties.measure(pixels, image.width, image.height) if hashed <= self.threshold else None,
                time.thread_time() - start,
            )
        except ImageError as error:
            return Quarantined(image_id, error.reason, error.detail)
