"""The part `inversions` of the tiny atlas: one answer, replay, refusals, pages."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from api.app import create_app
from atlas.errors import InputError
from atlas.store import parts
from atlas.store.sealed import Sealed
from atlas.visualize import files
from jobs import cli
from jobs.add import add
from tests.api.serving import serving
from tests.jobs.test_parts import flags, places

SMALL: dict[str, Any] = {"inversions": 3, "cells": 2, "steps": 4, "rows": 4}


@pytest.fixture(scope="module")
def made(tiny_atlas: Path, tiny_root: Path, tmp_path_factory: pytest.TempPathFactory, embedded_ray: None) -> Path:
    """The tiny atlas with the part."""
    out = tmp_path_factory.mktemp("inverted") / "atlas"
    shutil.copytree(tiny_atlas, out)
    add(str(out), "inversions", workers="1", **SMALL, **places(tiny_root))
    return out


def the_part(base: Path) -> parts.Part:
    sealed = Sealed(str(base))
    return parts.look(sealed.folder, sealed.digest, "inversions")


def test_a_row_of_layers_an_image_and_the_map(made: Path) -> None:
    part = the_part(made)
    rows = part.table("inversions").to_pylist()
    images = {row["image_id"] for row in rows} - {None}
    assert len(images) == 3
    for image_id in images:
        mine = [row for row in rows if row["image_id"] == image_id and row["repeat"] == 0]
        assert [row["layer"] for row in mine][-2:] == ["logits", "log_probabilities"]
        assert [row["depth"] for row in mine] == list(range(len(mine)))
        assert mine[0]["rank"] is not None
        assert all(row["rank"] is None for row in mine if row["layer"] in ("conv2", "fc", "logits"))
    cells = [row for row in rows if row["image_id"] is None]
    assert {(row["grid_row"], row["grid_column"]) for row in cells} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert all(row["layer"] == "code" and row["psnr"] is None for row in cells)
    for row in rows:
        assert files.decode(part.picture(row["picture"]), 3).shape == (32, 32, 3)
        assert np.isfinite([row["error"], row["error_other"]]).all()
    assert part.about["summary"]["pictures"] == len(rows)
    assert "rank 0" in part.about["summary"]["error_conv1"]


def test_two_workers_give_the_same_digest(
    made: Path, tiny_atlas: Path, tmp_path: Path, tiny_root: Path, embedded_ray: None
) -> None:
    shutil.copytree(tiny_atlas, tmp_path / "atlas")
    whole = the_part(made).about["digest"]
    assert add(str(tmp_path / "atlas"), "inversions", workers="2", **SMALL, **places(tiny_root)) == whole


def test_verify_reads_the_files_again(made: Path, tiny_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", str(made), "--replay", "9", *flags(tiny_root)]) == 0
    said = capsys.readouterr().out
    assert "part inversions: sound" in said
    assert "part inversions: replay: 9 rows made again" in said


def test_pages_show_the_row_and_the_map(made: Path) -> None:
    image_id = next(i for i in the_part(made).table("inversions").column("image_id").to_pylist() if i is not None)
    with serving(create_app([made])) as address, httpx.Client(base_url=address) as client:
        said = client.get(f"/api/v1/atlases/atlas/images/{image_id}").json()["sections"]["inversions"]
        page = client.get(f"/atlas/images/{image_id}").text
        assert said["items"][0]["picture"]["url"] in page
        assert "What layers keep of it" in page
        assert client.get(said["items"][0]["picture"]["url"]).status_code == 200
        assert "The map as the network sees it" in client.get("/atlas/").text + client.get("/atlas").text


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"layers": ("nothing",)}, "--layers nothing: the network has no such module"),
        ({"keys": ("nothing.jpg",)}, "--keys nothing.jpg: no image of that key; expected one like"),
        ({"repeats": 0}, "--repeats 0: expected 1 to 16"),
    ],
)
def test_wrong_options_are_said_in_one_line(
    tiny_atlas: Path, tmp_path: Path, tiny_root: Path, embedded_ray: None, values: dict[str, Any], says: str
) -> None:
    shutil.copytree(tiny_atlas, tmp_path / "atlas")
    with pytest.raises(InputError, match=says):
        add(str(tmp_path / "atlas"), "inversions", workers="1", **values, **places(tiny_root))
    assert not list((tmp_path / "atlas/parts").glob("inversions/work/inversions/*"))
