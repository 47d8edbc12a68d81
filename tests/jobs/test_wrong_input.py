"""Wrong input: exit 2, one line that says what, which and what to do; no worker starts, nothing is written."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from jobs.cli import main
from tests import tiny


@pytest.fixture(autouse=True)
def no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wire across the door of the cluster."""

    def tripped(*_: object) -> None:
        raise AssertionError("workers were started")

    monkeypatch.setattr("jobs.cluster.cluster", tripped)


@pytest.fixture
def root(tiny_root: Path, tmp_path: Path) -> Path:
    """A folder of one's own with the tiny images and weights in it."""
    (tmp_path / "images").symlink_to(tiny_root / "images")
    (tmp_path / "weights.safetensors").symlink_to(tiny_root / "weights.safetensors")
    return tmp_path


class Trap:
    """A pickle that runs code when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return eval, (f"open({str(self.path)!r}, 'w').close()",)


def refused(root: Path, capsys: pytest.CaptureFixture[str], *more: str, says: tuple[str, ...], out: str = "new") -> str:
    """Runs build with `more` options on top, and checks how it ends."""
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    code = main(tiny.arguments(tiny.settings(root, root / out), *more))
    said = capsys.readouterr()
    assert code == 2, said.err
    assert said.out == ""
    assert said.err.startswith("neuron-atlas: ")
    assert said.err.count("\n") == 1, said.err
    for word in says:
        assert word in said.err
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    return said.err


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--layers", "conv9"], ("--layers conv9", "conv2")),
        (["--exclude", "nothing"], ("--exclude nothing",)),
        (["-k", "0"], ("--k 0", "1 to 1000")),
        (["-k", "1000000000"], ("1000000000", "1 to 1000")),
        (["--images", "nowhere"], ("nowhere",)),
        (["--weights", "none.safetensors"], ("none.safetensors",)),
        (["--weights", "DEFAULT"], ("DEFAULT", "file")),
        (["--network", "resnet19"], ("resnet19", "resnet18")),
        (["--network", "none.py:net"], ("none.py",)),
        (["--map-layers", "conv9"], ("conv9",)),
        (["--code-layer", "conv9"], ("conv9",)),
        (["--chunk-size", "20"], ("20", "multiple")),
        (["--workers", "none"], ("none", "auto")),
        (["--class-names", "none.tsv"], ("none.tsv",)),
        (["--config", "none.toml"], ("none.toml",)),
    ],
)
def test_options(root: Path, capsys: pytest.CaptureFixture[str], more: list[str], says: tuple[str, ...]) -> None:
    refused(root, capsys, *more, says=says)


def test_no_weights(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--images", str(root / "images"), "--network", "resnet18", "--out", str(root / "new")]) == 2
    said = capsys.readouterr().err
    assert "--weights" in said
    assert said.count("\n") == 1
    assert not (root / "new").exists()


def test_an_empty_folder(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "empty").mkdir()
    refused(root, capsys, "--images", str(root / "empty"), says=("empty", "no images"))


def test_the_weights_of_another_network(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file(torch.nn.Conv2d(3, 4, 3).state_dict(), root / "other.safetensors")
    refused(
        root, capsys, "--weights", str(root / "other.safetensors"), says=("other.safetensors", "not the weights of")
    )


def test_weights_that_are_not_finite(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tiny.module().state_dict()
    state["conv2.weight"][0, 0] = float("nan")
    save_file(state, root / "nan.safetensors")
    refused(root, capsys, "--weights", str(root / "nan.safetensors"), says=("conv2.weight", "NaN"))


def test_damaged_weights(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "cut.safetensors").write_bytes((root / "weights.safetensors").read_bytes()[:500])
    refused(root, capsys, "--weights", str(root / "cut.safetensors"), says=("cut.safetensors",))


@pytest.mark.parametrize("name", ["trap.pt", "trap.bin"])
def test_a_pickle_that_runs_code(root: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    if name == "trap.pt":
        torch.save({"conv1.weight": Trap(root / "sprung")}, root / name)
    else:
        (root / name).write_bytes(pickle.dumps(Trap(root / "sprung")))
    refused(root, capsys, "--weights", str(root / name), says=(name, "refused"))
    assert not (root / "sprung").exists()


def test_an_unknown_key(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "job.toml").write_text("kk = 3\n")
    refused(root, capsys, "--config", str(root / "job.toml"), says=("kk", "expected one of"))


def test_an_output_folder_that_holds_something_else(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "mine").mkdir()
    (root / "mine/thesis.txt").write_text("years of work")
    refused(root, capsys, says=("mine", "something else"), out="mine")


def test_an_output_that_is_a_file(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "file").write_text("x")
    refused(root, capsys, says=("file",), out="file")


def test_other_settings_on_a_sealed_atlas(
    tiny_root: Path, tiny_atlas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny_atlas.rglob("*")}
    assert main(tiny.arguments(tiny.settings(tiny_root, k=5))) == 2
    said = capsys.readouterr().err
    assert "k was 9, now 5" in said
    assert said.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in tiny_atlas.rglob("*")} == before


def test_the_same_settings_on_a_sealed_atlas(
    tiny_root: Path, tiny_atlas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(tiny.arguments(tiny.settings(tiny_root))) == 0
    said = capsys.readouterr()
    assert "digest" in said.out
    assert "built already" in said.err


@pytest.mark.parametrize("words", [[], ["bild"], ["build", "--kay", "3"], ["build", "-k", "nine"]])
def test_the_command_itself(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
