"""Scan with all statistics against the fastest bare forward of the same network, on decoded batches.

The bare forward is channels-last float32 on normalised tensors, at whichever batch is fastest; the scan takes uint8
pixels, normalises them, and reduces a unit to its partial result, at the batch that is fastest for it. Each side runs
in a process of its own, started as a worker is: that is the fastest bare forward. The second line of a network is for a
bare forward as it comes, in a process that gives freed memory back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import closing

import numpy as np
import torch

from atlas.scan.scanner import Report
from bench.common import (
    DATA,
    IMAGENET,
    RESNET20,
    SQUEEZENET,
    Replayed,
    Side,
    answer,
    decoded,
    paired_seconds,
    report,
    seconds,
    subject,
)

PAIRS, RUNS = 3, 5
"""Pairs of processes, since where a process finds its memory moves its speed by some hundredths; runs of each."""
SETS = {
    "squeezenet1_0": (SQUEEZENET, None, IMAGENET, 128, (8, 16), 1.0),
    "resnet20": (RESNET20, 32, str(DATA / "cifar10/test.parquet"), 1024, (16, 32, 64, 128), 4096 / 50_000),
}
"""Network, crop, images, how many, batches to try, and what share of the data set its response sample is."""


def side(which: str, name: str) -> None:
    """Runs one side, at its best batch, whenever it is asked to."""
    torch.set_num_threads(1)
    network, crop, source, count, batches, sampled = SETS[name]
    who = subject(network, crop)
    rows, found = decoded([source], who.session.preprocessing, count)
    pixels = np.stack([image.pixels for image in found])

    @torch.inference_mode()
    def forward(tensors: Sequence[torch.Tensor]) -> None:
        for tensor in tensors:
            who.session.module(tensor)

    def bare(batch: int) -> Callable[[], None]:
        tensors = who.normalised(pixels, batch)
        return lambda: forward(tensors)

    def scan(batch: int) -> Callable[[], object]:
        scanner = who.scanner(batch, count, Replayed(found), sampled)  # type: ignore[arg-type]
        return lambda: scanner.partial(rows, Report(0), None)

    calls = {batch: (scan if which == "scan" else bare)(batch) for batch in batches}
    best = min(batches, key=lambda b: min(seconds(calls[b]) for _ in range(3)))
    answer(lambda _: calls[best](), str(best))


def compare(name: str) -> bool:
    """Two lines for a network, whose images are one unit."""
    good = True
    for worker, claim in ((True, 1.10), (False, None)):
        ratios, notes = [], []
        for _ in range(PAIRS):
            with (
                closing(Side("bench.scan", "scan", name, worker=True)) as ours,
                closing(Side("bench.scan", "bare", name, worker=worker)) as bare,
            ):
                ratios += paired_seconds(bare, ours, RUNS)
                notes.append(f"{ours.said} / {bare.said}")
        what = f"scan / bare forward{'' if worker else ' as it comes'}, {name}"
        note = f"batch {', '.join(notes)}; {SETS[name][3]} images, 1 thread"
        good &= report(what, ratios, claim, note=note)
    return good


def main() -> bool:
    """Both networks."""
    found = [compare(name) for name in SETS]
    return all(found)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        side(*sys.argv[1:])
    else:
        sys.exit(0 if main() else 1)
