"""Scan from files against bare decoding plus the bare forward, on the same cores: a worker with a decoding thread.

Simple properties are measured of candidates for the response sample: one image in six, as among 50,000 images. Each
side runs in a process of its own, started as a worker is; the second line is for a bare one as it comes, which gives
freed memory back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing

import numpy as np
import torch

from atlas.images import decode, manifest
from atlas.images.content import ALL
from atlas.images.feed import Feed
from atlas.scan.scanner import Report
from bench.common import IMAGENET, SQUEEZENET, Side, answer, paired_seconds, report, subject

COUNT, BATCH, RUNS = 96, 16, 7


def side(which: str) -> None:
    """SqueezeNet on photographs, with thumbnails off on both sides; processor time of all threads."""
    torch.set_num_threads(1)
    who = subject(SQUEEZENET)
    rows = manifest.list_images([IMAGENET], None, COUNT).table
    scanner = who.scanner(BATCH, COUNT, Feed(who.session.preprocessing, 0, 1, 4 * BATCH, 0, ALL // 6), 1 / 6)

    @torch.inference_mode()
    def bare() -> None:
        pixels = [
            decode.to_input(decode.decode(body), who.session.preprocessing)
            for _, body in manifest.read_images(rows)
            if isinstance(body, bytes)
        ]
        for tensor in who.normalised(np.stack(pixels), BATCH):
            who.session.module(tensor)

    call: Callable[[], object] = bare if which == "bare" else lambda: scanner.partial(rows, Report(0), None)
    answer(lambda _: call(), which)


def main() -> bool:
    """Two lines."""
    good = True
    with closing(Side("bench.files", "scan", worker=True)) as ours:
        for worker, claim in ((True, 1.15), (False, None)):
            with closing(Side("bench.files", "bare", worker=worker)) as bare:
                ratios = paired_seconds(bare, ours, RUNS)
                what = f"scan from files / bare decoding + forward{'' if worker else ' as they come'}"
                good &= report(what, ratios, claim, note=f"{COUNT} images, {BATCH} a batch, squeezenet")
    return good


if __name__ == "__main__":
    if len(sys.argv) == 2:
        side(sys.argv[1])
    else:
        sys.exit(0 if main() else 1)
