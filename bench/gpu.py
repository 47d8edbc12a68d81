"""ResNet-50 on a GPU: the scan with all statistics against the bare forward, and from JPEG bytes. Needs no Ray.

    python -m bench.gpu [--device cuda] [--dtype bfloat16] [--batch 128] [--units 4]

Two claims, medians of paired runs: on decoded batches the scan reaches 0.90 of the images/s of the bare forward; from
JPEG bytes 0.90 of the slower of decoding and forward. Weights are random, images are drawn: neither changes the time.
Without a card it says so and measures nothing; `--device cpu` runs the same path on a small scale.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from atlas.images import decode
from atlas.images.decode import Preprocessing
from atlas.images.feed import Decoded, Feed, Quarantined
from atlas.images.manifest import list_images
from atlas.network import layers, nvjpeg, session
from atlas.network.graph import trace
from atlas.network.load import IMAGENET_MEAN, IMAGENET_STD, import_torchvision
from atlas.network.normalise import Normalise
from atlas.scan.scanner import Report, Scanner, ScanSettings

ENOUGH = 0.90


@dataclass(frozen=True)
class Ready:
    """A feed whose images are decoded already."""

    found: list[Decoded]
    thumbnails: int = 0

    def images(self, rows: pa.Table) -> Iterator[Decoded | Quarantined]:
        """The images as they are."""
        return iter(self.found)


@dataclass(frozen=True)
class Case:
    """What is measured, and on what."""

    network: str
    device: torch.device
    dtype: str
    batch: int
    images: int
    crop: int
    threads: int
    decoder: str


def write_images(root: Path, count: int) -> None:
    """Drawn JPEG images of the size of ImageNet's: 500 by 375, about 110 kB."""
    rng = np.random.default_rng(0)
    for number in range(count):
        low = rng.integers(0, 256, (75, 100, 3), np.uint8)
        out = io.BytesIO()
        Image.fromarray(low).resize((500, 375), Image.Resampling.BICUBIC).save(out, "JPEG", quality=92)
        (root / f"{number:06d}.jpg").write_bytes(out.getvalue())


def measure(case: Case, root: Path, runs: int) -> tuple[float, float]:
    """(scan / bare forward on decoded batches, scan from bytes / the slower of decoding and forward), as images/s."""
    network = getattr(import_torchvision().models, case.network)(weights=None).eval().requires_grad_(False)
    module = session.prepare(network, case.device, case.dtype)
    preprocessing = Preprocessing(256, case.crop, IMAGENET_MEAN, IMAGENET_STD, "bilinear")
    normalise = Normalise(preprocessing, case.device, session.DTYPES[case.dtype])
    # Layers are found on a copy on the CPU: fields are geometry, whatever the device is.
    plain = getattr(import_torchvision().models, case.network)(weights=None).eval()
    graph = trace(plain, layers.example(plain, case.crop, case.crop))
    chosen, code = layers.layers_of(graph, ("auto",), ()), layers.code_source(graph)
    rows = list_images([str(root)]).table
    feed = Feed(
        preprocessing, 0, case.threads, 4 * case.batch, 0, 0, nvjpeg.decode if case.decoder == "gpu" else decode.decode
    )
    found = [image for image in feed.images(rows) if isinstance(image, Decoded)]
    settings = ScanSettings(9, case.batch, len(rows), 0, 0, False)
    in_flight = 1 if case.device.type == "cuda" else 0
    scanner = Scanner(module, chosen, (code.module, code.call), normalise, feed, settings, in_flight)
    ready = replace(scanner, feed=Ready(found))  # type: ignore[arg-type]
    pixels = np.stack([image.pixels for image in found])
    batches = [normalise(pixels[i : i + case.batch]) for i in range(0, len(pixels), case.batch)]

    @torch.inference_mode()
    def bare() -> None:
        for batch in batches:
            module(batch)

    def decoding() -> None:
        for _ in feed.images(rows):
            pass

    def seconds(what: object) -> float:
        begin = time.perf_counter()
        what()  # type: ignore[operator]
        if case.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    for what in (bare, lambda: ready.partial(rows, Report(0), None)):
        seconds(what)
    decoded, whole = [], []
    for _ in range(runs):
        forward = seconds(bare)
        decoded.append(forward / seconds(lambda: ready.partial(rows, Report(0), None)))
        slower = max(seconds(decoding), forward)
        whole.append(slower / seconds(lambda: scanner.partial(rows, Report(0), None)))
    return median(decoded), median(whole)


def main(words: list[str] | None = None) -> bool:
    """Prints both ratios with the card's name; says so where there is no card. False where a claim does not hold."""
    parser = argparse.ArgumentParser(description="The scan on a GPU against the bare forward.")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--dtype", choices=tuple(session.DTYPES), default="bfloat16")
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--batches", type=int, default=16)
    parser.add_argument("--crop", type=int, default=224)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--decode", choices=("cpu", "gpu"), default="cpu")
    chosen = parser.parse_args(words)
    if chosen.device == "cuda" and not torch.cuda.is_available():
        print("bench.gpu: torch finds no CUDA device here, so nothing was measured; --device cpu runs the path")
        return True
    nvjpeg.check(chosen.device, chosen.decode)
    device = torch.device(chosen.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    case = Case(
        chosen.network, device, chosen.dtype, chosen.batch, chosen.batch * chosen.batches, chosen.crop,
        max((os.cpu_count() or 2) - 1, 1), chosen.decode,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        write_images(Path(temporary), case.images)
        decoded, whole = measure(case, Path(temporary), chosen.runs)
    what = f"{chosen.network}, {chosen.dtype}, batch {case.batch}, {case.images} images, {name}"
    print(f"scan / bare forward {decoded:.3f} ({ENOUGH} or more), from bytes {whole:.3f} ({ENOUGH} or more); {what}")
    return min(decoded, whole) >= ENOUGH


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
