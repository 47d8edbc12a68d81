"""What the benchmarks share: the two networks, decoded pixels, paired runs, one line a claim."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from atlas.images import manifest
from atlas.images.content import ALL
from atlas.images.decode import Preprocessing
from atlas.images.feed import Decoded, Feed, Quarantined
from atlas.network import layers, load
from atlas.network.graph import trace
from atlas.network.session import Session, prepare, ready
from atlas.scan.scanner import Scanner, ScanSettings
from jobs.actors import ALLOCATOR

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
IMAGENET = str(DATA / "imagenet-sample")
SQUEEZENET = ("squeezenet1_0", str(DATA / "networks/squeezenet1_0.safetensors"))
RESNET20 = (str(DATA / "cifar10/resnet20.py") + ":net", str(DATA / "cifar10/resnet20.safetensors"))


@dataclass(frozen=True)
class Subject:
    """A network ready for the CPU, channels-last, and all that a scan of it needs."""

    name: str
    session: Session

    def scanner(self, batch: int, chunk: int, feed: Feed | None = None, sampled: float = 1.0) -> Scanner:
        """A scanner of the job, with all statistics on; `sampled`: share of images that may be in the sample."""
        who = self.session
        feed = feed or Feed(who.preprocessing, 0, 1, 2 * batch, 0, 0)
        settings = ScanSettings(9, batch, chunk, 0, min(int(sampled * 2**64), 2**64 - 1), False)
        return Scanner(who.module, who.layers, who.code, who.normalise, feed, settings)

    def normalised(self, pixels: NDArray[np.uint8], batch: int) -> list[torch.Tensor]:
        """Batches (N, 3, H, W), channels-last."""
        whole = len(pixels) // batch * batch
        return [self.session.normalise(pixels[i : i + batch]) for i in range(0, whole, batch)]


def subject(which: tuple[str, str], crop: int | None = None) -> Subject:
    """Loads a network; `crop` instead of its own."""
    loaded = load.load(*which)
    p = loaded.preprocessing
    preprocessing = Preprocessing(crop, crop, p.mean, p.std, p.interpolation) if crop else p
    module = prepare(loaded.module, torch.device("cpu"), "float32")
    graph = trace(module, layers.example(module, preprocessing.crop, preprocessing.crop))
    code = layers.code_source(graph)
    name = which[0].rpartition("/")[2].partition(":")[0].removesuffix(".py")
    session = ready(module, layers.layers_of(graph), (code.module, code.call), preprocessing, device="cpu")
    return Subject(name, session)


def decoded(sources: Sequence[str], preprocessing: Preprocessing, count: int) -> tuple[pa.Table, list[Decoded]]:
    """The manifest's rows and the decoded images of the first `count`."""
    rows = manifest.list_images(sources, None, count).table
    feed = Feed(preprocessing, 0, 2, 64, 0, ALL)
    found: list[Decoded | Quarantined] = list(feed.images(rows))
    return rows, [image for image in found if isinstance(image, Decoded)]


class Replayed:
    """A feed whose images are decoded already."""

    thumbnails = 0

    def __init__(self, found: list[Decoded]) -> None:
        self.found = found

    def images(self, rows: pa.Table) -> object:
        return iter(self.found)


def seconds(call: Callable[[], object]) -> float:
    """Processor time of a call in this process: on one thread what a clock shows, and others at work count less."""
    start = time.process_time()
    call()
    return time.process_time() - start


def paired(a: Callable[[], object], b: Callable[[], object], runs: int = 7) -> list[float]:
    """Ratios b / a of runs in turns, the first of each left out."""
    return paired_seconds(lambda: seconds(a), lambda: seconds(b), runs)


def paired_seconds(a: Callable[[], float], b: Callable[[], float], runs: int) -> list[float]:
    """The same of two that say themselves what they cost."""
    a(), b()
    ratios = []
    for run in range(runs):
        if run % 2:
            second = b()
            ratios.append(second / a())
        else:
            first = a()
            ratios.append(b() / first)
    return ratios


def as_worker() -> None:
    """Starts this script again as the job starts its workers, unless it was."""
    if any(os.environ.get(name) != value for name, value in ALLOCATOR.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **ALLOCATOR})


class Side:
    """One side of a comparison in a process of its own, `python -m MODULE WORDS`, which ends in `answer`.

    `worker`: it is started as the job starts its workers, else as anybody starts Python.
    """

    def __init__(self, module: str, *words: str, worker: bool) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            env={k: v for k, v in os.environ.items() if k not in ALLOCATOR} | (ALLOCATOR if worker else {}),
        )  # fmt: skip
        self.said = self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit("a side of the comparison ended")
        return line.strip()

    def __call__(self, what: str = "run") -> float:
        """Runs it once: seconds of processor time."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        return float(self._line())

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()


def answer(call: Callable[[str], object], said: str) -> None:
    """What a side ends in: says something once, then runs what it is asked for."""
    print(said, flush=True)
    for line in sys.stdin:
        print(seconds(partial(call, line.strip())), flush=True)


def report(what: str, ratios: Sequence[float], claim: float | None, *, at_least: bool = False, note: str = "") -> bool:
    """One line: the median ratio of all runs, the claim, if there is one, and whether it holds."""
    middle = median(ratios)
    holds = claim is None or (middle >= claim if at_least else middle <= claim)
    said = "" if claim is None else f" | {'≥' if at_least else '≤'} {claim:g} | {'holds' if holds else 'DOES NOT HOLD'}"
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} runs"
    print(f"{what:<62} | {middle:7.3f} ({spread}){said}" + (f" | {note}" if note else ""), flush=True)
    return holds
