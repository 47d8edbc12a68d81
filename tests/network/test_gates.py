"""Gated fields: with gates held nothing outside the box counts, and the box holds the whole gradient support."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atlas.network.gates import Gates
from atlas.network.layers import find_layers
from atlas.network.load import import_torchvision
from atlas.network.recorder import as_maps
from atlas.types import Layer
from tests import token_nets
from tests.naive_receptive import detached_gates, linear_outputs, make_positive, support, torchvision_network

pytestmark = pytest.mark.usefixtures("one_thread")
SIDE = 40


class Gated(nn.Module):
    """Two convolutions, and between them a gate, or a norm over all positions."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.how = how
        self.one, self.two = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, 2, padding=1)
        self.gate, self.head = nn.Conv2d(6, 6, 1), nn.Linear(6, 2)
        self.group, self.instance = nn.GroupNorm(3, 6), nn.InstanceNorm2d(6, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        pooled = torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        x = {
            "excite": lambda: x * pooled,
            "in place": lambda: x.clone().mul_(pooled),
            "first": lambda: pooled * x,
            "expanded": lambda: x * pooled.expand_as(x),
            "enlarged": lambda: x * F.interpolate(pooled, x.shape[2:]).sigmoid(),
            "divided": lambda: x / (1 + pooled),
            "group": lambda: self.group(x),
            "instance": lambda: self.instance(x),
            "layer": lambda: F.layer_norm(x, x.shape[1:]),
        }[self.how]()
        return self.head(self.two(x).mean((2, 3)))


HOWS = ("excite", "in place", "first", "expanded", "enlarged", "divided", "group", "instance", "layer")


def maps(module: nn.Module, layer: Layer, x: Tensor, gates: Any) -> Tensor:
    found: list[Tensor] = []
    handle = module.get_submodule(layer.module).register_forward_hook(lambda _m, _i, output: found.append(output * 1.0))
    with torch.no_grad(), gates:
        module(x)
    handle.remove()
    return as_maps(found[layer.call - 1], layer.channel_axis)


def outside(module: nn.Module, layer: Layer, shrink: int = 0, held: bool = True) -> float:
    """The largest change of a response in the middle when all outside its box (or one smaller) is noise."""
    x = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    gates = Gates([])
    before = maps(module, layer, x, gates)
    y, width = layer.height // 2, layer.width // 3
    box = layer.field.box(y, width)
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    rows = slice(max(int(box.top) + shrink, 0), int(box.bottom) - shrink)
    columns = slice(max(int(box.left) + shrink, 0), int(box.right) - shrink)
    noise[..., rows, columns] = x[..., rows, columns]
    after = maps(module, layer, noise, gates.again() if held else torch.no_grad())
    return float((before - after)[..., y, width].abs().max())


@pytest.mark.parametrize("how", HOWS)
def test_with_gates_held_nothing_outside_counts(how: str) -> None:
    module = Gated(how).double().eval()
    layer = find_layers(module, SIDE, SIDE)[-2]
    assert layer.field.gated
    assert outside(module, layer) < 1e-12
    assert outside(module, layer, held=False) > 1e-6  # the gate sees it
    assert outside(module, layer, shrink=1) > 1e-6  # and one pixel less is seen


def test_gates_of_a_global_response_normalisation() -> None:
    module = token_nets.convnext().double().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    gated = [layer for layer in find_layers(module, SIDE, SIDE) if layer.field.gated]
    assert {"one.down", "two.up", "two.down"} <= {layer.name for layer in gated}
    for layer in gated:
        assert outside(module, layer) < 1e-9
        assert outside(module, layer, held=False) > 1e-9


def test_what_is_said_is_not_changed() -> None:
    module = Gated("excite").eval()
    layer, x = find_layers(module, SIDE, SIDE)[-2], torch.randn(1, 3, SIDE, SIDE)
    gates = Gates([])
    bare = maps(module, layer, x, torch.no_grad())
    assert torch.equal(maps(module, layer, x, gates), bare)
    assert torch.equal(maps(module, layer, x, gates.again()), bare)


# Gradient support with gates detached


def torchvision(name: str) -> Callable[[], nn.Module]:
    return lambda: torchvision_network(name)


def timm(name: str, **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import_torchvision()
        return pytest.importorskip("timm").create_model(name, num_classes=3, **options)

    return make


NETWORKS = {
    **{n: torchvision(n) for n in ("efficientnet_b0", "mobilenet_v3_small", "regnet_y_400mf")},
    **{n: timm(n) for n in ("convnextv2_atto", "ghostnet_050", "mnasnet_small", "semnasnet_075")},
    **{n: timm(n) for n in ("tinynet_e", "mobilenetv3_small_050", "hardcorenas_a", "seresnext26d_32x4d")},
    **{n: timm(n) for n in ("regnety_002", "rexnet_100", "ecaresnet26t", "resnetv2_50x1_bit", "fbnetv3_b")},
}
HEAVY = ("seresnext26d_32x4d", "resnetv2_50x1_bit", "ecaresnet26t", "fbnetv3_b", "rexnet_100", "hardcorenas_a")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in HEAVY else n for n in NETWORKS])
def test_gated_boxes_hold_the_gradient_support(name: str) -> None:
    side = 96
    module = make_positive(NETWORKS[name]())
    gated = [each for each in find_layers(module, side, side) if each.field.gated and min(each.height, each.width) > 1]
    assert len(gated) >= 3, [each.name for each in gated]
    chosen = [*gated[:: -(-len(gated) // 5)], gated[-1]]
    with detached_gates():
        image, found = linear_outputs(module, [(each.module, each.call) for each in chosen], side, side)
    inner = 0
    for each in chosen:
        output = as_maps(found[each.module, each.call], each.channel_axis)
        for y, x in {(0, 0), (each.height // 2, each.width // 2), (each.height - 1, each.width - 1)}:
            box, got = each.field.box(y, x), support(image, output[:, :, y, x])
            want = (max(box.top, 0), min(box.bottom, side), max(box.left, 0), min(box.right, side))
            assert got[0] >= want[0], (each.name, got, box)
            assert got[1] <= want[1], (each.name, got, box)
            assert got[2] >= want[2], (each.name, got, box)
            assert got[3] <= want[3], (each.name, got, box)
            inner += got == want and (box.top > 0 or box.bottom < side)
    assert inner  # some box ends inside of the image, and exactly there
