"""The part `adversarial` of the tiny atlas: one answer, replay, pages."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from atlas.store import parts
from atlas.store.sealed import Sealed
from jobs import cli
from jobs.add import add
from tests.api.serving import serving
from tests.jobs.test_parts import flags, places

SMALL: dict[str, Any] = {
    "attacked": 6, "steps": 3, "bisections": 2, "levels": ("1", "8"), "fooling": 2, "fooling_steps": 4, "rows": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tiny_atlas: Path, tiny_root: Path, tmp_path_factory: pytest.TempPathFactory, embedded_ray: None) -> Path:
    """The tiny atlas with the part."""
    out = tmp_path_factory.mktemp("attacked") / "atlas"
    shutil.copytree(tiny_atlas, out)
    add(str(out), "adversarial", workers="1", **SMALL, **places(tiny_root))
    return out


def the_part(base: Path) -> parts.Part:
    sealed = Sealed(str(base))
    return parts.look(sealed.folder, sealed.digest, "adversarial")


def test_what_is_tried_on_an_image(made: Path) -> None:
    part = the_part(made)
    rows = part.table("adversarial").to_pylist()
    images = {row["image_id"] for row in rows} - {None}
    assert len(images) == 6
    for image_id in images:
        mine = [row["attack"] for row in rows if row["image_id"] == image_id]
        assert sorted(mine) == ["l2", "l2", "linf", "linf", "linf", "linf", "noise", "noise_l2"]
    assert sum(row["attack"] == "fooling" for row in rows) == 2
    margins = part.table("margins").to_pylist()
    assert {(row["image_id"], row["attack"]) for row in margins} == {(i, a) for i in images for a in ("linf", "l2")}
    carriers = part.table("carriers").to_pylist()
    assert {row["attack"] for row in carriers} == {"linf", "noise"}
    assert all(row["change"] >= 0 for row in carriers)
    summary = part.about["summary"]
    assert {
        "linf_1/255",
        "linf_8/255",
        "linf_targeted_8/255",
        "l2",
        "noise_4/255",
        "noise_l2",
        "fooling",
    } <= summary.keys()


def test_two_workers_give_the_same_digest(
    made: Path, tiny_atlas: Path, tmp_path: Path, tiny_root: Path, embedded_ray: None
) -> None:
    shutil.copytree(tiny_atlas, tmp_path / "atlas")
    whole = the_part(made).about["digest"]
    assert add(str(tmp_path / "atlas"), "adversarial", workers="2", **SMALL, **places(tiny_root)) == whole


def test_verify_reads_the_files_again(made: Path, tiny_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", str(made), "--replay", "20", *flags(tiny_root)]) == 0
    said = capsys.readouterr().out
    assert "part adversarial: sound" in said
    assert "part adversarial: replay: 20 rows made again" in said


def test_pages_show_what_fools_it(made: Path) -> None:
    rows = the_part(made).table("adversarial").to_pylist()
    image_id = next(row["image_id"] for row in rows if row["image_id"] is not None)
    with serving(create_app([made])) as address, httpx.Client(base_url=address) as client:
        said = client.get(f"/api/v1/atlases/atlas/images/{image_id}").json()["sections"]["adversarial"]
        page = client.get(f"/atlas/images/{image_id}").text
        assert len(said["items"]) == 8
        assert all(item["picture"]["url"] in page for item in said["items"])
        assert 'data-slider="bound of the change"' in page
        neuron = client.get("/api/v1/atlases/atlas/neurons/conv1/0").json()["sections"]
        assert "carriers" in neuron
