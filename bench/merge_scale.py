"""The merge at the size of ImageNet with ResNet-50: 26,560 neurons, 1,000 classes, 1,251 units of 1,024 images.

    python -m bench.merge_scale [--order sorted|shuffled] [--units 1251] [--pieces N]

Partial results are constructed, so that little is stored: one or three units of random responses are reduced by the
real code, and each unit is one of them with its own images, classes and scale. The bench runs what the head does
(`survey`, then the tables) and what the workers do (`fold_piece`) one after another in this process, and prints
processor time, bytes, and memory of each. With `--pieces` some of the pieces are folded, evenly spread.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from atlas.scan import merge as gathering
from atlas.scan import partial as partials
from atlas.scan import statistics, topk
from atlas.scan.partial import Images, Part, Partial, Rest, Sample
from atlas.scan.pieces import blocks, pieces
from atlas.store import layout
from atlas.store.files import Folder
from atlas.types import Axis, Field, Layer
from jobs import chunks as results
from jobs.stages.merge import joined

K, SAMPLE, PROPERTIES = 9, 4096, 10


class Constructed:
    """Partial results that are made of a few templates when they are read: each of its own images, classes and scale.

    It stands in for the readers of `atlas.scan.partial`; `seconds` is what it costs itself, `read` what it reads.
    """

    def __init__(
        self, folder: Folder, templates: list[Partial], units: int, unit: int, classes: int, order: str
    ) -> None:
        self.folder, self.templates, self.units, self.unit = folder, templates, units, unit
        self.classes, self.order = classes, order
        self.seconds, self.read = 0.0, 0

    def write(self, layers: Sequence[Layer]) -> None:
        """Writes the templates where a stretch of units looks for them: units are links to one of them."""
        root = self.folder.local("work/scan")
        root.mkdir(parents=True)
        for number, partial in enumerate(self.templates):
            (root / f"template{number}").write_bytes(partials.dump(partial, {}, blocks(layers)))
        for unit in range(self.units):
            self.folder.local(layout.scan_chunk(unit)).symlink_to(root / f"template{unit % len(self.templates)}")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """In the block the merge reads constructed units."""
        before = gathering._ahead
        gathering._ahead = self._ahead  # type: ignore[assignment]
        try:
            yield
        finally:
            gathering._ahead = before

    def _ahead(self, folder: Folder, chunks: Iterable[int], read: Any) -> Iterator[tuple[int, Any]]:
        for chunk in chunks:
            with folder.open(layout.scan_chunk(chunk)) as stream:
                counted = gathering._Counted(stream)
                found = read(counted)
            self.read += counted.count
            begin = time.process_time()
            made = self._of(chunk, found)
            self.seconds += time.process_time() - begin
            yield chunk, made

    def _of(self, number: int, found: Any) -> Any:
        """A section of a template as that of unit `number`."""
        first = number * self.unit
        if isinstance(found, Rest):
            rng = np.random.default_rng(number)
            hashes = rng.integers(0, 2**63, len(found.hash)).astype(np.uint64)
            images = replace(found.images, image_id=found.images.image_id + first)
            return replace(found, images=images, hash=hashes, image_id=found.image_id + first)
        if not isinstance(found, Part):
            image_id, code = found
            return image_id + first, code
        rng = np.random.default_rng([number, len(found.strongest[0])])
        scale = rng.lognormal(0, 0.05, (len(found.strongest[0]), 1)).astype(np.float32)
        sums = found.classes
        if self.order == "sorted":
            ids = np.arange(first, first + self.unit)
            sums = _only(sums, np.unique(ids * self.classes // (max(self.units, 1251) * self.unit)))
        return replace(
            found,
            strongest=(found.strongest[0] * scale, found.strongest[1] + first),
            weakest=(found.weakest[0] * scale, found.weakest[1] + first),
            classes=sums,
            image_id=found.image_id + first,
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


def arguments() -> argparse.ArgumentParser:
    """What it may be asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--order", choices=("sorted", "shuffled"), default="sorted")
    parser.add_argument("--units", type=int, default=1251)
    parser.add_argument("--unit", type=int, default=1024)
    parser.add_argument("--neurons", type=int, default=26_560)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--dimensions", type=int, default=64)
    parser.add_argument("--pieces", type=int, help="fold so many of the pieces, the head joins as if it were all")
    return parser


