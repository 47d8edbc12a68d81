"""What Ray costs: the scan by Ray's actors against the same loop in plain processes, in paired runs.

    python -m bench.workers [--pairs 7] [--limit 10000]

Both sides run the scan of `jobs.work.Work` on one-core workers over the same chunks of CIFAR-10, and commit them; they
start when all workers are up. Printed: the median of the ratio plain / Ray for one worker and for two.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from atlas.settings import Settings
from atlas.store.files import Folder
from jobs import stages
from jobs.cluster import cluster, make_pool
from jobs.measure import Measurer
from jobs.planning.output import write_plan
from jobs.planning.plan import Plan, make_plan
from jobs.pool import Pool

SCAN = stages.named("scan")
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "cifar10"


def plain(processes: Sequence[Measurer], chunks: int) -> float:
    """Seconds of plain processes, each over its share of the chunks."""
    begin = time.perf_counter()
    shares = [range(number, chunks, len(processes)) for number in range(len(processes))]
    for process, share in zip(processes, shares, strict=True):
        for chunk in share:
            process.ask("scan", chunk)
    for process, share in zip(processes, shares, strict=True):
        for _ in share:
            process.answer()
    return time.perf_counter() - begin


def with_ray(pool: Pool, chunks: int) -> float:
    """Seconds of Ray's actors."""
    begin = time.perf_counter()
    pool.run(range(chunks), lambda actor, chunk: actor.work.remote(SCAN, chunk, None), lambda outcome: None)
    return time.perf_counter() - begin


def ratios(plan: Plan, workers: int, pairs: int) -> list[float]:
    """plain / Ray of each pair; above 1, Ray was the faster one."""
    plan = replace(plan, settings=replace(plan.settings, workers=str(workers)))
    found = []
    with cluster(plan.settings) as placed:
        pool = make_pool(plan, replace(placed, count=workers, decode_threads=1))
        processes = [Measurer(plan, 1) for _ in range(workers)]
        try:
            for process in processes:
                process.answer()
            with_ray(pool, 2 * workers)
            plain(processes, 2 * workers)
            for pair in range(pairs):
                sides = [lambda: plain(processes, plan.data.chunks), lambda: with_ray(pool, plan.data.chunks)]
                first, second = (sides[(pair + turn) % 2]() for turn in range(2))
                found.append(first / second if pair % 2 == 0 else second / first)
        finally:
            pool.close()
            for process in processes:
                process.close()
    return found


def main() -> None:
    """Prints the ratios."""
    parser = argparse.ArgumentParser(description="What Ray costs.")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--limit", type=int, default=10_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        settings = Settings(
            images=(str(DATA / "test.parquet"),),
            network=f"{DATA / 'resnet20.py'}:net",
            weights=str(DATA / "resnet20.safetensors"),
            out=temporary,
            resize=32,
            crop=32,
            limit=chosen.limit,
            chunk_size="1024",
            device="cpu",
        )
        plan, manifest = make_plan(settings)
        write_plan(Folder(temporary), plan, manifest)
        for workers, least in ((1, 0.97), (2, 0.95)):
            found = ratios(plan, workers, chosen.pairs)
            print(
                f"{workers} worker{'s' if workers > 1 else ''}: plain / Ray {median(found):.3f} "
                f"(of {', '.join(f'{r:.3f}' for r in found)}); expected {least} or more"
            )


if __name__ == "__main__":
    main()
