"""The rules against the slow version from the papers, where Captum gives the plain gradient; and in float32."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.drawing import KINDS, network, output_of, picture, relative
from tests.naive_projections import Projector

pytestmark = pytest.mark.usefixtures("one_thread")


NAIVE: dict[str, tuple[str, ...]] = {
    "squeezenet1_1": ("features.6.expand3x3",),
    "mobilenet_v2": ("features.3.conv.1.0", "features.7.conv.3", "features.18.0"),
    "googlenet": ("conv2.bn", "inception3b.branch3.1.bn", "inception4d.branch4.1.conv"),
    "inception_v3": ("Mixed_5d.branch_pool.bn", "Mixed_6b.branch7x7_3.bn", "Mixed_7a.branch7x7x3_4.conv"),
}


def _check_naive(net: nn.Module, layers: tuple[str, ...], x: Tensor) -> None:
    naive = Projector(net)
    for layer in layers:
        value = output_of(net, layer, x)
        channel = int(value.flatten(2).amax(2)[0].argmax())
        for y, left in ((value.shape[2] // 2, value.shape[3] // 3), (value.shape[2] - 1, 0)):
            got = picture(net, layer, x, (channel, y, left))
            for kind in KINDS:
                expected = naive.project(x, layer, channel, y, left, kind)
                assert relative(got[kind], expected) <= 1e-9, (layer, kind)


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v2"])
def test_against_the_slow_version(name: str) -> None:
    _check_naive(network(name), NAIVE[name][:1], torch.randn(1, 3, 64, 64, dtype=torch.float64))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "googlenet", "inception_v3"])
def test_against_the_slow_version_on_the_list(name: str) -> None:
    x = torch.randn(1, 3, 107, 107, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    _check_naive(network(name), NAIVE[name], x)


@pytest.mark.data
def test_resnet20_against_the_slow_version(data: Path) -> None:
    from safetensors.torch import load_file

    spec = importlib.util.spec_from_file_location("users_resnet20", data / "cifar10/resnet20.py")
    assert spec is not None
    assert spec.loader is not None
    users = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(users)
    net = users.net().eval()
    net.load_state_dict(load_file(data / "cifar10/resnet20.safetensors"))
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    _check_naive(net.double(), ("layer1.1.bn2", "layer2.0.bn1", "layer3.0.bn2", "layer3.2.bn2"), x)


# ---- float32


class _NearTies(torch.overrides.TorchFunctionMode):
    """Counts rectifier inputs, and gaps between the two largest inputs of a pool, within 1e-5 of the tensor's scale."""

    count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.relu:
            x = args[0]
            self.count += int((x.abs() < 1e-5 * x.abs().max()).sum())
        if func is F.max_pool2d:
            x, kernel, stride = args[0], args[1], (kwargs or {})["stride"]
            windows = F.pad(x, (0, kernel, 0, kernel), value=-1e30).unfold(2, kernel, stride).unfold(3, kernel, stride)
            top = windows.flatten(4).topk(2).values
            gap = top[..., 0] - top[..., 1]
            self.count += int(((gap < 1e-5 * x.abs().max()) & (gap > 0)).sum())
        return func(*args, **(kwargs or {}))


def test_float32_agrees_save_counted_near_ties(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(1)
    net = network("squeezenet1_1")
    x = torch.randn(8, 3, 64, 64, dtype=torch.float64)
    ties = differing = 0
    for row in x:
        image = row[None]
        exact = picture(net, "features.4.expand3x3", image, (3, 3, 3))
        near = picture(net.float(), "features.4.expand3x3", image.float(), (3, 3, 3))
        net.double()
        with _NearTies() as counter, torch.no_grad():
            net(image)
        wrong = [k for k in KINDS if relative(near[k].double(), exact[k]) > 1e-5]
        assert not wrong or counter.count > 0
        ties += counter.count
        differing += bool(wrong)
    with capsys.disabled():
        print(f" [{differing} of 8 differ by more than 1e-5 in float32; near ties: {ties}]", end="")
    assert differing <= 2
