"""Peak memory of a scanning worker: over 50,000 CIFAR images against the first 5,000, each in a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from bench.common import DATA, RESNET20, report

PLAN = """
import pickle, sys
from atlas.settings import Settings
from atlas.store.files import Folder
from jobs.plan import make_plan, write_plan
limit, out, parquet, network, weights = sys.argv[1:]
settings = Settings(images=(parquet,), network=network, weights=weights, out=out, resize=32, crop=32, thumbnails=32,
                    limit=int(limit), device="cpu")
plan, _, manifest = make_plan(settings)
write_plan(Folder(out), plan, manifest)
pickle.dump(plan, open(out + ".plan", "wb"))
"""
SCAN = """
import pickle, resource, sys
from jobs.actors import Work
plan = pickle.load(open(sys.argv[1] + ".plan", "rb"))
work = Work(plan, 1)
for unit in range(plan.units):
    work.scan(unit)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(limit: int) -> int:
    """Peak resident memory of the worker, in KB. The plan is made by another process, as by the driver of the job."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "atlas")  # noqa: PTH118
        words = [str(limit), out, str(DATA / "cifar10/train.parquet"), *RESNET20]
        subprocess.run([sys.executable, "-c", PLAN, *words], check=True)
        done = subprocess.run([sys.executable, "-c", SCAN, out], check=True, capture_output=True, text=True)
        return int(done.stdout.split()[-1])


def main(most: int = 50_000) -> bool:
    """One pair: peaks hardly vary."""
    few, many = peak(5_000), peak(most)
    return report(f"peak memory of a worker, {most:,} / 5,000 images", [many / few], 1.10, note=f"{many / 1024:.0f} MB")


if __name__ == "__main__":
    sys.exit(0 if main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000) else 1)
