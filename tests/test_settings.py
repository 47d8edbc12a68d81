"""Settings: every option from every place, and one line for each value that cannot be."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import SettingsError
from atlas.options import flag, read_toml
from atlas.settings import Settings, chunk_for, from_mapping
from jobs.cli import _parser, _settings

NEEDED: dict[str, Any] = {"images": ["a", "b"], "network": "resnet18", "out": "atlas"}
VALUES: dict[str, tuple[Any, str]] = {
    "images": (("x", "y z"), "x|y z"),
    "network": ("my.py:net", "my.py:net"),
    "out": ("there", "there"),
    "weights": ("w.pt", "w.pt"),
    "layers": (("conv1", "fc"), "conv1,fc"),
    "exclude": (("fc*",), "fc*"),
    "k": (5, "5"),
    "sides": (("min",), "min"),
    "sample": (100, "100"),
    "resize": (40, "40"),
    "crop": (32, "32"),
    "mean": ((0.5, 0.25, 1.0), "0.5,0.25,1.0"),
    "std": ((0.5, 0.25, 1.0), "0.5,0.25,1.0"),
    "interpolation": ("bicubic", "bicubic"),
    "crop_mode": ("squash", "squash"),
    "channels": (3, "3"),
    "output": ("logits", "logits"),
    "no_classes": (True, []),  # a flag alone
    "label_column": ("label", "label"),
    "image_column": ("image", "image"),
    "class_names": ("c.tsv", "c.tsv"),
    "code_layer": ("fc", "fc"),
    "map_layers": (("a", "b"), "a,b"),
    "projections": ((), ""),
    "projection_format": ("compact", "compact"),
    "neurons": ("4", "4"),
    "projection_sides": (("max", "spread"), "max,spread"),
    "evidence": (0, "0"),
    "occlusion": (2, "2"),
    "with_parts": (("words", "attributes"), "words,attributes"),
    "thumbnails": (0, "0"),
    "picture_size": (64, "64"),
    "batch_size": (8, "8"),
    "chunk_size": ("512", "512"),
    "threads": (2, "2"),
    "device": ("cpu", "cpu"),
    "dtype": ("bfloat16", "bfloat16"),
    "decode": ("gpu", "gpu"),
    "limit": (7, "7"),
    "seed": (3, "3"),
    "workers": ("4", "4"),
    "decode_threads": ("2", "2"),
    "decoders": ("3", "3"),
    "in_flight_mb": (64, "64"),
    "retries": (0, "0"),
    "address": ("ray://there", "ray://there"),
}


def test_every_setting_is_tried_here() -> None:
    assert set(VALUES) == {f.name for f in fields(Settings)}


@pytest.mark.parametrize("name", sorted(VALUES))
def test_flag_toml_and_python_agree(name: str, tmp_path: Path) -> None:
    value, text = VALUES[name]
    wanted = from_mapping({**NEEDED, name: value})
    assert getattr(wanted, name) == value
    known = {f.name: f for f in fields(Settings)}
    words = ["build"]
    for key, given in {**NEEDED, name: text}.items():
        words += [flag(known[key])]
        words += given if isinstance(given, list) else given.split("|") if key == "images" else [given]
    assert _settings(_parser().parse_args(words)) == wanted
    toml = tmp_path / "job.toml"
    lines = {**{k: repr(v) for k, v in NEEDED.items()}, name.replace("_", "-"): _toml(value)}
    toml.write_text("\n".join(f"{key} = {line}" for key, line in lines.items()))
    assert from_mapping(read_toml(str(toml))) == wanted


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(list(value)) if isinstance(value, tuple) else repr(value)


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text('images = ["i"]\nnetwork = "n"\nout = "o"\nk = 3\nchunk-size = 32\n')
    options = _parser().parse_args(["build", "--config", str(tmp_path / "job.toml"), "-k", "4"])
    assert (_settings(options).k, _settings(options).chunk_size) == (4, "32")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("k", 0, "1 to 1000"),
        ("k", 10**9, "1 to 1000"),
        ("k", "nine", "k"),
        ("k", True, "k"),
        ("sides", ["top"], "max, min, spread"),
        ("projections", "smoothgrad", "deconvnet"),
        ("mean", [0.5], "three numbers"),
        ("std", [0.5, 0.5, 0.0], "above 0"),
        ("mean", ["a", "b", "c"], "mean"),
        ("chunk_size", "1000", "multiple of --batch-size 16"),
        ("workers", "many", "auto"),
        ("workers", 0, "auto"),
        ("images", [], "at least one"),
        ("device", "tpu", "auto, cpu, cuda"),
        ("limit", 0, "1 to"),
        ("network", 3, "network"),
        ("kk", 3, "unknown key 'kk'"),
    ],
)
def test_wrong_values(name: str, value: Any, says: str) -> None:
    with pytest.raises(SettingsError) as error:
        from_mapping({**NEEDED, name: value})
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", sorted(NEEDED))
def test_what_is_needed_is_asked_for(name: str) -> None:
    with pytest.raises(SettingsError, match=f"--{name} is missing"):
        from_mapping({key: value for key, value in NEEDED.items() if key != name})


@pytest.mark.parametrize("body", [b"k = ", b"\xff\xfe", b"k = 1\nk = 2"])
def test_a_broken_file(body: bytes, tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_bytes(body)
    with pytest.raises(SettingsError, match=r"job\.toml"):
        read_toml(str(tmp_path / "job.toml"))


def test_a_missing_file() -> None:
    with pytest.raises(SettingsError, match=r"none\.toml"):
        read_toml("none.toml")


def test_the_identity_leaves_out_what_changes_nothing() -> None:
    mine = from_mapping(NEEDED)
    elsewhere = from_mapping({**NEEDED, "out": "other", "workers": "2", "address": "x", "retries": 9})
    assert mine.identity() == elsewhere.identity()
    assert mine.differences(from_mapping({**NEEDED, "k": 3}).identity()) == ["k"]


def test_every_setting_has_help() -> None:
    assert all(f.metadata["help"] for f in fields(Settings))
    assert {f.name for f in fields(Settings) if f.default is MISSING} == set(NEEDED)


@pytest.mark.parametrize(
    ("count", "batch", "chunk"),
    [(1, 16, 16), (1000, 16, 64), (256, 16, 16), (257, 16, 32), (10**6, 16, 1024), (10**6, 48, 1008), (9, 2048, 2048)],
)
def test_a_chunk_follows_from_the_number_of_images(count: int, batch: int, chunk: int) -> None:
    assert chunk_for(count, batch) == chunk
