"""Attributes of as many images as ImageNet has, thirty of them: seconds and memory; and compact pictures.

A fresh process reads the tables and makes those of the part, as its stage does. The clock's seconds, on two threads.
Compact pictures: of photographs through SqueezeNet, each layer's share that of its neurons; bytes, the time of drawing
and encoding, and the least PSNR, against lossless ones.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image

from atlas.attributes.part import make
from atlas.attributes.settings import AttributesSettings
from atlas.explain import draw
from atlas.explain.aligned import geometry
from atlas.explain.backward import Example, Responses, project_examples
from atlas.explain.crops import picture_shape
from bench.common import as_worker, report, seconds
from bench.projections import BATCH, KINDS, PICTURE, setting
from jobs.measure import peak_memory

IMAGES, CLASSES, NUMBERS, WORDS = 1_281_167, 1000, 20, 7
SECONDS, BYTES = 60.0, 2e9


def write(root: Path) -> None:
    """`images.parquet` and a user's `table.parquet`: with width, height and aspect thirty attributes."""
    rng = np.random.default_rng(0)
    class_id = np.sort(rng.integers(0, CLASSES, IMAGES)).astype(np.int32)
    predicted = np.where(rng.random(IMAGES) < 0.76, class_id, rng.integers(0, CLASSES, IMAGES)).astype(np.int32)
    keys = pa.array([f"n{c:08d}/n{c:08d}_{i}.JPEG" for i, c in enumerate(class_id.tolist())])
    made = {
        "image_id": np.arange(IMAGES),
        "source": pa.DictionaryArray.from_arrays(pa.array(np.zeros(IMAGES, np.int32)), ["imagenet/train"]).cast(
            "string"
        ),
        "key": keys,
        "class_id": class_id,
        "class_ids": pa.nulls(IMAGES, pa.list_(pa.int32())),
        "predicted": predicted,
        "loss": rng.exponential(size=IMAGES).astype(np.float32),
        "width": rng.integers(50, 4000, IMAGES).astype(np.int32),
        "height": rng.integers(50, 4000, IMAGES).astype(np.int32),
    }
    pq.write_table(pa.table(made), root / "images.parquet")
    numbers = {f"number {i}": rng.normal(size=IMAGES) for i in range(NUMBERS)}
    words = {f"word {i}": pa.array(list("abcdefgh")).take(pa.array(rng.integers(0, 8, IMAGES))) for i in range(WORDS)}
    pq.write_table(pa.table({"key": keys, **numbers, **words}), root / "table.parquet")


def run(root: Path) -> None:
    """Makes the part's tables, and says seconds, peak bytes and attributes."""
    start = time.perf_counter()
    made = make(pq.read_table(root / "images.parquet"), None, AttributesSettings(str(root / "table.parquet")))
    print(time.perf_counter() - start, peak_memory(), made["attributes"].num_rows)


def at_scale() -> bool:
    """Two lines: seconds and memory, each as a share of what is claimed."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        words = [sys.executable, "-m", "bench.attributes", "--run", folder]
        said = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    took, peak = float(said[0]), float(said[1])
    what = f"{IMAGES:,} images × {said[2]} attributes"
    good = report(f"{what}: seconds / {SECONDS:.0f}", [took / SECONDS], 1, note=f"{took:.1f} s")
    return report(f"{what}: bytes / 2 GB", [peak / BYTES], 1, note=f"{peak / 1e6:.0f} MB") and good


def compact(share: float) -> bool:
    """Three lines: bytes and time against lossless pictures, and the least PSNR. `share`: of the neurons looked at."""
    who, images = setting()
    sums, times, least, pictures = np.zeros(2), np.zeros(2), float("inf"), 0
    for layer in who.layers:
        rng = np.random.default_rng(layer.index)
        with torch.inference_mode(), Responses(who.module, layer) as responses:
            maps = responses._stop(images.normalise(images.pixels[:32]).clone()).numpy()  # (N, C, h, w)
        chosen = rng.choice(layer.channels, max(round(layer.channels * share), 1), replace=False)
        at = [np.unravel_index(maps[:, c].argmax(), maps[:, c].shape) for c in chosen.tolist()]
        examples = [Example(int(i), int(c), int(y), int(x)) for c, (i, y, x) in zip(chosen, at, strict=True)]
        size, where = picture_shape(layer.field, PICTURE), geometry(layer, images.height, images.width)
        for each in project_examples(who.module, layer, where, images, examples, KINDS, BATCH):
            drawn = [(draw.signed, each.maps[kind]) for kind in KINDS] + [(draw.magnitude, each.maps["gradient"])]
            for make_it, values in drawn:
                exact = _timed(times, 0, partial(make_it, values, size))
                near = _timed(times, 1, partial(make_it, values, size, draw.compact))
                if exact is not None and near is not None:
                    sums += [len(exact.body), len(near.body)]
                    least = min(least, draw.psnr(_opened(exact.body), _opened(near.body)))
                    pictures += 1
    good = report(f"compact / lossless bytes, {pictures} pictures", [sums[1] / sums[0]], 0.45)
    good &= report("compact / lossless time of drawing and encoding", [times[1] / times[0]], 1)
    return report("35 dB / least PSNR of a compact picture", [35 / least], 1, note=f"{least:.2f} dB") and good


def _timed(times: NDArray[np.float64], place: int, call: Callable[[], draw.Drawn | None]) -> draw.Drawn | None:
    """What a call gives; its processor time is added to `times`."""
    found: list[draw.Drawn | None] = []
    times[place] += seconds(lambda: found.append(call()))
    return found[0]


def _opened(body: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))


def main() -> bool:
    """All lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", help="the folder of tables that this process measures")
    parser.add_argument("--share", type=float, default=0.07, help="of the neurons whose pictures are compared")
    parser.add_argument("--only", choices=("tables", "pictures"))
    arguments = parser.parse_args()
    if arguments.run:
        run(Path(arguments.run))
        sys.exit(0)
    good = at_scale() if arguments.only != "pictures" else True
    if arguments.only != "tables":
        as_worker()
        torch.set_num_threads(1)
        good &= compact(arguments.share)
    return good


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
