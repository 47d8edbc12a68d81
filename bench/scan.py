"""Scan with all statistics against the fastest bare forward of the same network, on decoded batches.

The bare forward is channels-last float32 on normalised tensors, at whichever batch is fastest; the scan takes uint8
pixels, normalises them, and reduces a unit to its partial result, at the batch that is fastest for it.
"""

from __future__ import annotations

import sys

import numpy as np
import torch

from bench.common import (
    DATA,
    IMAGENET,
    RESNET20,
    SQUEEZENET,
    Replayed,
    Subject,
    decoded,
    paired,
    report,
    seconds,
    subject,
)

RUNS = 9


def compare(who: Subject, source: str, count: int, batches: tuple[int, ...]) -> bool:
    """One line for one network on `count` images, which are one unit."""
    rows, found = decoded([source], who.preprocessing, count)
    pixels = np.stack([image.pixels for image in found])

    @torch.inference_mode()
    def bare(tensors: list[torch.Tensor]) -> None:
        for tensor in tensors:
            who.module(tensor)

    def scan(batch: int) -> None:
        from atlas.scan.unit import Report

        who.scanner(batch, count, Replayed(found)).partial(rows, Report(0), None)  # type: ignore[arg-type]

    normalised = {batch: who.normalised(pixels, batch) for batch in batches}
    fastest = min(batches, key=lambda b: min(seconds(lambda b=b: bare(normalised[b])) for _ in range(3)))  # type: ignore[misc]
    ours = min(batches, key=lambda b: min(seconds(lambda b=b: scan(b)) for _ in range(3)))  # type: ignore[misc]
    ratios = paired(lambda: bare(normalised[fastest]), lambda: scan(ours), RUNS)
    return report(
        f"scan / bare forward, {who.name}", ratios, 1.10, note=f"batch {ours} / {fastest}, {count} images, 1 thread"
    )


def main() -> bool:
    """Both networks."""
    torch.set_num_threads(1)
    good = compare(subject(SQUEEZENET), IMAGENET, 128, (8, 16))
    return compare(subject(RESNET20, 32), str(DATA / "cifar10/test.parquet"), 1024, (16, 32, 64, 128)) and good


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