def main(words: list[str] | None = None) -> bool:
    """Runs one order and prints what it took; nothing is claimed."""
    chosen = arguments().parse_args(words)
    size = (chosen.neurons, chosen.unit, chosen.classes, chosen.dimensions, chosen.order)
    templates = [template(seed, *size) for seed in range(1 if chosen.order == "shuffled" else 3)]
    field = Field(Axis(1, 1, 0), Axis(1, 1, 0))
    cuts = np.linspace(0, chosen.neurons, -(-chosen.neurons // 501) + 1).astype(int)
    layers = [
        Layer(number, f"layer{number}", "conv", channels, 1, 1, field, True, "m")
        for number, channels in enumerate(np.diff(cuts).tolist())
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Folder(temporary)
        made = Constructed(folder, templates, chosen.units, chosen.unit, chosen.classes, chosen.order)
        made.write(layers)
        del templates, made.templates
        print(f"{chosen.order}: {chosen.units} units, {chosen.neurons} neurons, {chosen.classes} classes", flush=True)
        with made.reading():
            _run(folder, made, layers, chosen)
    return True


def _run(folder: Folder, made: Constructed, layers: list[Layer], chosen: argparse.Namespace) -> None:
    chunks = gathering.Chunks(chosen.units, chosen.units, K)
    every = pieces(layers)
    forget()
    wall, cpu = time.perf_counter(), time.process_time()
    found = gathering.survey(folder, chunks, SAMPLE)
    head = time.process_time() - cpu - made.seconds
    print(f"head: survey {head:.1f} s of processor time, {time.perf_counter() - wall:.1f} s of wall time", flush=True)
    after_survey = peak()
    wanted = np.linspace(0, len(every) - 1, min(chosen.pieces or len(every), len(every))).astype(int).tolist()
    spent, made.read = [], 0
    forget()
    before = peak()
    for number in wanted:
        piece, own, cpu = every[number], made.seconds, time.process_time()
        asked = np.ones(piece.neurons, bool)
        sample = (found.sample_ids, found.sample_chunks)
        folded = gathering.fold_piece(folder, piece, layers, chunks, *sample, ("max", "min", "spread"), asked)
        with results.writing(folder, "merge", number) as result:
            result.rows |= folded.tables
        spent.append(time.process_time() - cpu - (made.seconds - own))
    share = len(every) / len(wanted)
    print(
        f"workers: {len(wanted)} of {len(every)} pieces folded, {sum(spent) * share:.0f} s of processor time for all, "
        f"{max(spent):.1f} for the longest; {made.read * share / 1e9:.1f} GB read, "
        f"{made.read * share / chosen.units / 1e6:.1f} MB a unit; {peak() - before:.2f} GB of memory a worker",
        flush=True,
    )
    there = folder.local("work/merge")
    for number in set(range(len(every))) - set(wanted):  # the head reads as much as if all were folded
        like = min(wanted, key=lambda other: abs(other - number))
        (there / f"{number:06d}.arrow").symlink_to(there / f"{like:06d}.arrow")
    forget()
    wall, cpu = time.perf_counter(), time.process_time()
    neurons, winners = joined(folder, len(every))
    found.write(folder)
    used, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(
        f"head: tables {used:.1f} s of processor time, {wall:.1f} s of wall time; {len(neurons)} neurons, "
        f"{len(winners)} winners; peak {max(after_survey, peak()):.2f} GB, survey and constructed data held too"
    )
    print(f"head: {head + used:.1f} s of processor time in all")


if __name__ == "__main__":
    main()
