"""What a job that was killed at its very end leaves behind."""

from __future__ import annotations

import shutil
from pathlib import Path

from jobs.build import build
from tests import tiny


def test_work_that_a_kill_left_goes_with_the_same_command(tiny_root: Path, tiny_atlas: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(tiny_atlas, tmp_path / "atlas"))
    (out / "work/scan").mkdir(parents=True)
    (out / "work/scan/000000.safetensors").write_bytes(b"left")
    build(tiny.settings(tiny_root, out))
    assert not (out / "work").exists()
