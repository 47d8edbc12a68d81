"""The merge at the size of ImageNet with ResNet-50: 26,560 neurons, 1,000 classes, 1,251 units of 1,024 images.

    python bench/merge_scale.py [--order sorted|shuffled] [--units 1251]

Partial results are constructed on the fly, so that nothing large is stored: three units of random responses are
reduced by the real code, and each unit is one of them with its own images, classes and scale. The bench runs
`atlas.scan.fold` over them, then makes the rows of neurons and classes, and prints time, bytes, and peak memory.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from atlas.scan import merge as gathering
from atlas.scan import partial as partials
from atlas.scan import statistics, topk
from atlas.scan.neurons import class_rows, neuron_rows
from atlas.scan.partial import Images, Partial, Sample
from atlas.store.files import Folder
from atlas.types import Axis, Field, Layer

K, SAMPLE, PROPERTIES = 9, 4096, 10


class _Counted(io.BytesIO):
    """Bytes that count how many of them are read."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        """As ever."""
        body = super().read(size)
        self.count += len(body)
        return body


class Constructed(Folder):
    """A folder whose partial results are made when they are read."""

    def __init__(
        self, location: str, templates: list[Partial], units: int, unit: int, classes: int, order: str
    ) -> None:
        super().__init__(location)
        self.templates, self.units, self.unit, self.classes, self.order = templates, units, unit, classes, order
        self.bytes_read = 0
        self.seconds = 0.0

    def get(self, path: str) -> bytes:
        """The partial result of a unit, or a real file."""
        if not path.startswith("work/scan/"):
            return super().get(path)
        begin = time.thread_time()
        body = partials.dump(self._partial(int(Path(path).stem)), {})
        self.seconds += time.thread_time() - begin
        self.bytes_read += len(body)
        return body

    @contextmanager
    def open(self, path: str) -> Iterator[Any]:
        """The same as a file: of this only the sample is read."""
        if not path.startswith("work/scan/"):
            with super().open(path) as stream:
                yield stream
            return
        read = self.bytes_read
        stream = _Counted(self.get(path))
        self.bytes_read = read
        yield stream
        self.bytes_read += stream.count

    def _partial(self, number: int) -> Partial:
        rng = np.random.default_rng(number)
        template = self.templates[number % len(self.templates)]
        ids = np.arange(number * self.unit, (number + 1) * self.unit)
        scale = rng.lognormal(0, 0.05, (len(template.strongest[0]), 1)).astype(np.float32)
        sums = template.classes
        if self.order == "sorted":
            here = np.unique(ids * self.classes // (1251 * self.unit))
            sums = _only(sums, here)
        return replace(
            template,
            images=replace(template.images, image_id=ids),
            strongest=(template.strongest[0] * scale, template.strongest[1] + ids[0]),
            weakest=(template.weakest[0] * scale, template.weakest[1] + ids[0]),
            classes=sums,
            sample=replace(
                template.sample,
                hash=rng.integers(0, 2**63, len(template.sample.hash)).astype(np.uint64),
                image_id=template.sample.image_id + ids[0],
            ),
        )


def _only(sums: statistics.ClassSums, classes: np.ndarray) -> statistics.ClassSums:
    rows = slice(0, len(classes))
    return statistics.ClassSums(classes, sums.images[rows], sums.total[rows], sums.rectified[rows], sums.active[rows])


def template(seed: int, neurons: int, unit: int, classes: int, dimensions: int, order: str) -> Partial:
    """A unit's partial result of random responses: normal, of a scale and a shift a neuron, as before a rectifier."""
    rng = np.random.default_rng(seed)
    high = rng.standard_normal((unit, neurons), np.float32)
    high *= rng.lognormal(0, 1, neurons).astype(np.float32)
    high += rng.normal(0.5, 1, neurons).astype(np.float32)
    low = high[::-1] - 2
    ids = np.arange(unit)
    of = rng.integers(0, classes, unit) if order == "shuffled" else np.arange(unit) % 3
    rows = rng.choice(unit, 7, replace=False)
    return Partial(
        images=Images(
            **{name: np.zeros((unit, 32) if name == "content" else unit, kind) for name, kind in _KINDS.items()}
        ),
        quarantine=[],
        strongest=topk.strongest(high, ids, K),
        weakest=topk.weakest(low, ids, K),
        moments=statistics.moments(high, low, low),
        histogram=statistics.histogram(high),
        classes=statistics.class_sums(high, of),
        sample=Sample(rows.astype(np.uint64), rows, high[rows], low[rows], np.zeros((7, PROPERTIES), np.float32)),
        codes=np.zeros((unit, dimensions), np.float16),
        scores=np.zeros((unit, 0), np.float32),
    )


_KINDS = {
    "image_id": np.int64, "content": np.uint8, "width": np.int32, "height": np.int32, "class_id": np.int32,
    "predicted": np.int32, "probability": np.float32, "loss": np.float32, "thumbnail_offset": np.int64,
    "thumbnail_length": np.int64, "thumbnail_crc32": np.uint32,
}  # fmt: skip


def peak() -> float:
    """Peak memory of this process since `forget`, GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e6


def forget() -> None:
    """Begins the peak anew: to construct units takes more memory than to merge them."""
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    """Runs one order and prints what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--order", choices=("sorted", "shuffled"), default="sorted")
    parser.add_argument("--units", type=int, default=1251)
    parser.add_argument("--unit", type=int, default=1024)
    parser.add_argument("--neurons", type=int, default=26_560)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--dimensions", type=int, default=64)
    chosen = parser.parse_args()
    size = (chosen.neurons, chosen.unit, chosen.classes, chosen.dimensions, chosen.order)
    templates = [template(seed, *size) for seed in range(1 if chosen.order == "shuffled" else 3)]
    field = Field(Axis(1, 1, 0), Axis(1, 1, 0))
    layers = [
        Layer(number, f"layer{number}", "conv", channels, 1, 1, field, True, "m")
        for number, channels in enumerate(np.diff(np.linspace(0, chosen.neurons, 54).astype(int)).tolist())
    ]
    forget()
    print(f"{chosen.order}: {chosen.units} units; {peak():.2f} GB before the merge")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Constructed(temporary, templates, chosen.units, chosen.unit, chosen.classes, chosen.order)
        begin, cpu = time.perf_counter(), time.process_time()
        gathered = gathering.gather(folder, chosen.units, chosen.units, layers, K, SAMPLE)
        wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
        print(
            f"merge {wall:.1f} s ({cpu:.1f} s of processor time, {folder.seconds:.1f} of them to construct the units); "
            f"{folder.bytes_read / 1e9:.2f} GB read, {folder.bytes_read / chosen.units / 1e6:.1f} MB a unit; "
            f"peak {peak():.2f} GB"
        )
        begin = time.perf_counter()
        rows = len(
            neuron_rows(
                gathered.fold, layers, ("max", "min"), gathered.references, np.ones(gathered.fold.neurons, bool)
            )
        )
        count = sum(len(table) for table in class_rows(gathered.fold, layers))
        print(
            f"{rows} rows of neurons and {count} of classes {time.perf_counter() - begin:.1f} s; peak {peak():.2f} GB"
        )


if __name__ == "__main__":
    main()
