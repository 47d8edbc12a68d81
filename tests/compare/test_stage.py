"""The whole part: an atlas beside itself, a permuted one, an untrained one, and a table of answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from atlas.errors import InputError, SettingsError
from atlas.store.sealed import Sealed
from jobs import cli
from jobs.add import add
from jobs.build import build
from tests import tiny, tiny_net

COUNT = 240


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images and weights."""
    folder = tmp_path_factory.mktemp("compared")
    tiny.write_images(folder / "images", count=COUNT)
    tiny.write_weights(folder / "weights.safetensors")
    return folder


def built(root: Path, name: str, weights: Path) -> Path:
    settings = tiny.settings(
        root,
        root / name,
        k=2,
        projections=(),
        evidence=0,
        sample=1000,
        weights=str(weights),
        network=f"{tiny_net.__file__}:net",
    )
    build(settings)
    return root / name


@pytest.fixture(scope="module")
def a(root: Path, embedded_ray: None) -> Path:
    return built(root, "a", root / "weights.safetensors")


@pytest.fixture(scope="module")
def b(root: Path, a: Path) -> Path:
    """The same network with other weights."""
    return built(root, "b", tiny.write_weights(root / "other.safetensors", seed=1))


@pytest.fixture
def fresh(a: Path, tmp_path: Path) -> Path:
    shutil.copytree(a, tmp_path / "fresh", ignore=shutil.ignore_patterns("parts"))
    return tmp_path / "fresh"


def table(folder: Path, part: str, name: str) -> list[dict[str, Any]]:
    return pq.read_table(folder / "parts" / part / f"{name}.parquet").to_pylist()


def summary(folder: Path, part: str) -> dict[str, Any]:
    return dict(json.loads((folder / "parts" / part / "part.json").read_text())["summary"])


def test_an_atlas_beside_itself_has_not_changed(a: Path, fresh: Path) -> None:
    add(str(fresh), "compare", to=str(a), workers="1")
    for row in table(fresh, "compare@a", "matches"):
        if row["other_layer"] is not None:
            assert row["correlation"] == pytest.approx(1)
    assert table(fresh, "compare@a", "flips") == []
    assert table(fresh, "compare@a", "moved") == []
    for row in table(fresh, "compare@a", "layers_cka"):
        if row["layer"] == row["other_layer"] and row["cka"] is not None:
            assert row["cka"] == pytest.approx(1, abs=1e-6)
            assert row["low"] <= row["cka"] <= row["high"]
    said = summary(fresh, "compare@a")
    assert said["flips"] == said["classes_gained"] == said["classes_lost"] == said["died"] == said["woke"] == 0
    assert said["shared_images"] == COUNT


def permuted(state: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], np.ndarray]:
    """The tiny network with the channels of its residual path in another order, for all that write and read them."""
    order = np.random.default_rng(0).permutation(state["conv1.weight"].shape[0])
    changed = dict(state)
    for name, value in state.items():
        written = name.startswith(("conv1.", "bn1.", "block.conv2.", "block.bn2."))
        if written and value.ndim:
            changed[name] = value[order].contiguous()
    for name in ("conv2.weight", "block.conv1.weight"):
        changed[name] = state[name][:, order].contiguous()
    return changed, order


def test_a_permuted_network_is_matched_rightly(root: Path, fresh: Path) -> None:
    state, order = permuted(load_file(root / "weights.safetensors"))
    save_file(state, root / "permuted.safetensors")
    other = built(root, "permuted", root / "permuted.safetensors")
    add(str(fresh), "compare", to=str(other), workers="1")
    matches = [row for row in table(fresh, "compare@permuted", "matches") if row["layer"] == "conv1"]
    for row in matches:
        assert row["other_layer"] == "conv1"
        assert order[row["other_channel"]] == row["channel"]
        assert row["mutual"]
        assert row["correlation"] > row["null95"]
    assert table(fresh, "compare@permuted", "flips") == []
    for row in table(fresh, "compare@permuted", "layers_cka"):
        if row["layer"] == row["other_layer"] and row["cka"] is not None:
            assert row["cka"] == pytest.approx(1, abs=1e-4)


def test_another_network_its_digest_and_its_replay(b: Path, fresh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digests = set()
    for workers in ("1", "2"):
        digests.add(add(str(fresh), "compare", "other", to=str(b), workers=workers))
        if workers == "1":
            shutil.rmtree(fresh / "parts")
    assert len(digests) == 1
    flips = table(fresh, "compare@other", "flips")
    images = Sealed(str(fresh)).table("images").to_pylist()
    others = {row["key"]: row for row in Sealed(str(b)).table("images").to_pylist()}
    expected = [row for row in images if row["predicted"] != others[row["key"]]["predicted"]]
    assert [row["image_id"] for row in flips] == [row["image_id"] for row in expected]
    assert {row["image_id"] for row in table(fresh, "compare@other", "moved")} <= {row["image_id"] for row in flips}
    classes = table(fresh, "compare@other", "class_changes")
    assert sum(row["n"] for row in classes) == COUNT
    assert summary(fresh, "compare@other")["flips"] == len(flips)
    assert cli.main(["verify", str(fresh), "--replay", "5", "--to", str(b)]) == 0
    said = capsys.readouterr().out
    assert "part compare@other: sound" in said
    assert "part compare@other: replay: " in said
    assert cli.main(["verify", str(fresh), "--replay", "5"]) == 0
    assert "part compare@other: replay: not checked" in capsys.readouterr().out


def test_a_third_atlas_is_refused_for_the_same_name(a: Path, b: Path, fresh: Path) -> None:
    add(str(fresh), "compare", "x", to=str(b), workers="1")
    with pytest.raises(SettingsError, match="to was"):
        add(str(fresh), "compare", "x", to=str(a))


def test_too_few_shared_images_are_refused_with_the_number(
    fresh: Path, root: Path, tiny_atlas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=r"\d+ images are shared by .*: expected at least 200"):
        add(str(fresh), "compare", to=str(tiny_atlas))
    assert cli.main(["add", "compare", str(fresh)]) == 2
    assert "--to" in capsys.readouterr().err


@pytest.mark.parametrize("write", [pq.write_table, lambda t, p: p.write_text(_csv(t))], ids=["parquet", "csv"])
def test_a_table_of_answers(fresh: Path, tmp_path: Path, write: Callable[[pa.Table, Path], object]) -> None:
    images = Sealed(str(fresh)).table("images").to_pylist()
    answers = pa.table({"key": [row["key"] for row in images], "class": [row["class_name"] for row in images]})
    path = tmp_path / ("people.parquet" if write is pq.write_table else "people.csv")
    write(answers, path)
    add(str(fresh), "compare", to=str(path), workers="1")
    wrong = [row["image_id"] for row in images if row["predicted"] != row["class_id"]]
    assert [row["image_id"] for row in table(fresh, "compare@people", "flips")] == wrong
    said = summary(fresh, "compare@people")
    assert said["other_accuracy"] == 1
    assert said["flips"] == len(wrong)
    assert table(fresh, "compare@people", "matches") == []
    path.write_bytes(b"")
    with pytest.raises(SettingsError, match="to was"):
        add(str(fresh), "compare", to=str(path))
    with pytest.raises(SettingsError, match=r"expected a table of answers|none is known"):
        add(str(fresh), "compare", "again", to=str(path))


def _csv(table: pa.Table) -> str:
    return "key,class\n" + "".join(f"{row['key']},{row['class']}\n" for row in table.to_pylist())
