"""The service against its claims, and against datasette on the same tables, in one run.

    python -m bench.api [--seconds 8] [--neurons 100000] [--no-peer]

Constructs an atlas of 100,000 neurons with 28 examples each (its pictures are holes) and one of real pictures, serves
both at once, and asks with wrk over 16 connections for every kind of answer, in random order, no address twice. Rates
are a second of the server's processor time, so that what else the machine does hardly matters.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from api.http.urls import Urls
from tests import constructed

OUT = Path(__file__).parent / "out"
PEER_EXAMPLES = 500_000
"""Rows of examples.parquet that datasette gets; all of neurons.parquet."""
CLAIMS = {"neuron JSON": 1000, "neuron HTML": 300, "crop": 2000, "neighbours": 600}
SERVE = "import sys; from api.server import serve; serve(sys.argv[2:], port=int(sys.argv[1]), ready=lambda u: print(u, file=sys.stderr, flush=True))"  # noqa: E501


def large(neurons: int) -> constructed.Shape:
    """Many neurons in 30 layers; 60,000 images of 100 classes with codes of 64 values, as CIFAR-10 has."""
    each = neurons // 30
    layers = tuple((f"features.{i}.conv", each + (neurons - 30 * each if i == 0 else 0)) for i in range(30))
    classes = tuple(f"class {i}" for i in range(100))
    return constructed.Shape("large", layers, images=60_000, classes=classes, dimensions=64, sparse=True)


def real() -> constructed.Shape:
    """Fewer neurons, 40,000 pictures that are really drawn."""
    layers = tuple((f"conv{i}", 128) for i in range(8))
    return constructed.Shape("real", layers, images=1000, dimensions=64, pool=40_000)


def atlas(name: str, shape: constructed.Shape) -> Path:
    """The constructed atlas, made if it is not there."""
    path = OUT / f"{name}-{shape.neurons}"
    if not (path / "SHA256SUMS").exists():
        shutil.rmtree(path, ignore_errors=True)
        print(f"constructing {path.name}", flush=True)
        constructed.write(path, shape)
    return path


class Server:
    """A process that answers HTTP, until it is left."""

    def __init__(self, command: list[str], port: int, ready: str) -> None:
        self.port = port
        begin = time.perf_counter()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self._log)
        self.process = psutil.Process(self._process.pid)
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{ready}", timeout=60).read()
                break
            except OSError:
                if self._process.poll() is not None or time.perf_counter() - begin > 120:
                    self._log.seek(0)
                    sys.exit(self._log.read().decode())
                time.sleep(0.02)
        self.cold = time.perf_counter() - begin

    def settle(self) -> None:
        """Waits until the packs are verified, which is done once, in the background."""
        while True:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/health", timeout=60) as answer:
                states = [atlas["verification"]["packs"] for atlas in json.load(answer)["atlases"]]
            if "running" not in states:
                return
            time.sleep(0.2)

    def cpu(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)


def ask(server: Server, paths: list[str], seconds: float) -> dict[str, float]:
    """Asks for `paths` over 16 connections; what wrk measured, and requests a second of the server's processor."""
    random.Random(0).shuffle(paths)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(paths))
        file.flush()
        before = server.cpu()
        output = subprocess.run(
            ["wrk", "-t1", "-c16", f"-d{seconds:g}s", "--latency", "-s", str(Path(__file__).parent / "requests.lua"),
             f"http://127.0.0.1:{server.port}"],
            env={**os.environ, "PATHS": file.name}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        spent = server.cpu() - before
    result: dict[str, float] = json.loads(output.stdout.split("RESULT ")[1].splitlines()[0])
    result["rate"] = result["requests"] / max(spent, 1e-9)
    return result


def peer_database(folder: Path) -> Path:
    """neurons.parquet and examples.parquet as SQLite tables, nested values as JSON."""
    path = folder.with_suffix(".db")
    if path.exists():
        return path
    print(f"writing {path.name} for datasette", flush=True)
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    base = sqlite3.connect(part)
    for table, key in (("neurons", "layer, channel"), ("examples", "layer, channel, side, rank")):
        file = pq.ParquetFile(folder / f"{table}.parquet")
        columns = [c for c in file.schema_arrow.names if c != "vector"]
        kinds = {"layer": "TEXT", "channel": "INTEGER", "side": "TEXT", "rank": "INTEGER"}
        quoted = ", ".join(f'"{name}" {kinds.get(name, "")}' for name in columns)
        base.execute(f"CREATE TABLE {table} ({quoted}, PRIMARY KEY ({key}))")
        written = 0
        for batch in file.iter_batches(10_000, columns=columns):
            rows = (
                tuple(json.dumps(v) if isinstance(v, dict | list) else v for v in r.values()) for r in batch.to_pylist()
            )
            base.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", rows)
            written += len(batch)
            if written > PEER_EXAMPLES:
                break
    base.commit()
    base.close()
    part.rename(path)
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--neurons", type=int, default=100_000)
    parser.add_argument("--port", type=int, default=8971)
    parser.add_argument("--no-peer", action="store_true")
    options = parser.parse_args()
    shapes = {"large": large(options.neurons), "real": real()}
    folders = {name: atlas(name, shape) for name, shape in shapes.items()}
    one = Server(
        [sys.executable, "-c", SERVE, str(options.port), str(folders["large"])], options.port, "/api/v1/health"
    )
    print(f"cold start of {options.neurons} neurons: {one.cold:.2f} s (at most 5)")
    one.close()
    command = [sys.executable, "-c", SERVE, str(options.port), *map(str, folders.values())]
    server = Server(command, options.port, "/api/v1/health")
    server.settle()
    failed = measure(server, shapes, folders, options.seconds)
    rss = server.process.memory_info().rss / 1e6
    print(f"memory after it all: {rss:.0f} MB (at most 500)")
    server.close()
    if not options.no_peer:
        peer(folders["large"], shapes["large"], options)
    return int(failed or one.cold > 5 or rss > 500)


def measure(server: Server, shapes: dict[str, constructed.Shape], folders: dict[str, Path], seconds: float) -> bool:
    """Prints what each kind of answer takes; true where a claim fails."""
    urls = Urls("large")
    neurons = [(layer, c) for layer, channels in shapes["large"].layers for c in range(channels)]
    crops = pq.read_table(folders["real"] / "examples.parquet", columns=["crop", "deconvnet"])
    places = [p for name in ("crop", "deconvnet") for p in crops[name].to_pylist() if p["pack"]]
    asked = {
        "neuron JSON": [urls.neuron(*each)[0] for each in neurons],
        "neuron HTML": [urls.neuron(*each)[1] for each in neurons],
        "crop": sorted({Urls("real").picture(p["pack"], p["offset"], p["length"]) for p in places}),
        "neighbours": [f"{urls.image(i + 1)[0]}/neighbours?k=10" for i in range(shapes["large"].images)],
    }
    bad = False
    for name, paths in asked.items():
        result = ask(server, paths, seconds)
        slow = name == "neuron JSON" and result["p99_ms"] > 50
        bad |= result["rate"] < CLAIMS[name] or result["failed"] > 0 or slow
        least = f"(at least {CLAIMS[name]})"
        print(f"{name:12} {result['rate']:7.0f} requests/s of processor {least}, {told(result)}", flush=True)
    return bad


def told(result: dict[str, float]) -> str:
    """The rest of what was measured, in words."""
    waited = f"p50 {result['p50_ms']} ms, p99 {result['p99_ms']} ms"
    return f"{waited}, {result['requests']:.0f} requests, {result['failed']:.0f} failed"


def peer(folder: Path, shape: constructed.Shape, options: argparse.Namespace) -> None:
    """Prints what datasette takes: for a neuron's row alone, and for its 28 examples (here one answer holds both)."""
    database = peer_database(folder)
    port = options.port + 1
    command = [sys.executable, "-m", "datasette", "serve", "-i", str(database), "-p", str(port)]
    server = Server(command, port, "/-/versions.json")
    rows = [(layer, c) for layer, channels in shape.layers for c in range(channels)]
    base = f"/{database.stem}"
    narrow = "_size=100&_nocount=1&_nofacet=1&_nosuggest=1"
    for kind in ("JSON", "HTML"):
        suffix = ".json" if kind == "JSON" else ""
        asked = {
            "row": [f"{base}/neurons/{layer.replace('.', '~2E')},{channel}{suffix}" for layer, channel in rows],
            "examples": [
                f"{base}/examples{suffix}?layer={layer}&channel={channel}&{narrow}"
                for layer, channel in rows[: PEER_EXAMPLES // 28]
            ],
        }
        for what, paths in asked.items():
            result = ask(server, paths, options.seconds)
            print(
                f"datasette, {what:8} {kind} {result['rate']:5.0f} requests/s of processor, {told(result)}", flush=True
            )
    server.close()


if __name__ == "__main__":
    sys.exit(main())
