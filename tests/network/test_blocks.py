"""Residual blocks: the innermost module whose call adds two paths from one of its inputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from atlas.network.layers import find_layers
from tests.small_nets import Small, conv, names


class Add(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class Wrap(nn.Module):
    """A residual block whose addition is a module of its own, or a method of PyTorch's."""

    def __init__(self, add: Any) -> None:
        super().__init__()
        self.conv, self.add = conv(), add

    def forward(self, x: Tensor) -> Tensor:
        return self.add(self.conv(x), x)


@pytest.mark.parametrize("add", [Add(), torch.add, lambda a, b: a.add_(b), lambda a, b: b + a])
def test_a_block_is_the_innermost_module_that_adds_two_paths_of_its_input(add: Any) -> None:
    net = Small(lambda m, x: m.outer(x), outer=nn.Sequential(conv(), Wrap(add), nn.ReLU()))
    found = find_layers(net, 8, 8)
    assert [(each.name, each.kind) for each in found] == [
        ("outer.0", "conv"), ("outer.1.conv", "conv"), ("outer.1", "block"), ("head", "linear"),
    ]  # fmt: skip
    assert found[2].rectified


@pytest.mark.parametrize(
    "body",
    [
        lambda m, x: m.conv(x) + x,  # in the network itself
        lambda m, x: m.seq(x) + 1,
        lambda m, x: m.seq(x) + m.bias,
    ],
)
def test_what_is_no_block(body: Any) -> None:
    net = Small(body, conv=conv(), seq=nn.Sequential(conv()))
    net.bias = nn.Parameter(torch.ones(3, 1, 1))
    assert "block" not in [each.kind for each in find_layers(net, 8, 8)]


class Twice(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + x


def test_one_path_added_twice_is_no_block() -> None:
    net = Small(lambda m, x: m.twice(m.conv(x)), conv=conv(), twice=Twice())
    assert names(find_layers(net, 8, 8)) == ["conv", "head"]


def test_nested_blocks_are_each_a_layer() -> None:
    inner = Wrap(Add())
    outer = Wrap(Add())
    outer.conv = nn.Sequential(inner, conv())  # type: ignore[assignment]
    found = find_layers(Small(lambda m, x: m.outer(m.conv(x)), conv=conv(), outer=outer), 8, 8)
    assert names(found) == ["conv", "outer.conv.0.conv", "outer.conv.0", "outer.conv.1", "outer", "head"]
