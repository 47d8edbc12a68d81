"""Claims about the index over the codes, measured: `make bench-codes`.

1. CIFAR-10, 50,000 real codes: chosen, built and measured within 2 minutes on 2 cores; recall@10 at least 0.99; the
   nearest neighbour of a test image is of its class as often as exact search says; a query within 2 ms on one thread.
2. 1,000,000 codes of 512 dimensions: at most 4 GB of memory, opened in less than 50 ms, recall@10 at least 0.98, at
   least 2,000 queries a second on one core, against exact search in the same run. 10,000,000 are predicted from
   1,000,000 against 250,000.

The synthetic codes are mixtures of three near real codes (of 1,000 photographs), plus noise of half the median
distance to the nearest neighbour. Codes and results stay under `bench/out/codes`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from atlas.tables.codes import codes

os.environ.setdefault("OMP_NUM_THREADS", "1")

import faiss
import numpy as np
import pyarrow as pa

from atlas.analyse import stage
from atlas.codes import index
from atlas.read.neighbours import Neighbours
from atlas.store import layout, parquet
from atlas.store.codes import Codes, unit
from atlas.store.faiss_index import CodeIndex
from atlas.store.files import Folder
from bench import real_codes
from jobs.measure import peak_memory

OUT = real_codes.OUT
PART = 65_536
SIZES = (250_000, 1_000_000)
PREDICTED = 10_000_000
HALF_ABOVE = 250_000  # as a build keeps them


def write(folder: Folder, blocks: Any, dimensions: int, half: bool) -> None:
    """Writes blocks of codes as `codes/part-*.parquet`, image_ids counted."""
    start = 0
    for number, block in enumerate(blocks):
        values = pa.array(block.reshape(-1).astype(np.float16 if half else np.float32))
        columns = {
            "image_id": np.arange(start, start + len(block)),
            "code": pa.FixedSizeListArray.from_arrays(values, dimensions),
        }
        to = codes(dimensions, half=half)
        parquet.write_batches(folder, layout.file_of("codes", number), to, [pa.table(columns)])
        start += len(block)


def cifar() -> dict[str, Any]:
    """The claims on real codes."""
    train, test = real_codes.cifar("train"), real_codes.cifar("test")
    folder = Folder(str(OUT / "cifar"))
    write(folder, np.array_split(train["codes"], 1), 64, False)
    start = time.perf_counter()
    with stage.single_thread():
        about = index.build(folder, Codes(folder), seed=0)
    built = time.perf_counter() - start
    opened = Neighbours(folder, {"index": about})
    exact = faiss.IndexFlatIP(64)
    exact.add(unit(train["codes"]))
    _, nearest = exact.search(unit(test["codes"]), 1)
    by_exact = float((train["labels"][nearest[:, 0]] == test["labels"]).mean())
    start = time.perf_counter()
    found = [opened.of_code(code, 10)[0].image_id for code in test["codes"]]
    query = (time.perf_counter() - start) / len(found)
    return {
        "codes": about["count"],
        "kind": about["kind"],
        "seconds": round(built, 2),
        "recall_at_10": about["recall_at_10"],
        "nearest_of_the_class": float((train["labels"][found] == test["labels"]).mean()),
        "nearest_of_the_class_exact": by_exact,
        "query_ms": round(1000 * query, 3),
    }


def mixtures(count: int, seed: int = 0) -> Any:
    """Blocks of synthetic codes (n, 512)."""
    real = real_codes.photographs()["codes"]
    squares = (real**2).sum(1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * real @ real.T, 0))
    np.fill_diagonal(distances, np.inf)
    noise = 0.5 * np.median(distances.min(1)) / math.sqrt(real.shape[1])
    near = np.argsort(distances, 1)[:, :10]
    for number, start in enumerate(range(0, count, PART)):
        n = min(PART, count - start)
        random = np.random.default_rng([seed, number])
        own = random.integers(0, len(real), n)
        others = near[own[:, None], random.random((n, 10)).argsort(1)[:, :2]]  # two of its ten nearest
        weights = random.dirichlet((1, 1, 1), n).astype(np.float32)
        block = weights[:, :1] * real[own]
        block += weights[:, 1:2] * real[others[:, 0]] + weights[:, 2:] * real[others[:, 1]]
        yield block + noise * random.standard_normal(block.shape, np.float32)


def synthetic(count: int) -> dict[str, Any]:
    """The claims on `count` synthetic codes; in a process of its own, so that its peak memory is the build's."""
    folder = Folder(str(OUT / f"mixtures-{count}"))
    if not folder.names("codes"):
        subprocess.run([sys.executable, "-m", "bench.codes", "--make", str(count)], check=True)
    before = peak_memory()
    start, processor = time.perf_counter(), time.process_time()
    with stage.single_thread():
        about = index.build(folder, Codes(folder), seed=0)
    built, worked = time.perf_counter() - start, time.process_time() - processor
    peak = peak_memory()
    file = folder.local(layout.INDEX)
    start = time.perf_counter()
    opened = CodeIndex(folder.held(layout.INDEX), about.get("probes"))
    opening = time.perf_counter() - start
    codes = Codes(folder)
    asked = np.sort(np.random.default_rng(9).choice(count, 4000, replace=False))
    queries = unit(codes.take(asked))
    faiss.omp_set_num_threads(1)
    opened.search(queries[:500], 10)  # the pages are read once
    result = {
        "codes": count,
        "dimensions": 512,
        "kind": about["kind"],
        "parameters": about["parameters"],
        "probes": about.get("probes"),
        "recall_at_10": about["recall_at_10"],
        "recall_at_10_stored": about["recall_at_10_stored"],
        "build_seconds": round(built, 1),
        "build_processor_seconds": round(worked, 1),
        "peak_memory_gb": round(peak / 2**30, 2),
        "memory_before_gb": round(before / 2**30, 2),
        "file_gb": round(file.stat().st_size / 2**30, 2),
        "open_ms": round(1000 * opening, 2),
        "queries_a_second": round(_rate(lambda q: opened.search(q, 10), queries)),
        "queries_a_second_one_by_one": round(_rate(lambda q: [opened.search(row[None], 10) for row in q], queries)),
    }
    return {**result, "exact_queries_a_second": round(_exact_rate(codes, queries[:200]), 1)}


