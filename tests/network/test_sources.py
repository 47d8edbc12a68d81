"""Sources of networks: names, what travels, timm's configuration and preprocessing, outputs."""

from __future__ import annotations

import json
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from atlas.errors import NetworkError
from atlas.images.decode import Preprocessing, decode, to_input
from atlas.network import load
from atlas.network.layers import find_layers
from atlas.network.load import Ask
from atlas.network.outputs import one_output
from atlas.network.sources import SOURCES, may_come_from_an_atlas, source_of

pytestmark = pytest.mark.usefixtures("one_thread")
CFG: dict[str, Any] = {
    "input_size": [3, 32, 32],
    "crop_pct": 0.9,
    "crop_mode": "squash",
    "interpolation": "bicubic",
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.25, 0.3],
    "num_classes": 4,
    "pool_size": [1, 1],
    "first_conv": "conv1.0",
    "classifier": "fc",
    "label_names": ["ant", "bee", "cat", "dog"],
}


@pytest.fixture
def timm() -> Any:
    load.import_torchvision()
    return pytest.importorskip("timm")


@pytest.fixture
def folder(timm: Any, tmp_path: Path) -> Path:
    """A model folder as the hub has them: config.json and model.safetensors."""
    torch.manual_seed(0)
    net = timm.create_model("resnet10t", num_classes=4)
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    config = {"architecture": "resnet10t", "num_classes": 4, "num_features": 512, "pretrained_cfg": CFG}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_names_and_their_sources() -> None:
    assert [s.name for s in SOURCES] == ["timm", "file", "torchvision"]
    names = {"resnet18": "torchvision", "timm:resnet18.a1_in1k": "timm", "a/b.py:make": "file",
             "timm:hf-hub:u/n": "timm", "timm:local-dir:/x": "timm"}  # fmt: skip
    assert {name: source_of(name).name for name in names} == names
    safe = ["resnet18", "timm:resnet18.a1_in1k", "timm:hf-hub:u/n"]
    assert [name for name in names if may_come_from_an_atlas(name)] == safe


def test_a_local_folder_with_configuration_and_weights(folder: Path, timm: Any) -> None:
    name = f"timm:local-dir:{folder}"
    source = load.fetch(name, "DEFAULT")
    assert source.code is not None
    assert str(folder).encode() not in source.code  # no path travels
    for path in folder.iterdir():
        path.unlink()
    made = load.build(source)  # on another machine
    assert made.labels == ("ant", "bee", "cat", "dog")
    assert made.preprocessing == Preprocessing(
        35, 32, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), "bicubic", crop_mode="squash", channels=3
    )
    torch.manual_seed(0)
    want = timm.create_model("resnet10t", num_classes=4).eval()
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(made.module(x), want(x))
    assert find_layers(made.module, 32, 32)[-1].channels == 4


def test_grey_networks_of_timm_are_adapted_as_timm_does(folder: Path, timm: Any) -> None:
    name = f"timm:local-dir:{folder}"
    made = load.load(name, "DEFAULT", Ask(channels=1))
    want = timm.create_model(f"local-dir:{folder}", pretrained=True, in_chans=1).eval()
    x = torch.randn(2, 1, 32, 32)
    assert torch.equal(made.module(x), want(x))
    assert made.preprocessing.channels == 1
    assert made.preprocessing.mean == pytest.approx((0.4,))


def test_names_that_do_not_exist_are_said(timm: Any, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"timm has no architecture 'resnet81d'; did you mean resnet18d"):
        load.fetch("timm:resnet81d", "DEFAULT")
    with pytest.raises(NetworkError, match=r"--network timm:resnet18\.nope: timm cannot find it"):
        load.fetch("timm:resnet18.nope", "DEFAULT")
    with pytest.raises(NetworkError, match=r"timm cannot find it \(FileNotFoundError"):
        load.fetch(f"timm:local-dir:{tmp_path}/none", "DEFAULT")
    with pytest.raises(NetworkError, match="--channels 1: torchvision's resnet18 takes 3"):
        load.bare("resnet18", Ask(channels=1))
    with pytest.raises(NetworkError, match="only torchvision and timm networks have default weights"):
        load.fetch(f"{_file(tmp_path, 'import torch.nn as nn')}:make", "DEFAULT")


def _file(folder: Path, code: str) -> Path:
    path = folder / "mine.py"
    path.write_text(code)
    return path


def test_a_file_may_import_timm_itself(timm: Any, tmp_path: Path) -> None:
    path = _file(tmp_path, "import timm\ndef make():\n    return timm.create_model('resnet10t', num_classes=3)\n")
    assert find_layers(load.bare(f"{path}:make"), 32, 32)[-1].channels == 3


