"""Scan from files against bare decoding plus the bare forward, on the same cores: a worker with a decoding thread.

Simple properties are measured of candidates for the response sample: one image in six, as among 50,000 images.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch

from atlas.scan import decode, images
from atlas.scan.feed import Feed
from atlas.scan.unit import Report
from bench.common import IMAGENET, SQUEEZENET, paired, report, subject

COUNT, BATCH, RUNS = 96, 16, 7


def main() -> bool:
    """SqueezeNet on photographs, with thumbnails off on both sides; processor time of all threads."""
    torch.set_num_threads(1)
    who = subject(SQUEEZENET)
    rows = images.list_images([IMAGENET], None, COUNT).table
    scanner = who.scanner(BATCH, COUNT, Feed(who.preprocessing, 0, 1, 4 * BATCH), 1 / 6)

    @torch.inference_mode()
    def bare() -> None:
        pixels = [
            decode.to_input(decode.decode(body), who.preprocessing)
            for _, body in images.read_images(rows)
            if isinstance(body, bytes)
        ]
        for tensor in who.normalised(np.stack(pixels), BATCH):
            who.module(tensor)

    begin = time.perf_counter()
    ratios = paired(bare, lambda: scanner.partial(rows, Report(0), None), RUNS)
    rate = 2 * (RUNS + 1) * COUNT / (time.perf_counter() - begin)
    return report(
        "scan from files / bare decoding + bare forward, squeezenet", ratios, 1.15, note=f"{rate:.0f} images/s"
    )


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
