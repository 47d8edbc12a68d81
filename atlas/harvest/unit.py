"""Harvesting one unit of winners: their images once more, cut to the field and drawn back into the image."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from atlas.errors import ImageError, JobError
from atlas.harvest import crops
from atlas.harvest.positions import positions_of
from atlas.scan import decode
from atlas.scan.decode import Preprocessing
from atlas.scan.images import read_images
from atlas.scan.respond import Normalise
from atlas.store import layout, schema
from atlas.store.files import Folder
from atlas.store.pictures import PackWriter, Picture, missing
from atlas.types import Layer, Placement

FRAME = 512
"""Longest side of a winner's whole frame, in pixels."""
TOLERANCE = 1e-3
"""Largest difference of a response found again, as a share of the neuron's largest absolute response."""


@dataclass(frozen=True)
class HarvestSettings:
    """What a harvest depends on, besides the network, the images and the winners."""

    batch_size: int
    picture_size: int
    decode_threads: int


@dataclass
class HarvestReport:
    """What a unit cost, in seconds of wall time."""

    unit: int
    images: int = 0
    examples: int = 0
    seconds: float = 0.0
    bytes_written: int = 0


@dataclass(frozen=True)
class Group:
    """Winners' images of one call of the network. `pixels` (N, H, W, 3), zero in slots that are not taken."""

    slots: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    images: list[Image.Image]
    pixels: NDArray[np.uint8]


@dataclass
class Harvester:
    """Harvests units, one after another, on one device."""

    module: nn.Module
    layers: Sequence[Layer]
    normalise: Normalise
    preprocessing: Preprocessing
    settings: HarvestSettings
    fill: tuple[int, int, int] = field(init=False)

    def __post_init__(self) -> None:
        mean = [round(255 * value) for value in self.preprocessing.mean]
        self.fill = (mean[0], mean[1], mean[2])

    def harvest(self, folder: Folder, number: int, rows: pa.Table, winners: pa.Table) -> HarvestReport:
        """Harvests `winners` (by image) on the manifest's `rows`, and commits: pictures first, the rows last."""
        start = time.perf_counter()
        name = layout.pack("harvest", number)
        with folder.writing(layout.pack_path(name)) as stream:
            pack = PackWriter(stream, name)
            examples, frames = self._examples(rows, winners, pack)
            pack.close()
        body = _serialised(examples, frames)
        folder.put(layout.harvest_unit(number), body)
        return HarvestReport(number, len(rows), len(winners), time.perf_counter() - start, len(body))

    def _examples(self, rows: pa.Table, winners: pa.Table, pack: PackWriter) -> tuple[pa.Table, dict[int, Picture]]:
        columns: dict[str, list[Any]] = defaultdict(list)
        frames: dict[int, Picture] = {}
        with ThreadPoolExecutor(self.settings.decode_threads, thread_name_prefix="harvest") as pool:
            for group in self._groups(rows, pool):
                self._cut_group(group, winners, pack, pool, columns, frames)
        return _table(columns), frames

    def _groups(self, rows: pa.Table, pool: ThreadPoolExecutor) -> Iterator[Group]:
        """The unit's images, so that each lies in the slot in which it was scanned: its response is the same again."""
        waiting: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
        for image_id, body in read_images(rows):
            if isinstance(body, ImageError):
                raise JobError(f"image {image_id} was scanned, but cannot be read again ({body}); restore it")
            waiting[image_id % self.settings.batch_size].append((image_id, body))
        for depth in range(max((len(queue) for queue in waiting.values()), default=0)):
            members = [(slot, *waiting[slot][depth]) for slot in sorted(waiting) if len(waiting[slot]) > depth]
            images = list(pool.map(lambda member: decode.decode(member[2]), members))
            inputs = list(pool.map(lambda image: decode.to_input(image, self.preprocessing), images))
            pixels = np.zeros((self.settings.batch_size, *inputs[0].shape), np.uint8)  # (N, H, W, 3)
            slots = np.array([slot for slot, _, _ in members])
            pixels[slots] = np.stack(inputs)
            yield Group(slots, np.array([image_id for _, image_id, _ in members]), images, pixels)

    def _cut_group(
        self,
        group: Group,
        winners: pa.Table,
        pack: PackWriter,
        pool: ThreadPoolExecutor,
        columns: dict[str, list[Any]],
        frames: dict[int, Picture],
    ) -> None:
        ids = winners.column("image_id").to_numpy()
        order = np.argsort(group.image_ids)
        chosen = np.flatnonzero(np.isin(ids, group.image_ids))
        image = order[np.searchsorted(group.image_ids[order], ids[chosen])]  # place in the group
        won = winners.take(pa.array(chosen))
        neurons = won.column("neuron").to_numpy().astype(np.int64)
        lowest = np.array([side == "min" for side in won.column("side").to_pylist()], bool)
        y, x, again = positions_of(
            self.module, self.layers, self.normalise(group.pixels), group.slots[image], neurons, lowest
        )
        _check_again(won, again)
        for image_id, frame in zip(
            group.image_ids.tolist(), pool.map(lambda i: decode.frame(i, FRAME), group.images), strict=True
        ):
            frames[image_id] = pack.add(f"frame-{image_id:012d}.jpg", frame)
        places = [decode.place(i.width, i.height, self.preprocessing) for i in group.images]
        first = np.concatenate([[0], np.cumsum([layer.channels for layer in self.layers])])
        of_layer = np.searchsorted(first, neurons, side="right") - 1
        for name in WINNER_COLUMNS:
            columns[name] += won.column(name).to_pylist()
        columns["y"] += y.tolist()
        columns["x"] += x.tolist()
        jobs = [
            (self.layers[number], int(row_y), int(row_x), group.images[i], places[i])
            for number, row_y, row_x, i in zip(of_layer, y, x, image, strict=True)
        ]
        bodies = pool.map(lambda job: self._crop(*job), jobs)
        for row, (job, body) in enumerate(zip(jobs, bodies, strict=True)):
            layer, row_y, row_x, _, place = job
            box = layer.field.box(row_y, row_x)
            stored = place.to_stored(box)
            for edge in ("left", "top", "right", "bottom"):
                columns[f"field_{edge}"].append(int(getattr(box, edge)))
                columns[f"image_{edge}"].append(float(getattr(stored, edge)))
            channel = int(neurons[row] - first[of_layer[row]])
            columns["layer"].append(layer.name)
            columns["channel"].append(channel)
            columns["crop"].append(
                pack.add(
                    f"crop-{layer.index}-{channel}-{columns['side'][-len(jobs) + row]}-{columns['rank'][-len(jobs) + row]}.jpg",
                    body,
                )
            )

    def _crop(self, layer: Layer, y: int, x: int, image: Image.Image, place: Placement) -> bytes:
        shape = crops.picture_shape(layer.field, self.settings.picture_size)
        return crops.encode(crops.cut(image, place.to_stored(layer.field.box(y, x)), shape, self.fill))


