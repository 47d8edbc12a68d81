"""A disk that fills up stops the job with a clear word; with room again, the same command goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = ["unshare", "--map-root-user", "--mount"]
SCRIPT = """
mount -t tmpfs -o size=200k none "$DISK" || exit 99
"$@" 2> "$LOG.1"; echo "first $?"
ls "$DISK/atlas/work/scan" | wc -l
mount -o remount,size=64m "$DISK" || exit 99
"$@" 2> "$LOG.2"; echo "second $?"
test -e "$DISK/atlas/SHA256SUMS" && echo sealed
"""


def may_mount() -> bool:
    """Whether this user may mount a file system in a namespace of its own."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not may_mount(), reason="needs a user who may mount a tmpfs in a namespace of its own")
def test_a_full_disk(tiny_root: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    chosen = tiny.settings(tiny_root, disk / "atlas", projections=("deconvnet",), thumbnails=64)
    command = [sys.executable, "-m", "jobs.cli", *tiny.arguments(chosen, "--evidence", "0")]
    done = subprocess.run(
        [*NAMESPACE, "sh", "-c", SCRIPT, "sh", *command],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "DISK": str(disk), "LOG": str(tmp_path / "log")},
    )  # fmt: skip
    first = (tmp_path / "log.1").read_text()
    assert "first 3" in done.stdout, (done.stdout, done.stderr, first)
    last = first.splitlines()[-1]
    assert last.startswith("neuron-atlas: ")
    assert "the disk is full" in last
    assert "same command" in last
    assert "second 0" in done.stdout, (tmp_path / "log.2").read_text()
    assert "sealed" in done.stdout
