"""One answer on real data: the digest for 1, 2 and 4 workers, and after the whole job was killed at random moments."""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.common import DATA, IMAGENET, RESNET20, SQUEEZENET

SETS = {
    "imagenet": (IMAGENET, SQUEEZENET, ("--projections", "deconvnet", "--evidence", "0", "--picture-size", "64")),
    "cifar": (str(DATA / "cifar10/test.parquet"), RESNET20, ("--resize", "32", "--crop", "32", "--picture-size", "32")),
}


def command(which: str, out: Path, workers: int, limit: int) -> list[str]:
    """The command line of a build in units of 64, the last of them short."""
    source, (network, weights), more = SETS[which]
    return [
        sys.executable, "-m", "jobs.cli", "build", "--images", source, "--network", network, "--weights", weights,
        "--out", str(out), "--unit-size", "64", "--limit", str(limit), "--workers", str(workers), *more,
    ]  # fmt: skip


def done(out: Path) -> int:
    """Units that are committed."""
    return len(list(out.glob("work/scan/*"))) + len(list(out.glob("work/harvest/*")))


def build(words: list[str], out: Path, deaths: int, rng: random.Random) -> tuple[str, int]:
    """The digest, and how often the job was killed on the way."""
    killed = 0
    while True:
        job = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
        )
        before, fuse = done(out), rng.randint(1, 4)
        while killed < deaths and job.poll() is None and done(out) < before + fuse:
            time.sleep(0.02)
        if killed < deaths and job.poll() is None:
            time.sleep(rng.random())
            os.killpg(job.pid, signal.SIGKILL)
            killed += 1
        text = job.communicate()[0]
        if job.returncode == 0:
            return text.split()[-1], killed
        if job.returncode != -signal.SIGKILL:
            sys.exit(f"the job ended with {job.returncode}: {' '.join(words)}")


def main() -> bool:
    """Prints one line a data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deaths", type=int, default=20)
    parser.add_argument("--limit", type=int, default=1000, help="images")
    parser.add_argument("--sets", default="cifar,imagenet")
    options = parser.parse_args()
    good = True
    for which in options.sets.split(","):
        rng = random.Random(0)
        digests, killed = {}, 0
        with tempfile.TemporaryDirectory() as folder:
            for workers in (1, 2, 4):
                out = Path(folder) / f"w{workers}"
                digests[f"{workers} workers"] = build(command(which, out, workers, options.limit), out, 0, rng)[0]
            number = 0
            while killed < options.deaths:
                out = Path(folder) / f"k{number}"
                words = command(which, out, 2, options.limit)
                digests[f"killed {number}"], times = build(words, out, options.deaths - killed, rng)
                killed, number = killed + times, number + 1
        same = len(set(digests.values())) == 1
        good = good and same
        print(f"one answer, {which}: {len(digests)} builds, {killed} deaths | {'one digest' if same else digests}")
    return good


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
