"""The part `localization` of the tiny atlas: made, scored, checked, made again, killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from atlas.localize import boxes, scores
from atlas.localize.settings import METHODS
from atlas.store import parts
from atlas.store.files import Folder
from atlas.store.sealed import Sealed
from atlas.types import Box
from jobs import cli
from jobs.add import add
from tests.jobs.test_connections import base, flags, places

pytest.importorskip("cv2")
__all__ = ["base"]


@pytest.fixture
def truth(base: Path, tmp_path: Path) -> Path:
    """Boxes of forty images: the left two thirds of each."""
    images = Sealed(str(base)).table("images").to_pylist()[:80:2]
    lines = [f"{row['key']}\t0\t0\t{row['width'] * 2 / 3}\t{row['height']}" for row in images]
    path = tmp_path / "boxes.tsv"
    path.write_text("key\tleft\ttop\tright\tbottom\n" + "\n".join(lines) + "\n")
    return path


def test_from_the_command_to_the_tables(
    base: Path, truth: Path, tiny_root: Path, embedded_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["add", "localization", str(base), "--boxes", str(truth), "--sample", "20", "--occlusion", "3"]
    assert cli.main([*words, "--workers", "1", *flags(tiny_root)]) == 0
    there = base / "parts" / "localization"
    rows = pq.read_table(there / "localization.parquet").to_pylist()
    images = {row["image_id"]: row for row in Sealed(str(base)).table("images").to_pylist()}
    with_boxes = {row["image_id"] for row in rows if row["iou"] is not None}
    assert len(with_boxes) == 40
    assert 40 < len({row["image_id"] for row in rows}) <= 60
    assert {row["method"] for row in rows} == set(METHODS) - {"gradcam"}  # its scores are of no maps
    for row in rows:
        image = images[row["image_id"]]
        assert row["class_id"] == image["predicted" if row["of"] == "predicted" else "class_id"]
        if row["left"] is not None:
            assert 0 <= row["left"] < row["right"] <= image["width"] + 1e-6
            assert 0 <= row["top"] < row["bottom"] <= image["height"] + 1e-6
        else:
            assert row["why"]
        if row["iou"] is not None and row["left"] is not None:
            box = Box(row["left"], row["top"], row["right"], row["bottom"])
            expected = boxes.iou(box, Box(0, 0, image["width"] * 2 / 3, image["height"]))
            assert row["iou"] == pytest.approx(expected, abs=1e-6)
        if row["mask"]["pack"]:
            assert row["method"] == "saliency_grabcut"
            assert row["area"] is not None
    assert {row["image_id"] for row in rows if row["method"] == "occlusion"} < with_boxes
    check_scores(there, rows, images)
    edits = {row["edit"]: row for row in pq.read_table(there / "shape_texture.parquet").to_pylist()}
    assert edits["original"]["same"] == 1
    assert cli.main(["verify", str(base), "--replay", "4", "--boxes", str(truth), *flags(tiny_root)]) == 0
    assert "part localization: replay: 4 rows made again" in capsys.readouterr().out


def check_scores(there: Path, rows: list[dict[str, Any]], images: dict[int, dict[str, Any]]) -> None:
    """GT-known, counted again from the boxes that the table shows: each is at the level of the other half."""
    table = pq.read_table(there / "localization_scores.parquet").to_pylist()
    for method in ("saliency_grabcut", "saliency", "centre", "gaussian_grabcut", "shuffled", "shuffled_saliency"):
        own = [row for row in rows if row["method"] == method and row["of"] == "true" and row["iou"] is not None]
        for split, side in (("a", (True,)), ("b", (False,)), ("both", (True, False))):
            there_rows = [row for row in own if scores.in_first(images[row["image_id"]]["content"]) in side]
            expected = np.mean([row["iou"] >= 0.5 for row in there_rows])
            (score,) = [
                row
                for row in table
                if (row["method"], row["of"], row["measure"], row["split"]) == (method, "true", "gt_known_loc", split)
            ]
            assert score["value"] == pytest.approx(expected)
            assert score["n"] == len(there_rows)
    gaps = pq.read_table(there / "localization_differences.parquet").to_pylist()
    assert {("saliency_grabcut", "gaussian_grabcut"), ("saliency", "centre")} <= {
        (g["method"], g["other"]) for g in gaps
    }
    assert all(gap["low"] <= gap["difference"] <= gap["high"] for gap in gaps)


@pytest.mark.slow
def test_one_digest_for_any_workers_and_after_a_kill(base: Path, tiny_root: Path, embedded_ray: None) -> None:
    found = set()
    for workers in ("1", "2"):
        found.add(add(str(base), "localization", workers=workers, sample=70, occlusion=2, **places(tiny_root)))
        shutil.rmtree(base / "parts")
    command = [sys.executable, "-m", "jobs.cli", "add", "localization", str(base), "--sample", "70", "--occlusion", "2",
               "--workers", "2", *flags(tiny_root)]  # fmt: skip
    driver = subprocess.Popen(command, cwd=Path(__file__).parents[2], start_new_session=True, stdout=subprocess.DEVNULL)
    done = base / "parts" / "localization" / "work" / "localization"
    while driver.poll() is None and not list(done.glob("*.arrow")):
        time.sleep(0.01)
    if driver.poll() is None:
        os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    assert parts.look(Folder(str(base)), Sealed(str(base)).digest, "localization").state in ("begun", "sealed")
    found.add(add(str(base), "localization", workers="2", sample=70, occlusion=2, **places(tiny_root)))
    assert len(found) == 1


def test_boxes_of_other_images_are_refused(
    base: Path, tmp_path: Path, tiny_root: Path, embedded_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.csv").write_text("key,left,top,right,bottom\nnobody.jpg,0,0,5,5\n")
    words = ["add", "localization", str(base), "--boxes", str(tmp_path / "other.csv"), *flags(tiny_root)]
    assert cli.main(words) == 2
    assert "names none of the images" in capsys.readouterr().err


def test_pages_and_json(base: Path, truth: Path, tiny_root: Path, embedded_ray: None) -> None:
    import httpx

    from api.app import create_app
    from tests.api.serving import serving

    add(str(base), "localization", workers="1", boxes=str(truth), sample=1, occlusion=1, **places(tiny_root))
    rows = pq.read_table(base / "parts/localization/localization.parquet").to_pylist()
    with serving(create_app([base])) as address, httpx.Client(base_url=address) as client:
        name = client.get("/api/v1/atlases").json()["items"][0]["name"]
        image_id = next(row["image_id"] for row in rows if row["mask"]["pack"])
        told = client.get(f"/api/v1/atlases/{name}/images/{image_id}").json()["sections"]["localization"]
        own = [row for row in rows if row["image_id"] == image_id]
        assert {(item["of"], item["method"]) for item in told["items"]} == {(row["of"], row["method"]) for row in own}
        mask = next(item["mask"]["url"] for item in told["items"] if item["mask"]["url"])
        assert client.get(mask).content.startswith(b"\x89PNG")
        worth = client.get(f"/api/v1/atlases/{name}").json()["sections"]["localization"]
        assert {"saliency_grabcut", "centre"} <= {row["method"] for row in worth["scores"]}
        assert worth["differences"]
        page = client.get(f"/{name}/images/{image_id}").text
        assert "Where it is" in page
        assert "found-centre" in page
        assert "no network" in client.get(f"/{name}").text