MODES = [
    *(("center", pct, how) for pct, how in ((0.875, "bicubic"), (1.0, "bilinear"), (0.95, "lanczos"))),
    *(("squash", pct, how) for pct, how in ((0.9, "bicubic"), (1.0, "bilinear"), (0.8, "nearest"))),
    *(("border", pct, how) for pct, how in ((0.9, "bicubic"), (1.0, "bilinear"), (0.85, "bicubic"))),
]


def photographs(data: Any, count: int) -> list[Image.Image]:
    paths = sorted(p for p in Path(data).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    return [decode(p.read_bytes()) for p in paths[:: max(1, len(paths) // count)][:count]]


@pytest.mark.data
@pytest.mark.parametrize(("mode", "pct", "how"), MODES)
def test_inputs_are_those_of_timms_own_transform(timm: Any, data: Any, mode: str, pct: float, how: str) -> None:
    same_as_timm(timm, photographs(data, 50), mode, pct, how)


@pytest.mark.parametrize(("mode", "pct", "how"), MODES)
def test_inputs_of_odd_shapes_are_those_of_timm(timm: Any, mode: str, pct: float, how: str) -> None:
    rng = np.random.default_rng(3)
    shapes = [(37, 91), (91, 37), (64, 64), (200, 33), (20, 21), (225, 224), (7, 150)]
    same_as_timm(timm, [Image.fromarray(rng.integers(0, 256, (*s, 3), dtype=np.uint8)) for s in shapes], mode, pct, how)


def same_as_timm(timm: Any, images: list[Image.Image], mode: str, pct: float, how: str) -> None:
    """To the bit before normalisation, as both use Pillow's resampler; within 1/255 after."""
    cfg = {**CFG, "input_size": (3, 96, 96), "crop_pct": pct, "crop_mode": mode, "interpolation": how}
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, pretrained_cfg=cfg))
    from atlas.network.sources import of_timm

    ours = of_timm.preprocessing("timm:x", json.dumps({"pretrained_cfg": cfg}).encode())
    assert ours is not None
    mean, std = (torch.tensor(v)[:, None, None] for v in (ours.mean, ours.std))
    for image in images:
        pixels = torch.from_numpy(to_input(image, ours)).permute(2, 0, 1)
        theirs = transform(image) * std + mean  # 0 to 1
        assert float((pixels / 255 - theirs).abs().max()) <= 1 / 255
        assert torch.equal(pixels, (theirs * 255).round().to(torch.uint8))


def test_grey_is_taken_as_it_is_stored() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    image = Image.fromarray(grey).convert("RGB")
    got = to_input(image, Preprocessing(32, 32, (0.5,), (0.5,), channels=1))
    assert np.array_equal(got[..., 0], grey)
    assert got.shape == (32, 32, 1)


# Outputs


class Several(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.conv, self.head = how, nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Any:
        maps = self.conv(x)
        logits = self.head(maps.mean((2, 3)))
        return {
            "tuple": (maps, logits),
            "dict": {"logits": logits, "embedding": maps.mean((2, 3)), "count": 3},
            "named": namedtuple("Out", "maps logits")(maps, logits),
            "map": maps,
        }[self.how]


def test_one_output_of_several() -> None:
    x = torch.randn(2, 3, 8, 8)
    for how in ("tuple", "named"):
        assert one_output(Several(how)(x)).shape == (2, 2)
    assert one_output(Several("named")(x), "logits").shape == (2, 2)
    assert one_output(Several("tuple")(x), "1").shape == (2, 2)
    assert one_output(Several("dict")(x), "embedding").shape == (2, 4)
    assert one_output(Several("map")(x), classes=False).shape == (2, 4)
    with pytest.raises(NetworkError, match=r"returns logits \(2, 2\), embedding \(2, 4\), count int; say which"):
        one_output(Several("dict")(x))
    with pytest.raises(NetworkError, match=r"--output scores: the network returns logits \(2, 2\)"):
        one_output(Several("dict")(x), "scores")
    with pytest.raises(NetworkError, match=r"--output 0: the network returns one tensor \(2, 4, 6, 6\)"):
        one_output(Several("map")(x), "0")


def test_a_network_with_several_outputs_is_built_and_traced(tmp_path: Path) -> None:
    code = (
        "import torch.nn as nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)\n    def forward(self, x):\n"
        "        y = self.conv(x)\n        return {'features': y.mean((2, 3)), 'logits': self.head(y.mean((2, 3)))}\n"
        "make = Net\n"
    )
    path = _file(tmp_path, code)
    save_file(load.bare(f"{path}:make", Ask(output="logits")).state_dict(), tmp_path / "w.safetensors")
    for output, expected in (("logits", 2), ("features", 4)):
        made = load.load(f"{path}:make", str(tmp_path / "w.safetensors"), Ask(output=output))
        assert made.module(torch.zeros(1, 3, 8, 8)).shape == (1, expected)
        assert [layer.name for layer in find_layers(made.module, 8, 8)] == ["conv", "head"]
