"""One answer on real data: the digest for 1, 2 and 4 workers, and after the whole job was killed at random moments.

Beside each data set lie the awkward files of `../shared/tools`, half of which end in quarantine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.common import DATA, IMAGENET, RESNET20, SQUEEZENET

SETS = {
    "imagenet": (IMAGENET, SQUEEZENET, ("-k", "3", "--sides", "max", "--evidence", "1", "--picture-size", "64")),
    "cifar": (str(DATA / "cifar10/test.parquet"), RESNET20, ("--resize", "32", "--crop", "32", "--picture-size", "32")),
}
BAD = DATA.parent / "tools/make_bad_images.py"


def command(which: str, bad: Path, out: Path, workers: int, limit: int) -> list[str]:
    """The command line of a build in chunks of 64, the last of them short."""
    source, (network, weights), more = SETS[which]
    return [
        sys.executable, "-m", "jobs.cli", "build", "--images", str(bad), source, "--network", network,
        "--weights", weights, "--out", str(out), "--chunk-size", "64", "--limit", str(limit),
        "--workers", str(workers), *more,
    ]  # fmt: skip


def awkward(folder: Path) -> Path:
    """A folder without classes of those awkward files that are images or take themselves for some."""
    subprocess.run([sys.executable, BAD, folder / "made"], check=True, capture_output=True)
    (folder / "awkward").mkdir()
    listed = json.loads((folder / "made/manifest.json").read_text())
    for row in listed:
        path = folder / "made" / row["path"]
        if row["treat"] != "ignore" and path.is_file():
            shutil.copy(path, folder / "awkward" / row["path"].replace("/", "-"))
    return folder / "awkward"


def done(out: Path) -> int:
    """Chunks that are committed."""
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
            bad = awkward(Path(folder))
            for workers in (1, 2, 4):
                out = Path(folder) / f"w{workers}"
                digests[f"{workers} workers"] = build(command(which, bad, out, workers, options.limit), out, 0, rng)[0]
            number = 0
            while killed < options.deaths:
                out = Path(folder) / f"k{number}"
                words = command(which, bad, out, 2, options.limit)
                digests[f"killed {number}"], times = build(words, out, options.deaths - killed, rng)
                killed, number = killed + times, number + 1
        same = len(set(digests.values())) == 1
        good = good and same
        print(f"one answer, {which}: {len(digests)} builds, {killed} deaths | {'one digest' if same else digests}")
    return good


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