WINNER_COLUMNS = ("side", "rank", "image_id", "response")


def _check_again(winners: pa.Table, again: NDArray[np.float32]) -> None:
    """A response that is not found again means that the image or the network changed since the scan."""
    before = winners.column("response").to_numpy()
    limit = TOLERANCE * np.maximum(np.abs(before), 1e-3)
    worst = int(np.argmax(np.abs(before - again) - limit)) if len(before) else -1
    if worst >= 0 and abs(before[worst] - again[worst]) > limit[worst]:
        image_id = winners.column("image_id")[worst].as_py()
        raise JobError(
            f"image {image_id}: a response of {before[worst]:.6g} in the scan is {again[worst]:.6g} now; "
            "the image has changed since, so build into a new folder"
        )


def _table(columns: dict[str, list[Any]]) -> pa.Table:
    count = len(columns["image_id"])
    arrays = []
    for column in schema.EXAMPLES:
        if column.name in columns:
            arrays.append(pa.array(columns[column.name], column.type))
        elif column.type == schema.PICTURE:
            arrays.append(pa.array([missing("not asked for")] * count, column.type))
        else:
            arrays.append(pa.nulls(count, column.type))
    return pa.table(arrays, schema=schema.EXAMPLES)


def _serialised(examples: pa.Table, frames: dict[int, Picture]) -> bytes:
    """Examples and frames, as two Arrow streams one after the other."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, examples.schema) as writer:
        writer.write_table(examples)
    table = pa.table({"image_id": list(frames), "picture": pa.array(list(frames.values()), schema.PICTURE)})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def load(body: bytes) -> tuple[pa.Table, pa.Table]:
    """The examples and the frames (image_id, picture) of a harvested unit."""
    stream = pa.BufferReader(body)
    return pa.ipc.open_stream(stream).read_all(), pa.ipc.open_stream(stream).read_all()
