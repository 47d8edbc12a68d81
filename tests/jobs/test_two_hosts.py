"""Two hosts with nothing shared but a bucket: network namespaces, an address each, joined by one cable."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs.build import build
from tests import tiny

pytestmark = [pytest.mark.slow]
HEAD, OTHER = "10.213.7.1", "10.213.7.2"
BUCKET = f"http://{HEAD}:5000"
OPTIONS = {"k": 3, "sample": 30, "chunk_size": "8", "projections": (), "evidence": 0}
IMAGES = 45
READ = (
    "import sys; from atlas.store.files import Folder; sys.stdout.write(Folder(sys.argv[1]).get(sys.argv[2]).decode())"
)
UPLOAD = """
import sys
from pathlib import Path
from pyarrow import fs
from atlas.store.files import Folder
endpoint, source, bucket = sys.argv[1:]
fs.S3FileSystem(endpoint_override=endpoint, scheme="http", allow_bucket_creation=True).create_dir(bucket)
target = Folder(f"s3://{bucket}/images")
for path in sorted(p for p in Path(source).rglob("*") if p.is_file()):
    target.put(str(path.relative_to(source)), path.read_bytes())
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@dataclass
class Hosts:
    """Two namespaces and the processes in them."""

    names: tuple[str, str]
    stack: ExitStack
    environment: dict[str, str]

    def words(self, host: int, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self.names[host], *words]

    def start(self, host: int, *words: str) -> subprocess.Popen[bytes]:
        """A server on a host, for as long as the hosts are there."""
        process = subprocess.Popen(
            self.words(host, *words), env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.stack.callback(process.wait, 20)
        self.stack.callback(process.terminate)
        return process

    def run(self, host: int, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.words(host, *words), env=self.environment, capture_output=True, text=True, timeout=240
        )
        assert not check or done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        return done

    def crossed(self) -> int:
        """Bytes that the other host has sent over the cable."""
        return int(self.run(1, "cat", "/sys/class/net/cable-b/statistics/tx_bytes").stdout)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    """A head with a bucket beside it, and another host; a CPU each."""
    names = (f"atlas-{os.getpid()}-a", f"atlas-{os.getpid()}-b")
    with ExitStack() as stack:
        try:
            for name in names:
                ip("netns", "add", name)
                stack.callback(ip, "netns", "delete", name)
            ip("link", "add", "cable-a", "netns", names[0], "type", "veth", "peer", "cable-b", "netns", names[1])
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("network namespaces cannot be made here")
        for name, end, address in zip(names, ("cable-a", "cable-b"), (HEAD, OTHER), strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", end)
            for device in (end, "lo"):
                ip("-n", name, "link", "set", device, "up")
        # Sockets of Ray lie under it, and their paths must be short.
        temporary = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        stack.callback(shutil.rmtree, temporary, ignore_errors=True)
        keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}
        found = Hosts(names, stack, {**os.environ, **keys, "AWS_ENDPOINT_URL": BUCKET, "AWS_REGION": "us-east-1"})
        found.start(0, sys.executable, "-m", "moto.server", "-H", HEAD, "-p", "5000")
        ray = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--disable-usage-stats", "--num-cpus=1"]
        ray.append(f"--object-store-memory={80 * 2**20}")
        found.start(
            0, *ray, "--head", f"--node-ip-address={HEAD}", "--port=6379", "--include-dashboard=false",
            f"--temp-dir={temporary}",
        )  # fmt: skip
        found.start(1, *ray, f"--address={HEAD}:6379", f"--node-ip-address={OTHER}")
        deadline = time.monotonic() + 60
        count = f"import ray; ray.init('{HEAD}:6379', log_to_driver=False); assert len(ray.nodes()) == 2"
        while found.run(0, sys.executable, "-c", count, check=False).returncode:
            assert time.monotonic() < deadline
        yield found


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, hosts: Hosts) -> Path:
    root = tiny.write_inputs(tmp_path_factory.mktemp("inputs"), count=IMAGES)
    hosts.run(0, sys.executable, "-c", UPLOAD, BUCKET.partition("://")[2], str(root / "images"), "hosts")
    return root


@pytest.mark.parametrize("placed", [("--workers", "2"), ("--workers", "1", "--decoders", "1")], ids=" ".join)
def test_two_hosts_and_a_bucket_give_the_same_answer(
    hosts: Hosts, inputs: Path, tmp_path: Path, embedded_ray: None, placed: tuple[str, ...]
) -> None:
    digest = build(tiny.settings(inputs, tmp_path / "here", **OPTIONS))
    out = f"s3://hosts/out-{len(placed)}"
    words = tiny.arguments(tiny.settings(inputs, **{**OPTIONS, "images": ("s3://hosts/images",), "out": out}))
    before = hosts.crossed()
    hosts.run(0, sys.executable, "-m", "jobs.cli", *words, "--evidence", "0", "--address", f"{HEAD}:6379", *placed)
    about = json.loads(hosts.run(0, sys.executable, "-c", READ, out, "atlas.json").stdout)
    assert about["digest"] == digest
    assert hosts.crossed() - before > 20_000  # the other host had its part in it
