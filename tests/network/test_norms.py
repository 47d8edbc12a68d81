"""Normalisations of any class: which are fused, and what is recorded."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atlas.network.layers import find_layers
from atlas.network.recorder import Recorder
from tests.small_nets import Small, conv


class Activated(nn.BatchNorm2d):
    """timm's `BatchNormAct2d` in short: the activation is hidden in the norm."""

    def __init__(self, channels: int, act: nn.Module) -> None:
        super().__init__(channels)
        self.drop, self.act = nn.Identity(), act

    def forward(self, x: Tensor) -> Tensor:
        x = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return self.act(self.drop(x))


class Frozen(nn.Module):
    """As torchvision's `FrozenBatchNorm2d`."""

    def __init__(self, channels: int, act: nn.Module) -> None:
        super().__init__()
        for name, value in (("weight", 2.0), ("bias", 1.0), ("running_mean", 0.5), ("running_var", 4.0)):
            self.register_buffer(name, torch.full((channels,), value))
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        scale = (self.weight * (self.running_var + 1e-5).rsqrt()).reshape(1, -1, 1, 1)
        shift = (self.bias - self.running_mean * (self.weight * (self.running_var + 1e-5).rsqrt())).reshape(1, -1, 1, 1)
        return self.act(x * scale + shift)


@pytest.mark.parametrize(
    ("norm", "rectified"),
    [
        (Activated(3, nn.ReLU(inplace=True)), True),
        (Activated(3, nn.SiLU()), False),
        (Frozen(3, nn.Identity()), True),  # a rectifier follows, wherever it is called
        (nn.SyncBatchNorm(3), True),
    ],
)
def test_batch_norms_of_any_class_are_fused_before_the_activation(norm: nn.Module, rectified: bool) -> None:
    after = (lambda m, x: m.bn(m.conv(x))) if isinstance(norm, Activated) else (lambda m, x: F.relu(m.bn(m.conv(x))))
    net = Small(after, conv=conv(), bn=norm).eval()
    for buffer in norm.buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand(buffer.shape) + 0.5)
    found = find_layers(net, 8, 8)[0]
    assert (found.name, found.normalised, found.rectified) == ("conv", "bn", rectified)
    x, got = torch.randn(2, 3, 8, 8), {}
    with torch.no_grad(), Recorder(net, [found], lambda layer, maps: got.update(maps=maps.clone())) as recorder:
        recorder.run(x)
        inner = net.conv(x)
        scale, shift = (getattr(norm, name).view(1, -1, 1, 1) for name in ("weight", "bias"))
        mean, var = (getattr(norm, name).view(1, -1, 1, 1) for name in ("running_mean", "running_var"))
        torch.testing.assert_close(got["maps"], (inner - mean) / (var + 1e-5).sqrt() * scale + shift)


def test_other_norms_are_not_fused() -> None:
    for norm in (nn.GroupNorm(1, 3), nn.InstanceNorm2d(3), nn.LayerNorm([3, 8, 8])):
        found = find_layers(Small(lambda m, x: m.bn(m.conv(x)), conv=conv(), bn=norm), 8, 8)[0]
        assert (found.module, found.normalised) == ("conv", None)