def _rate(search: Any, queries: Any) -> float:
    """Queries a second of one core: by the processor's time, so that other work on the machine does not count."""
    start = time.thread_time()
    search(queries)
    return len(queries) / (time.thread_time() - start)


def _exact_rate(codes: Codes, queries: Any) -> float:
    """Queries a second of exact search over codes that are in memory already."""
    seconds = 0.0
    for _, block in codes.blocks():
        vectors = unit(block)
        start = time.thread_time()
        faiss.knn(queries, vectors, 10, metric=faiss.METRIC_INNER_PRODUCT)
        seconds += time.thread_time() - start
    return len(queries) / seconds


def predict(small: dict[str, Any], large: dict[str, Any]) -> dict[str, Any]:
    """`PREDICTED` codes from two sizes: each figure grows as its power law between them."""
    factor = math.log(PREDICTED / large["codes"]) / math.log(large["codes"] / small["codes"])
    predicted: dict[str, Any] = {"codes": PREDICTED}
    for name in ("build_processor_seconds", "peak_memory_gb", "file_gb", "open_ms", "queries_a_second"):
        predicted[name] = round(large[name] * (large[name] / max(small[name], 1e-9)) ** factor, 2)
    return predicted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--make", type=int, metavar="N", help="only write N synthetic codes")
    parser.add_argument("--one", type=int, metavar="N", help="only measure N synthetic codes")
    parser.add_argument("--sizes", type=int, nargs=2, default=SIZES, metavar="N", help="default: %(default)s")
    options = parser.parse_args()
    if options.make:
        write(Folder(str(OUT / f"mixtures-{options.make}")), mixtures(options.make), 512, options.make > HALF_ABOVE)
        return
    if options.one:
        print(json.dumps(synthetic(options.one)))
        return
    results: dict[str, Any] = {"cifar": cifar()}
    print(json.dumps(results["cifar"], indent=1), flush=True)
    measured = []
    for size in options.sizes:
        command = [sys.executable, "-m", "bench.codes", "--one", str(size)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        measured.append(json.loads(done.stdout.splitlines()[-1]))
        print(json.dumps(measured[-1], indent=1), flush=True)
    results["synthetic"] = measured
    results["predicted"] = predict(*measured)
    print(json.dumps(results["predicted"], indent=1))
    Path(OUT / "results.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
