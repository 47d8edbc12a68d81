"""Parts: a toy stage and table, registered from here, through add, verify, query and seal; what is refused, by name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import atlas
import jobs
from atlas import tables
from atlas.errors import InputError, JobError, SettingsError
from atlas.store import parts
from atlas.store.files import Folder
from atlas.store.sealed import Sealed
from jobs import cli, stages
from jobs.add import GIVEN, add
from jobs.build import build
from tests import tiny, tiny_net
from tests.jobs import toy


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy's two rows."""
    monkeypatch.setattr(stages, "STAGES", (*stages.STAGES, toy.STAGE))
    monkeypatch.setattr(tables, "TABLES", (*tables.TABLES, toy.TABLE))
    monkeypatch.setattr(tables, "BY_NAME", {**tables.BY_NAME, toy.TABLE.name: toy.TABLE})


@pytest.fixture
def base(tiny_atlas: Path, tmp_path: Path) -> Path:
    """A copy of the tiny atlas."""
    shutil.copytree(tiny_atlas, tmp_path / "atlas")
    return tmp_path / "atlas"


def places(root: Path) -> dict[str, Any]:
    return {
        "network": f"{tiny_net.__file__}:net",
        "weights": str(root / "weights.safetensors"),
        "images": (str(root / "images"),),
    }


def flags(root: Path) -> list[str]:
    given = places(root)
    return ["--network", given["network"], "--weights", given["weights"], "--images", *given["images"]]


