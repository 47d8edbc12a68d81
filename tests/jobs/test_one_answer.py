"""One answer: the same digest however the work is split, in whatever order it ends, whoever is killed on the way."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import ray

from atlas.settings import Settings
from jobs.build import build
from tests import tiny

DEATHS = 12
"""Of the driver; with those of workers, twenty."""
ROOT = Path(__file__).resolve().parents[2]


def settings(root: Path, out: Path, **options: object) -> Settings:
    """20 chunks of the scan, the last of one image; three images in quarantine; as many chunks of the harvest."""
    return tiny.settings(root, out, chunk_size="8", evidence=1, projections=("deconvnet",), **options)


@pytest.fixture(scope="module")
def answer(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory, embedded_ray: None) -> str:
    """The digest of one worker's undisturbed build."""
    return build(settings(tiny_root, tmp_path_factory.mktemp("answer") / "atlas", workers="1"))


def committed(out: Path) -> dict[str, tuple[int, int]]:
    """Chunks that are done, and which writing of them is there."""
    found = {}
    for path in [*out.glob("work/scan/*.partial"), *out.glob("work/merge/*.arrow"), *out.glob("work/harvest/*.arrow")]:
        try:
            about = path.stat()
        except FileNotFoundError:  # the build has just ended
            continue
        found[str(path.relative_to(out))] = (about.st_ino, about.st_mtime_ns)
    return found


def workers() -> list[psutil.Process]:
    """Processes of actors that this process's Ray has started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.name().startswith("ray::Worker") or "ray::Worker" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


@contextmanager
def killing(out: Path, when: list[int]) -> Iterator[list[int]]:
    """In the block: kills a worker each time as many chunks are done as `when` says next; gives those killed."""
    killed: list[int] = []
    ended = threading.Event()
    rng = random.Random(1)

    def watch() -> None:
        waiting = sorted(when)
        while waiting and not ended.is_set():
            alive = workers()
            if len(committed(out)) >= waiting[0] and alive:
                victim = rng.choice(alive)
                victim.send_signal(signal.SIGKILL)
                killed.append(victim.pid)
                waiting.pop(0)
            time.sleep(0.01)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


def redone(out: Path) -> int:
    return int(json.loads((out / "atlas.json").read_text())["timings"]["chunks_redone"])


def test_two_workers_in_shuffled_order(
    tiny_root: Path, tmp_path: Path, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs import pool

    def shuffled(self: pool.Pool, chunks: object, *rest: object, **named: object) -> None:
        order = list(chunks)  # type: ignore[call-overload]
        random.Random(3).shuffle(order)
        run(self, order, *rest, **named)

    run: Callable[..., None] = pool.Pool.run
    monkeypatch.setattr(pool.Pool, "run", shuffled)
    assert build(settings(tiny_root, tmp_path / "atlas", workers="2")) == answer


def test_two_workers_are_killed(tiny_root: Path, tmp_path: Path, answer: str) -> None:
    out = tmp_path / "atlas"
    with killing(out, [3, 22]) as killed:
        digest = build(settings(tiny_root, out, workers="2"))
    assert digest == answer
    assert len(killed) == 2
    assert redone(out) <= len(killed)  # at most the chunk in flight on each


@pytest.mark.slow
def test_four_workers(tiny_root: Path, tmp_path: Path, answer: str) -> None:
    assert build(settings(tiny_root, tmp_path / "atlas", workers="4", decode_threads="3")) == answer


@pytest.mark.slow
def test_workers_are_killed_at_six_moments(tiny_root: Path, tmp_path: Path, answer: str) -> None:
    out = tmp_path / "atlas"
    moments = sorted(random.Random(7).sample(range(34), 6))
    with killing(out, moments) as killed:
        digest = build(settings(tiny_root, out, workers="2"))
    assert digest == answer
    assert len(killed) >= 5  # the last may come after the end
    assert redone(out) <= len(killed)


@pytest.mark.slow
@pytest.mark.timeout(1500)  # about six seconds a death on an idle machine
def test_the_whole_job_is_killed_again_and_again(tiny_root: Path, tmp_path: Path, answer: str) -> None:
    """Each time the driver's process group is killed, and the same command goes on; chunks that are done stay done."""
    rng = random.Random(11)
    deaths = atlases = 0
    while deaths < DEATHS:
        out = tmp_path / f"atlas{atlases}"
        atlases += 1
        finished = False
        while not finished:
            before = committed(out)
            driver = subprocess.Popen(
                [sys.executable, "-m", "jobs.cli", *tiny.arguments(settings(tiny_root, out, workers="2")),
                 "--evidence", "1", "--address", ray.get_runtime_context().gcs_address],
                cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            fuse = rng.choice([1, 2, 3, 5, 8]) if deaths < DEATHS else 10**9
            while driver.poll() is None and len(committed(out).keys() - before.keys()) < fuse:
                time.sleep(0.005)
            time.sleep(rng.random() * 0.1 if fuse < 10**9 else 0)
            if driver.poll() is None:
                again = committed(out)
                assert all(again[chunk] == written for chunk, written in before.items() if chunk in again)
                os.killpg(driver.pid, signal.SIGKILL)
                deaths += 1
            text, errors = driver.communicate()
            finished = driver.returncode == 0
            assert driver.returncode in (0, -signal.SIGKILL), errors
        assert answer in text
