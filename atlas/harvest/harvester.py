"""Harvesting one chunk of winners: their images once more, cut to the field and drawn back into the image."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from atlas.arrays import Ints
from atlas.errors import ImageError, JobError
from atlas.explain import crops
from atlas.explain.aligned import Images
from atlas.explain.prepared import Prepared
from atlas.harvest.drawn import ProjectionSettings, project_found
from atlas.harvest.examples import Found, find
from atlas.harvest.positions import place
from atlas.images import decode
from atlas.images.decode import Preprocessing
from atlas.images.manifest import read_images
from atlas.network.normalise import Normalise
from atlas.store import layout
from atlas.store.files import Folder
from atlas.store.pictures import PackWriter, Picture
from atlas.tables.columns import PICTURE
from atlas.types import Layer, Placement

FRAME = 512
"""Longest side of a winner's whole frame, in pixels."""


@dataclass(frozen=True)
class HarvestSettings:
    """What a harvest depends on, besides the network, the images and the winners."""

    batch_size: int
    picture_size: int
    decode_threads: int
    projections: ProjectionSettings


@dataclass
class HarvestReport:
    """What a chunk cost, in seconds of wall time."""

    chunk: int
    images: int = 0
    examples: int = 0
    seconds: float = 0.0
    bytes_written: int = 0


@dataclass(frozen=True)
class Group:
    """Winners' images of one call of the network, and their `rows` among the chunk's images."""

    rows: Ints
    slots: Ints
    images: list[Image.Image]


@dataclass
class Harvester:
    """Harvests chunks, one after another, on one device."""

    module: nn.Module
    layers: Sequence[Layer]
    normalise: Normalise
    preprocessing: Preprocessing
    settings: HarvestSettings
    decoder: Callable[[bytes], Image.Image] = decode.decode
    fill: tuple[int, int, int] = field(init=False)
    _known: dict[int, Prepared] = field(default_factory=dict, init=False)
    _found: Found | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.fill = self.preprocessing.fill

    @property
    def done(self) -> int:
        """Examples done so far in the chunk at hand."""
        return self._found.done if self._found else 0

    def harvest(self, folder: Folder, number: int, rows: pa.Table, winners: pa.Table) -> HarvestReport:
        """Harvests `winners` on the manifest's `rows` of their images, and commits: pictures first, the rows last."""
        start = time.perf_counter()
        name = layout.pack("harvest", number)
        with folder.writing(layout.pack_path(name)) as stream:
            pack = PackWriter(stream, name)
            image_ids = rows.column("image_id").to_numpy()
            found = self._found = find(self.layers, winners, image_ids)
            with ThreadPoolExecutor(self.settings.decode_threads, thread_name_prefix="harvest") as pool:
                placements, pixels, frames = self._cut(found, rows, pack, pool)
                images = Images(pixels, self.normalise)
                project_found(self.module, found, images, self.settings.projections, pack, pool, self._known)
            pack.close()
        crop = self.preprocessing.crop
        body = _serialised(found.table(placements, crop, crop), found.explained(), image_ids, frames)
        folder.put(layout.harvest_chunk(number), body)
        self._found = None  # the next chunk begins at none
        return HarvestReport(number, len(rows), len(winners), time.perf_counter() - start, len(body))

    def _cut(
        self, found: Found, rows: pa.Table, pack: PackWriter, pool: ThreadPoolExecutor
    ) -> tuple[list[Placement], NDArray[np.uint8], list[Picture]]:
        """Finds every example's position and cuts its crop; keeps what the network saw (images, H, W, 3)."""
        count, crop = len(rows), self.preprocessing.crop
        placements = [Placement(1, 1, 0, 0)] * count
        pixels = np.zeros((count, crop, crop, self.preprocessing.channels), np.uint8)
        frames: list[Picture] = [{}] * count
        for group in self._groups(rows, pool):
            for row, image in zip(group.rows, group.images, strict=True):
                placements[row] = decode.place(image.width, image.height, self.preprocessing)
            inputs = pool.map(lambda image: decode.to_input(image, self.preprocessing), group.images)
            pixels[group.rows] = np.stack(list(inputs))
            examples = self._place(found, group, pixels)
            bodies = pool.map(lambda image: decode.frame(image, FRAME), group.images)
            for row, body in zip(group.rows, bodies, strict=True):
                frames[row] = pack.add(f"frame-{rows.column('image_id')[int(row)].as_py():012d}.jpg", body)
            images = dict(zip(group.rows.tolist(), group.images, strict=True))
            cut = pool.map(partial(self._crop, found, images, placements), examples.tolist())
            for example, body in zip(examples.tolist(), cut, strict=True):
                found.crops[example] = pack.add(found.member("crop", example, "jpg"), body)
        return placements, pixels, frames

    def _groups(self, rows: pa.Table, pool: ThreadPoolExecutor) -> Iterator[Group]:
        """The chunk's images, each in the slot in which it was scanned, so that its response is the same again."""
        waiting: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
        for row, (image_id, body) in enumerate(read_images(rows)):
            if isinstance(body, ImageError):
                raise JobError(f"image {image_id} was scanned, but cannot be read again ({body}); restore it")
            waiting[image_id % self.settings.batch_size].append((row, body))
        for depth in range(max((len(queue) for queue in waiting.values()), default=0)):
            slots = [slot for slot in sorted(waiting) if len(waiting[slot]) > depth]
            members = [waiting[slot][depth] for slot in slots]
            images = list(pool.map(self.decoder, [body for _, body in members]))
            yield Group(np.array([row for row, _ in members]), np.array(slots), images)

    def _place(self, found: Found, group: Group, pixels: NDArray[np.uint8]) -> Ints:
        """Runs the group once, and gives its examples."""
        batch = np.zeros((self.settings.batch_size, *pixels.shape[1:]), np.uint8)  # (N, H, W, 3)
        batch[group.slots] = pixels[group.rows]
        order = np.argsort(group.rows)
        examples = np.flatnonzero(np.isin(found.image, group.rows))
        slots = group.slots[order[np.searchsorted(group.rows[order], found.image[examples])]]
        place(self.module, self.normalise(batch), found, examples, slots)
        return examples

    def _crop(self, found: Found, images: dict[int, Image.Image], placements: list[Placement], example: int) -> bytes:
        row = int(found.image[example])
        shape = crops.picture_shape(found.layer(example).field, self.settings.picture_size)
        return crops.encode(crops.cut(images[row], placements[row].to_stored(found.box(example)), shape, self.fill))


def _serialised(examples: pa.Table, explanations: pa.Table, image_ids: Ints, frames: list[Picture]) -> bytes:
    """Examples, explanations and frames, as Arrow streams one after the other."""
    sink = pa.BufferOutputStream()
    for table in (examples, explanations, pa.table({"image_id": image_ids, "picture": pa.array(frames, PICTURE)})):
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return bytes(sink.getvalue())


class Harvested(NamedTuple):
    """What chunks of the harvest say: tables by `examples` (and `reference`), by `explanations`, and the frames
    (image_id, picture)."""

    examples: pa.Table
    explanations: pa.Table
    frames: pa.Table


def load(body: bytes) -> Harvested:
    """What a harvested chunk says."""
    stream = pa.BufferReader(body)
    return Harvested(*(pa.ipc.open_stream(stream).read_all() for _ in Harvested._fields))