def files(folder: Path) -> dict[str, str]:
    found = (path for path in folder.rglob("*") if path.is_file() and "parts" not in path.relative_to(folder).parts)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def test_from_the_command_to_the_table(
    base: Path, tiny_root: Path, embedded_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(base)
    words = ["add", "toy", str(base), "--scale", "2", "--workers", "1", *flags(tiny_root)]
    assert cli.main(words) == 0
    assert files(base) == before  # not a byte of the base
    assert cli.main(words) == 0  # the same again: nothing to do
    assert "made already" in capsys.readouterr().err
    sealed = Sealed(str(base))
    (part,) = parts.listed(sealed.folder, sealed.digest)
    assert (part.state, part.about["base"], part.about["summary"]) == ("sealed", sealed.digest, {"images": 150})
    assert not (base / "parts/toy/work").exists()
    rows = pq.read_table(base / "parts/toy/toys.parquet")
    assert rows.column("image_id").to_pylist() == sealed.table("images").column("image_id").to_pylist()
    high = sealed.table("neurons").column("max")[0].as_py()
    assert max(rows.column("response").to_pylist()) == high  # what the scan found
    field = rows.schema.field("brightness")
    assert field.metadata[b"meaning"] == b"mean of all pixels, scaled"
    assert cli.main(["verify", str(base), "--replay", "5", *flags(tiny_root)]) == 0
    said = capsys.readouterr().out
    assert "part toy: sound" in said
    assert "part toy: replay: 5 rows made again" in said
    assert cli.main(["info", str(base)]) == 0
    assert "part         toy: images 150" in capsys.readouterr().out
    assert cli.main(["add", "--list", str(base)]) == 0
    assert "brightness of images" in capsys.readouterr().out
    assert cli.main(["verify", str(base), "--replay", "5"]) == 0
    assert "part toy: replay: not checked" in capsys.readouterr().out


def test_the_options_of_parts_stand_beside_those_of_all_parts() -> None:
    taken = {*GIVEN, "dir", "part", "list", "as_name", "replay", "run"}
    for stage in stages.parts():
        kind = stage.options_class()
        assert not taken & {each.name for each in dataclasses.fields(kind)}, stage.name
        assert all(each.metadata["help"] for each in dataclasses.fields(kind)), stage.name
        assert tables.of_part(stage.name), f"{stage.name} has no table"


def test_from_python(base: Path, tiny_root: Path, embedded_ray: None) -> None:
    assert jobs.add(str(base), "toy", workers="1", **places(tiny_root)) == jobs.add(str(base), "toy")
    assert jobs.build(tiny.settings(tiny_root, tiny_root / "atlas")) == Sealed(str(base)).digest


def test_other_settings_are_refused(
    base: Path, tiny_root: Path, embedded_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = add(str(base), "toy", scale=2.0, workers="1", **places(tiny_root))
    assert add(str(base), "toy", scale=2.0) == digest  # what is there needs no originals
    with pytest.raises(SettingsError, match=r"scale was 2\.0, now 3\.0"):
        add(str(base), "toy", scale=3.0, **places(tiny_root))
    assert cli.main(["add", "toy", str(base), "--scale", "99"]) == 2
    assert "--scale 99.0: expected 0.1 to 10" in capsys.readouterr().err


def test_a_file_counts_by_its_contents(base: Path, tiny_root: Path, tmp_path: Path, embedded_ray: None) -> None:
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text("one")
    digest = add(str(base), "toy", notes=str(tmp_path / "a.txt"), **places(tiny_root))
    assert add(str(base), "toy", notes=str(tmp_path / "b.txt")) == digest
    assert str(tmp_path) not in (base / "parts/toy/part.json").read_text()
    (tmp_path / "b.txt").write_text("two")
    with pytest.raises(SettingsError, match="notes was"):
        add(str(base), "toy", notes=str(tmp_path / "b.txt"))


def test_what_is_another_one_is_refused_by_name(base: Path, tiny_root: Path, tmp_path: Path) -> None:
    given = places(tiny_root)
    other = tiny.write_weights(tmp_path / "other.safetensors", seed=1)
    for changes, says in (
        ({"weights": str(other)}, "--weights: not the one"),
        ({"network": None}, "give --network FILE.py:FACTORY"),
        ({"weights": None}, "with --weights FILE"),
        ({"images": ()}, "with --images SRC"),
        ({"images": (str(tiny.write_images(tmp_path / "fewer", count=8)),)}, "--images: not those"),
    ):
        with pytest.raises(InputError, match=says):
            add(str(base), "toy", **{**given, **changes})
        assert not (base / "parts").exists()
    with pytest.raises(InputError, match="unknown; expected one of"):
        add(str(base), "toi", **given)
    with pytest.raises(InputError, match="--as x"):
        add(str(base), "toy", "x", **given)


def test_changed_images_are_refused_by_name(base: Path, tiny_root: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_root / "images", tmp_path / "images")
    for path in (tmp_path / "images").rglob("*"):
        if path.is_file() and path.stat().st_size > 100:
            path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(InputError, match=r"--images: .* is not the one"):
        add(str(base), "toy", **{**places(tiny_root), "images": (str(tmp_path / "images"),)})


def test_a_damaged_part_and_one_of_another_atlas(base: Path, tiny_root: Path, embedded_ray: None) -> None:
    add(str(base), "toy", workers="1", **places(tiny_root))
    sealed = Sealed(str(base))
    table = base / "parts/toy/toys.parquet"
    body = table.read_bytes()
    table.write_bytes(body[:-1] + b"x")
    (part,) = parts.listed(sealed.folder, sealed.digest)
    assert any("toys.parquet is damaged" in problem for problem in parts.problems(part))
    assert cli.main(["verify", str(base)]) == 1
    table.write_bytes(body)
    assert parts.problems(part) == []
    (strange,) = parts.listed(sealed.folder, "0" * 64)
    assert strange.state == "damaged"
    assert "another atlas" in str(strange.why)
    about = base / "parts/toy/part.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"digest": "1" * 64}))
    assert parts.look(sealed.folder, sealed.digest, "toy").state == "damaged"
    with pytest.raises(SettingsError, match="remove that folder"):
        add(str(base), "toy")
    shutil.copytree(base / "parts/toy", base / "parts/toy@x")
    assert {part.state for part in parts.listed(sealed.folder, sealed.digest)} == {"damaged"}
    assert len(atlas.open(base).neurons.limit(1).fetchall()) == 1  # the base serves


@pytest.mark.slow
def test_one_digest_for_any_workers_and_after_kills(base: Path, tiny_root: Path, embedded_ray: None) -> None:
    found = set()
    for workers in ("1", "2", "4"):
        found.add(add(str(base), "toy", workers=workers, chunk=5, **places(tiny_root)))
        shutil.rmtree(base / "parts")
    rng = random.Random(5)
    command = [sys.executable, "-c", "from tests.jobs import toyed; toyed.main()", "add", "toy", str(base),
               "--chunk", "5", "--sleep", "0.05", "--workers", "2", *flags(tiny_root)]  # fmt: skip
    deaths = 0
    while True:
        before = set((base / "parts/toy/work/toy").glob("*"))
        driver = subprocess.Popen(
            command, cwd=Path(__file__).parents[2], start_new_session=True, stdout=subprocess.PIPE, text=True
        )
        fuse = rng.choice([1, 2, 4]) if deaths < 3 else 10**9
        while driver.poll() is None and len(set((base / "parts/toy/work/toy").glob("*")) - before) < fuse:
            time.sleep(0.01)
        if driver.poll() is None:
            assert parts.look(Folder(str(base)), Sealed(str(base)).digest, "toy").state == "begun"
            os.killpg(driver.pid, signal.SIGKILL)
            deaths += 1
        said, _ = driver.communicate()
        if driver.returncode == 0:
            break
    found.add(said.split()[-1])
    assert len(found) == 1
    assert deaths == 3


def test_an_image_that_changed_is_named(base: Path, tiny_root: Path, tmp_path: Path, embedded_ray: None) -> None:
    shutil.copytree(tiny_root / "images", tmp_path / "images")
    given = {**places(tiny_root), "images": (str(tmp_path / "images"),), "workers": "1"}
    rows = Sealed(str(base)).table("images", ["image_id", "key"]).to_pylist()
    (tmp_path / "images" / rows[77]["key"]).write_bytes(b"")
    with pytest.raises((JobError, InputError), match=f"image {rows[77]['image_id']}|{rows[77]['key']}"):
        add(str(base), "toy", **given)


def test_build_with_a_part(tiny_root: Path, tmp_path: Path, embedded_ray: None) -> None:
    settings = tiny.settings(tiny_root, tmp_path / "with", k=2, projections=(), evidence=0, with_parts=("toy",))
    with pytest.raises(InputError, match="part 'toi'"):
        build(tiny.settings(tiny_root, tmp_path / "with", with_parts=("toi",)))
    assert not (tmp_path / "with").exists()
    digest = build(settings)
    assert build(tiny.settings(tiny_root, tmp_path / "without", k=2, projections=(), evidence=0)) == digest
    (part,) = parts.listed(Folder(settings.out), digest)
    assert part.state == "sealed"
    assert build(settings) == digest
