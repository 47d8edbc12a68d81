"""Peak memory of a scanning worker: over 50,000 CIFAR images against the first 5,000, each in a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from bench.common import DATA, RESNET20, report
from jobs.actors import ALLOCATOR

PLAN = """
import pickle, sys
from atlas.settings import Settings
from atlas.store.files import Folder
from jobs.planning.output import write_plan
from jobs.planning.plan import make_plan
limit, out, parquet, network, weights = sys.argv[1:]
settings = Settings(images=(parquet,), network=network, weights=weights, out=out, resize=32, crop=32, thumbnails=32,
                    limit=int(limit), device="cpu", chunk_size="1024")
plan, manifest = make_plan(settings)
write_plan(Folder(out), plan, manifest)
pickle.dump(plan, open(out + ".plan", "wb"))
"""
SCAN = """
import pickle, sys
from jobs import stages
from jobs.work import Work
from jobs.measure import peak_memory
plan = pickle.load(open(sys.argv[1] + ".plan", "rb"))
work = Work(plan, 1)
for chunk in range(plan.data.chunks):
    work.work(stages.named("scan"), chunk)
print(peak_memory())
"""


def peak(limit: int) -> int:
    """Peak resident memory of the worker, in bytes. Another process makes the plan, as the driver of the job does."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "atlas")  # noqa: PTH118
        words = [str(limit), out, str(DATA / "cifar10/train.parquet"), *RESNET20]
        subprocess.run([sys.executable, "-c", PLAN, *words], check=True)
        started = {**os.environ, **ALLOCATOR}
        done = subprocess.run(
            [sys.executable, "-c", SCAN, out], check=True, stdout=subprocess.PIPE, text=True, env=started
        )
        return int(done.stdout.split()[-1])


def main(most: int = 50_000) -> bool:
    """One pair: peaks hardly vary."""
    few, many = peak(5_000), peak(most)
    return report(
        f"peak memory of a worker, {most:,} / 5,000 images", [many / few], 1.10, note=f"{many / 2**20:.0f} MB"
    )


if __name__ == "__main__":
    sys.exit(0 if main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000) else 1)
