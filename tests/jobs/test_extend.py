"""An atlas that is extended is the atlas that one build over all images makes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from atlas.errors import SettingsError
from jobs.build import build
from jobs.cli import main
from jobs.extend import extend
from tests import tiny, tiny_net

OPTIONS: dict[str, Any] = {"k": 3, "sample": 40, "chunk_size": "16", "projections": (), "evidence": 0}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tiny.write_inputs(tmp_path_factory.mktemp("extend"), count=40)
    tiny.write_images(root / "more", count=77, bad={"bee/001_broken.jpg": b"broken"})
    tiny.write_images(root / "few", count=3, bad={})
    return root


@pytest.fixture(scope="module")
def small(root: Path, embedded_ray: None) -> Path:
    build(tiny.settings(root, root / "small", **OPTIONS))  # 43 images: two full chunks and a short one
    return root / "small"


def over_all(root: Path, out: Path, *sources: str) -> str:
    settings = tiny.settings(root, out, **OPTIONS)
    return build(replace(settings, images=tuple(str(root / source) for source in ("images", *sources))))


def files(atlas: Path) -> dict[str, bytes]:
    """Every file but those that say when and where, and the codes, whose pages may be cut otherwise."""
    kept = [p for p in atlas.rglob("*") if p.is_file() and p.name not in ("atlas.json", "SHA256SUMS")]
    kept = [p for p in kept if p.parent.name != "codes"]
    return {str(p.relative_to(atlas)): p.read_bytes() for p in kept}


@pytest.mark.slow
@pytest.mark.parametrize("sources", [("more",), ("few",), ("few", "more")])
def test_equals_one_build_over_all(
    root: Path, small: Path, tmp_path: Path, sources: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = over_all(root, tmp_path / "whole", *sources)
    stamps = {p.name: p.stat().st_mtime_ns for p in small.glob("pictures/*")}
    extended = extend(str(small), tuple(str(root / source) for source in sources), str(tmp_path / "new"), workers="1")
    assert extended == whole
    ours, theirs = files(tmp_path / "new"), files(tmp_path / "whole")
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert stamps == {p.name: p.stat().st_mtime_ns for p in small.glob("pictures/*")}  # sealed is immutable
    images = [str(root / "images"), *(str(root / source) for source in sources)]
    originals = ["--network", f"{tiny_net.__file__}:net", "--weights", str(root / "weights.safetensors")]
    assert main(["verify", str(tmp_path / "new"), "--replay", "5", *originals, "--images", *images]) == 0
    assert "5 examples from the original files" in capsys.readouterr().out


@pytest.mark.slow
def test_an_extended_atlas_can_be_extended(root: Path, small: Path, tmp_path: Path) -> None:
    extend(str(small), (str(root / "few"),), str(tmp_path / "once"))
    twice = extend(str(tmp_path / "once"), (str(root / "more"),), str(tmp_path / "twice"))
    assert twice == over_all(root, tmp_path / "whole", "few", "more")


def test_scans_only_what_is_new(root: Path, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.pool import Pool

    seen: list[int] = []
    whole = Pool.run

    def run(self: Any, chunks: Any, *rest: Any) -> None:
        seen.extend(chunks)
        raise KeyboardInterrupt

    monkeypatch.setattr(Pool, "run", run)
    with pytest.raises(KeyboardInterrupt):
        extend(str(small), (str(root / "few"),), str(tmp_path / "new"))
    assert seen == [2]  # the trailing short chunk
    assert whole is not run


def test_what_does_not_fit_is_refused(root: Path, small: Path, tmp_path: Path) -> None:
    tiny.write_images(tmp_path / "other", count=8, bad={})
    (tmp_path / "other" / "dog").rename(tmp_path / "other" / "aardvark")
    with pytest.raises(SettingsError, match="has classes ant, bee, cat"):
        extend(str(small), (str(tmp_path / "other"),), str(tmp_path / "new"))
    tiny.write_weights(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(SettingsError, match="another weights_digest"):
        extend(str(small), (str(root / "few"),), str(tmp_path / "new"), weights=str(tmp_path / "other.safetensors"))
    changed = tmp_path / "changed"
    changed.mkdir()
    about = json.loads((small / "atlas.json").read_text())
    about["data"]["manifest_digest"] = "0" * 64
    (changed / "atlas.json").write_text(json.dumps(about))
    (changed / "SHA256SUMS").write_text("")
    with pytest.raises(SettingsError, match="no longer the first"):
        extend(str(changed), (str(root / "few"),), str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_the_old_tables_are_enough(small: Path) -> None:
    """What is read of the old atlas is there under these names."""
    assert {"image_id", "class_id", "loss", "thumbnail"} <= set(pq.read_schema(small / "images.parquet").names)
    assert (small / "state" / "sample.safetensors").is_file()
