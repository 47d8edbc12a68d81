"""`build --restart` removes what a build and its parts made, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import atlas
from atlas.errors import SettingsError
from atlas.store.files import Folder
from jobs.build import build
from jobs.cli import main
from jobs.planning import restart
from tests import tiny


def test_other_settings_name_it_and_it_builds_anew(
    tiny_root: Path, tiny_atlas: Path, embedded_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_atlas, tmp_path / "atlas", ignore=shutil.ignore_patterns("parts"))
    mine = [tmp_path / "atlas" / name for name in ("notes.txt", "pictures/mine.jpg", "parts/mine/notes.txt")]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    asked = tiny.settings(tiny_root, tmp_path / "atlas", k=2, evidence=0, projections=())
    assert main(tiny.arguments(asked)) == 2
    assert "--restart" in capsys.readouterr().err
    assert main([*tiny.arguments(asked), "--restart"]) == 0
    assert "3 that it did not make stay, such as" in capsys.readouterr().err
    assert all(path.read_text() == "mine" for path in mine)
    opened = atlas.open(str(tmp_path / "atlas"))
    assert opened.about["settings"]["k"] == 2
    assert opened.query("SELECT max(rank) FROM examples WHERE side = 'max'").fetchall() == [(1,)]


def test_what_is_removed(tiny_atlas: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_atlas, tmp_path / "atlas", ignore=shutil.ignore_patterns("parts"))
    folder = Folder(str(tmp_path / "atlas"))
    folder.put("work/scan/000000.safetensors", b"x")
    folder.put("parts/words/words.parquet", b"x")
    folder.put("parts/compare@b/work/compare/000000.arrow", b"x")
    folder.put("parts/unheard_of/words.parquet", b"x")
    restart.clear(folder)
    assert folder.names(recursive=True) == ["parts/unheard_of/words.parquet"]
    assert sorted(path.name for path in (tmp_path / "atlas").rglob("*")) == ["parts", "unheard_of", "words.parquet"]


def test_a_removal_that_was_cut_short_goes_on(tiny_root: Path, tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "atlas"))
    folder.put("atlas.json", b"{}")
    folder.put("neurons.parquet", b"x")
    restart.check(folder)
    with pytest.raises(SettingsError, match="half a build"):
        build(tiny.settings(tiny_root, tmp_path / "atlas"))


def test_a_folder_of_something_else_is_left_alone(
    tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main([*tiny.arguments(tiny.settings(tiny_root, tmp_path)), "--restart"]) == 2
    assert "holds no build" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(SettingsError, match="no build"):
        restart.check(Folder(str(tmp_path)))
