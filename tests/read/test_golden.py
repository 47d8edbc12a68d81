"""Stored atlases of every format that this version reads, and one of a format that it does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import atlas
from atlas.errors import FolderError
from atlas.read.audit import audit
from atlas.tables import TABLES
from tests import golden

STORED = sorted(golden.DATA.glob("format-*"))


def test_there_is_one() -> None:
    assert [path.name for path in STORED] == ["format-2"]
    size = sum(path.stat().st_size for path in golden.DATA.rglob("*") if path.is_file())
    assert size < 300_000


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.name)
def test_it_opens_and_is_sound(path: Path) -> None:
    report = audit(str(path))
    assert report.ok, str(report)
    opened = atlas.open(path)
    assert opened.neurons.count("*").fetchall() == [(10,)]
    assert opened.neuron("conv1", 0).examples.count("*").fetchall() == [(2,)]
    assert opened.neighbours(0, 3)[0].image_id != 0


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.name)
def test_today_s_build_says_the_same(path: Path, tmp_path: Path, embedded_ray: None) -> None:
    """Numbers to float32's last bits: another processor adds in another order."""
    from jobs.build import build

    build(golden.settings(golden.inputs(tmp_path), tmp_path / "new"))
    for table in TABLES:
        stored, made = path / table.path, tmp_path / "new" / table.path
        if table.part or not stored.is_file():
            continue
        old, new = pq.read_table(stored).to_pylist(), pq.read_table(made).to_pylist()
        assert len(old) == len(new), table.name
        for before, now in zip(old, new, strict=True):
            for name in before.keys() - {"source"}:
                assert alike(before[name], now[name]), (table.name, name, before[name], now[name])


def alike(old: object, new: object) -> bool:
    if isinstance(old, float) and isinstance(new, float):
        return old == pytest.approx(new, rel=1e-3, abs=1e-4)
    if isinstance(old, dict) and isinstance(new, dict):
        if "crc32" in old:  # a picture: whether it is there
            return (old["why"] is None) == (new["why"] is None)
        return old.keys() <= new.keys() and all(alike(old[name], new[name]) for name in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(alike, old, new))
    return old == new


def test_an_atlas_of_format_1_is_refused_in_one_line(tmp_path: Path) -> None:
    copy = shutil.copytree(STORED[0], tmp_path / "old")
    about = json.loads((copy / "atlas.json").read_text())
    (copy / "atlas.json").write_text(json.dumps({**about, "format_version": 1}))
    with pytest.raises(FolderError, match=r"format 1.*build it again") as refused:
        atlas.open(copy)
    assert "\n" not in str(refused.value)
