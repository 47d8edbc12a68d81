"""One digest on one node and on three, whatever is killed half-way, and on a bucket that has bad days."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from atlas.store import layout
from atlas.store.files import Folder
from jobs.build import build
from tests import tiny
from tests.flaky import flaky_store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
UNITS = 14
OPTIONS = {"k": 3, "sample": 30, "chunk_size": "8", "projections": (), "evidence": 0}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_inputs(tmp_path_factory.mktemp("inputs"), count=8 * UNITS - 6)


@pytest.fixture(scope="module")
def digest(inputs: Path, embedded_ray: None) -> str:
    return build(tiny.settings(inputs, inputs / "one", **OPTIONS))


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of three nodes on this machine: raylets of their own, a core each."""
    from ray.cluster_utils import Cluster

    # As on machines of their own: the keys to the bucket are there, where it is they are told.
    os.environ.update(AWS_ACCESS_KEY_ID="testing", AWS_SECRET_ACCESS_KEY="testing")
    cluster = Cluster(initialize_head=True, connect=False, head_node_args={**NODE, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(**NODE)
    yield cluster
    cluster.shutdown()
    del os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]


def drive(nodes: Any, inputs: Path, out: str, images: str | None = None, **environment: str) -> subprocess.Popen[str]:
    """The command on the cluster, in a process of its own; of `images` in a bucket half as many."""
    settings = tiny.settings(inputs, **{**OPTIONS, "out": out, "workers": "3"})
    words = tiny.arguments(settings, "--evidence", "0", "--address", nodes.address)
    if images:
        words[2] = images
        words += ["--limit", str(4 * UNITS)]
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )


def finish(driver: subprocess.Popen[str]) -> None:
    said, _ = driver.communicate(timeout=240)
    assert driver.returncode == 0, said[-3000:]


def wait(driver: subprocess.Popen[str], condition: Callable[[], bool], pause: float = 0.02) -> None:
    """Until the condition holds, while the driver lives."""
    deadline = time.monotonic() + 200
    while not condition():
        if driver.poll() is not None or time.monotonic() > deadline:
            driver.kill()
            raise AssertionError(driver.communicate()[0][-3000:])
        time.sleep(pause)


def scanned(out: str) -> set[str]:
    return set(Folder(out).names("work/scan"))


def about(out: str) -> dict[str, Any]:
    return dict(json.loads(Folder(out).get("atlas.json")))


def test_three_nodes_and_one_of_them_lost(nodes: Any, inputs: Path, digest: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    driver = drive(nodes, inputs, out)
    wait(driver, lambda: len(scanned(out)) >= 4)
    lost = sorted(nodes.worker_nodes, key=id)[0]
    nodes.remove_node(lost, allow_graceful=False)
    finish(driver)
    nodes.add_node(**NODE)
    assert about(out)["digest"] == digest
    assert about(out)["timings"]["chunks_redone"] <= 1  # a node had one worker


@pytest.mark.parametrize("node_too", [False, True])
def test_the_driver_is_killed_half_way_and_started_again(
    nodes: Any, inputs: Path, digest: str, tmp_path: Path, node_too: bool
) -> None:
    out = str(tmp_path / "out")
    driver = drive(nodes, inputs, out)
    wait(driver, lambda: len(scanned(out)) >= 4)
    if node_too:
        nodes.remove_node(sorted(nodes.worker_nodes, key=id)[0], allow_graceful=False)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    time.sleep(0.5)  # workers of a driver that is gone may still end a chunk
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("out/pictures/scan-*.tar")}
    kept = {f"scan-{name.split('.')[0]}.tar" for name in scanned(out)}
    assert kept
    finish(drive(nodes, inputs, out))
    if node_too:
        nodes.add_node(**NODE)
    assert about(out)["digest"] == digest
    again = [path.name for path, changed in before.items() if path.stat().st_mtime_ns != changed]
    assert not kept.intersection(again)  # what was done is not done again


def test_a_bucket_that_fails_and_is_late(nodes: Any, inputs: Path, bucket: str, embedded_ray: None) -> None:
    images, calm, rough = f"{bucket}/images", f"{bucket}/calm", f"{bucket}/rough"
    sources = Folder(images)
    for path in sorted((inputs / "images").rglob("*.*")):
        sources.put(str(path.relative_to(inputs / "images")), path.read_bytes())
    with flaky_store() as (address, store):
        driver = drive(nodes, inputs, rough, images, AWS_ENDPOINT_URL=address)
        wait(driver, lambda: len(scanned(rough)) >= 2, 0.3)
        second = drive(nodes, inputs, rough, images, AWS_ENDPOINT_URL=address)
        said, _ = second.communicate(timeout=120)
        assert second.returncode == 2, said
        assert "another build is at work there" in said
        driver.send_signal(signal.SIGKILL)
        driver.communicate()
        assert not Folder(rough).exists(layout.SUMS)  # half way, in the scan or in the harvest
        finish(drive(nodes, inputs, rough, images, AWS_ENDPOINT_URL=address))
    assert store.failed >= 0.02 * store.calls
    assert store.delayed > 0
    finish(drive(nodes, inputs, calm, images))
    assert about(rough)["digest"] == about(calm)["digest"]
