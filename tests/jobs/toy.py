"""A toy part: of each image its mean brightness, and how strongly the first neuron responds; a picture of each tenth.

The module is all that a stage is; `TABLE` and `STAGE` are its two rows in the registries.
"""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from atlas import options
from atlas.options import option
from atlas.store.parts import Part
from atlas.store.pictures import missing
from atlas.tables.columns import IMAGE, column, picture, schema
from atlas.tables.registry import Table, image
from jobs.job import Chunk, Job
from jobs.replay import Replayed
from jobs.stages import Stage
from jobs.work import Work


@dataclass(frozen=True)
class ToyOptions:
    """What `add toy` takes."""

    scale: float = option(1.0, "factor of the brightness", low=0.1, high=10)
    chunk: int = option(8, "images of a chunk", low=1, high=100)
    sleep: float = option(0.0, "seconds that each chunk takes besides", low=0, high=10, operational=True)
    notes: str | None = option(None, "a file whose contents count", contents="file")

    def __post_init__(self) -> None:
        options.check(self)


TABLE = Table(
    "toys",
    "image",
    "brightness of images",
    schema(
        IMAGE,
        column("brightness", pa.float64(), "mean of all pixels, scaled"),
        column("response", pa.float32(), "largest response of the first neuron", "response"),
        picture("picture", "what the network saw"),
    ),
    key=("image_id",),
    references=(image(),),
    part="toy",
)
STAGE = Stage(
    "toy", "brightness of images", "tests.jobs.toy", "images", part=True, needs=("network", "images"),
    options="tests.jobs.toy:ToyOptions",
)  # fmt: skip


def chunks(job: Job) -> Sequence[Chunk]:
    """The images of the atlas, a few at a time."""
    ids = job.atlas.table("images", ["image_id"]).column("image_id").to_pylist()
    parts = [ids[start : start + job.options.chunk] for start in range(0, len(ids), job.options.chunk)]
    return [Chunk(len(part), f"images {part[0]} to {part[-1]}", part) for part in parts]


def work(worker: Work, chunk: int, given: list[int]) -> None:
    """Measures the images of a chunk."""
    time.sleep(worker.options.sleep)
    with worker.result("toy", chunk) as result:
        rows = []
        for image_id, pixels in seen(worker, given).items():
            drawn: dict[str, Any] = missing("not a tenth image")
            if image_id % 10 == 0:
                drawn = result.pack.add(f"{image_id:06d}.png", png(pixels))
            rows.append({"image_id": image_id, **measured(worker, image_id, pixels), "picture": drawn})
        result.rows["toys"] = pa.Table.from_pylist(rows, schema=TABLE.columns)


def seen(worker: Work, image_ids: Sequence[int]) -> dict[int, np.ndarray[Any, Any]]:
    """What the network sees of images."""
    return {image_id: worker.session.pixels(body) for image_id, body in worker.bodies(image_ids).items()}


def measured(worker: Work, image_id: int, pixels: np.ndarray[Any, Any]) -> dict[str, float]:
    """The two numbers of an image, in the slot in which it was scanned."""
    import torch

    from atlas.scan.respond import Responder

    session = worker.session
    slot = image_id % session.batch_size
    with Responder(session.module, session.layers, session.code) as responder, torch.no_grad():
        high = responder(session.call(pixels[None], [slot]))[0]
    return {"brightness": worker.options.scale * float(pixels.mean()), "response": float(high[slot, 0])}


def png(pixels: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def finish(job: Job) -> None:
    """Writes the table, and says how many images there are."""
    job.finish("toy")
    job.summary["images"] = len(job.rows("toy", "toys"))


def seconds(todo: Any, rates: Any, workers: int) -> float:
    """As the scan."""
    return float(todo.images / rates.scan)


def replay(worker: Work, part: Part, count: int) -> Replayed:
    """The numbers of some images again."""
    rows = part.table("toys").slice(0, count).to_pylist()
    pixels = seen(worker, [row["image_id"] for row in rows])
    found = Replayed(len(rows), {"brightness": 0.0})
    for row in rows:
        again = measured(worker, row["image_id"], pixels[row["image_id"]])
        if again["brightness"] != row["brightness"] or again["response"] != np.float32(row["response"]):
            found.wrong.append(f"image {row['image_id']}: {again}")
        if row["picture"]["pack"] and part.picture(row["picture"]) != png(pixels[row["image_id"]]):
            found.wrong.append(f"image {row['image_id']}: another picture")
    return found
