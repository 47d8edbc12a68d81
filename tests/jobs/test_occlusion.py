"""Occlusion as a part: from the command to its pictures, one digest, replayed; `build --occlusion` asks for it."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from PIL import Image

import atlas
from atlas.store import parts
from atlas.store.files import Folder
from atlas.store.sealed import Sealed
from jobs import cli
from jobs.add import add
from jobs.build import build
from tests import tiny
from tests.jobs.test_parts import flags, places


@pytest.mark.slow
def test_a_map_of_the_strongest(
    tiny_atlas: Path, tiny_root: Path, tmp_path: Path, embedded_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "atlas"
    shutil.copytree(tiny_atlas, base)
    digest = add(str(base), "occlusion", examples=1, workers="1", **places(tiny_root))
    sealed = Sealed(str(base))
    (part,) = parts.listed(sealed.folder, sealed.digest)
    rows = part.table("occlusion").to_pylist()
    strongest = sealed.table("examples").to_pylist()
    strongest = [row for row in strongest if row["side"] == "max" and row["rank"] == 0]
    assert [(row["layer"], row["channel"]) for row in rows] == [(row["layer"], row["channel"]) for row in strongest]
    drawn = [row for row in rows if row["picture"]["pack"]]
    assert part.about["summary"] == {"maps": len(drawn)}
    assert len(drawn) > 20
    for row in drawn:
        image = Image.open(io.BytesIO(part.picture(row["picture"])))
        assert max(image.size) == 24
    assert all(row["picture"]["why"] for row in rows if not row["picture"]["pack"])
    assert cli.main(["verify", str(base), "--replay", "6", *flags(tiny_root)]) == 0
    assert "part occlusion: replay: 6 rows made again" in capsys.readouterr().out
    assert len(atlas.open(base).query("SELECT * FROM occlusion").fetchall()) == len(rows)
    shutil.rmtree(base / "parts")
    assert add(str(base), "occlusion", examples=1, workers="2", **places(tiny_root)) == digest


@pytest.mark.slow
def test_build_asks_for_it(tiny_root: Path, tmp_path: Path, embedded_ray: None) -> None:
    settings = tiny.settings(tiny_root, tmp_path / "atlas", k=2, projections=(), evidence=0, occlusion=1)
    digest = build(settings)
    (part,) = parts.listed(Folder(settings.out), digest)
    assert (part.name, part.state, part.about["settings"]["examples"]) == ("occlusion", "sealed", 1)
