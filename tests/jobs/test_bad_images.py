"""Forty awkward files through a whole build: each treated as it deserves, the rest of the atlas as without them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.build import build
from tests import tiny

pytestmark = pytest.mark.data
EXAMPLE = (
    "layer",
    "channel",
    "side",
    "rank",
    "response",
    "y",
    "x",
    "image_left",
    "image_top",
    "image_right",
    "image_bottom",
)


def rows(atlas: Path, name: str) -> list[dict[str, Any]]:
    return list(pq.read_table(atlas / f"{name}.parquet").to_pylist())


@pytest.mark.slow
def test_bad_images_change_nothing_else(tiny_root: Path, tmp_path: Path, tools: Path, embedded_ray: None) -> None:
    subprocess.run([sys.executable, tools / "make_bad_images.py", tmp_path / "images"], check=True, capture_output=True)
    manifest = {row["path"]: row["treat"] for row in json.loads((tmp_path / "images/manifest.json").read_text())}
    shutil.copy(tiny_root / "weights.safetensors", tmp_path)
    names = tmp_path / "classes.tsv"
    names.write_text("bad\tbad\ngood\tgood\n")
    chosen = {"class_names": str(names), "evidence": 1, "projections": ("deconvnet",), "thumbnails": 24}
    with_bad = build(tiny.settings(tmp_path, tmp_path / "all", **chosen))
    listed = rows(tmp_path / "all", "images")
    bad = rows(tmp_path / "all", "quarantine")
    assert {row["key"] for row in listed} == {path for path, treat in manifest.items() if treat == "scan"}
    assert {row["key"] for row in bad} == {path for path, treat in manifest.items() if treat == "quarantine"}
    assert all(row["reason"] and row["detail"] for row in bad)
    assert sorted(row["image_id"] for row in listed + bad) == list(range(len(listed) + len(bad)))
    for path, treat in manifest.items():
        if treat == "quarantine":
            (tmp_path / "images" / path).unlink()
    without_bad = build(tiny.settings(tmp_path, tmp_path / "good", **chosen))
    assert with_bad != without_bad  # the numbers of the images differ, and their slots
    assert rows(tmp_path / "good", "quarantine") == []
    compare(tmp_path / "all", tmp_path / "good")


def compare(a: Path, b: Path) -> None:
    """By key: predictions, thumbnails, examples, crops, numbers of neurons and classes, to float32's last bits."""
    keys = [{row["image_id"]: row["key"] for row in rows(atlas, "images")} for atlas in (a, b)]
    for row, other in zip(rows(a, "images"), rows(b, "images"), strict=True):
        for name in ("key", "class_id", "class_name", "width", "height", "predicted"):
            assert row[name] == other[name]
        assert row["probability"] == pytest.approx(other["probability"], rel=1e-5)
        assert row["thumbnail"]["crc32"] == other["thumbnail"]["crc32"]
    ours, theirs = rows(a, "examples"), rows(b, "examples")
    assert len(ours) == len(theirs)
    for row, other in zip(ours, theirs, strict=True):
        assert keys[0][row["image_id"]] == keys[1][other["image_id"]], (row["layer"], row["channel"], row["rank"])
        for name in EXAMPLE:
            assert row[name] == (pytest.approx(other[name], rel=1e-4, abs=1e-5) if name == "response" else other[name])
        assert row["crop"]["crc32"] == other["crop"]["crc32"]
    for row, other in zip(rows(a, "neurons"), rows(b, "neurons"), strict=True):
        assert (row["layer"], row["channel"], row["dead"]) == (other["layer"], other["channel"], other["dead"])
        for name in ("images", "mean", "std", "min", "max", "activation_rate", "map_mean", "selectivity"):
            near = None if other[name] is None else pytest.approx(other[name], rel=1e-4, abs=1e-5)
            assert row[name] == near
    for row, other in zip(rows(a, "classes"), rows(b, "classes"), strict=True):
        assert [row[n] for n in ("layer", "channel", "class_id")] == [
            other[n] for n in ("layer", "channel", "class_id")
        ]
        assert row["mean"] == pytest.approx(other["mean"], rel=1e-4, abs=1e-5)
        assert row["share"] == other["share"]
