"""A response is the sum of the contributions of the maps that its layer reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atlas.connections.apart import Apart, take_apart
from atlas.connections.contributions import Parts, Places, contributions
from atlas.connections.origins import Table
from atlas.network.graph import trace
from atlas.network.layers import example, layers_of
from atlas.network.load import import_torchvision
from atlas.types import Layer
from tests import tiny
from tests.naive_connections import conv_contributions
from tests.small_nets import Small, users_network

pytestmark = pytest.mark.usefixtures("one_thread")
NETWORKS = ("squeezenet1_0", "resnet18", "densenet121", "googlenet", "mobilenet_v2")


def apart_of(module: nn.Module, size: int = 32) -> tuple[list[Layer], list[Apart], Table]:
    graph = trace(module.eval(), example(module, size, size))
    layers = layers_of(graph)
    return layers, *take_apart(graph, layers)


def places(layers: list[Layer], count: int, images: int, seed: int = 0) -> Places:
    """Random positions of random neurons, every layer at least once."""
    rng = np.random.default_rng(seed)
    number = np.arange(max(count, len(layers))) % len(layers)
    drawn = [[int(rng.integers(0, n)) for n in (images, layers[i].channels, layers[i].height, layers[i].width)]
             for i in number]  # fmt: skip
    row, channel, y, x = np.array(drawn).T
    return Places(number, row, channel, y, x)


def worst(found: dict[int, Parts]) -> float:
    """The largest miss as a share of the root mean square of its layer's sums."""
    return max(float(p.error.max() / max(np.sqrt(np.square(p.total).mean()), 1e-30)) for p in found.values())


def ready(module: nn.Module) -> nn.Module:
    """Weights and batch statistics at which responses keep their size through the depth."""
    generator = torch.Generator().manual_seed(5)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
            part.bias.data.uniform_(-0.2, 0.4, generator=generator)
    with torch.no_grad():
        module.train()(torch.rand(4, 3, 64, 64, generator=generator))
    return module.eval().requires_grad_(False)


@pytest.mark.parametrize("name", NETWORKS)
def test_contributions_add_up_in_torchvisions_networks(name: str) -> None:
    torch.manual_seed(3)
    extra = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    module = ready(import_torchvision().models.get_model(name, weights=None, **extra))
    inputs = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    for dtype, limit in ((torch.float32, 1e-5), (torch.float64, 1e-9)):
        module.to(dtype)
        layers, aparts, table = apart_of(module, 64)
        assert [each.why for each in aparts] == [None] * len(layers)
        at = places(layers, 4 * len(layers), len(inputs))
        assert worst(contributions(module, aparts, inputs.to(dtype), at)) <= limit
        for apart in aparts[1:]:
            assert all(table[int(i)].recorded for i in apart.origins.unique()), apart.layer.name


@pytest.mark.data
def test_contributions_add_up_in_a_users_network(data: Path) -> None:
    module = ready(users_network(data))
    module.double()
    layers, aparts, table = apart_of(module)
    assert [each.why for each in aparts] == [None] * len(layers)
    found = contributions(module, aparts, torch.rand(2, 3, 32, 32).double(), places(layers, 200, 2))
    assert worst(found) <= 1e-9
    block = next(a for a in aparts if a.layer.name == "layer2.0")
    branches = [[table[int(i)] for i in block.origin(channel)] for channel in (0, 8, 31)]
    assert branches[1][0].layer == "layer2.0.conv2"
    assert branches[1][1] == ("layer1.2", 0, True)  # the shortcut pads eight channels of zeros on both sides
    assert branches[0][1].layer == branches[2][1].layer == "constant"


class Odd(nn.Module):
    """Groups, strides, dilation, unequal padding, a batch norm, reflection, a concatenation, a linear layer on maps."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 6, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2), bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.b = nn.Conv2d(6, 4, 3, padding=1, groups=2)
        self.c = nn.Conv2d(7, 5, 3, padding=2, padding_mode="reflect")
        self.tokens = nn.Linear(5, 4)
        self.head = nn.Linear(4 * 3 * 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.norm(self.a(x)))
        x = self.c(torch.cat([self.b(a), a[:, ::2]], 1))
        x = self.tokens(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.head(F.adaptive_max_pool2d(x.sigmoid(), 3).flatten(1))


def test_a_convolution_is_what_loops_make_of_it() -> None:
    torch.manual_seed(0)
    module = ready(Odd()).double()
    layers, aparts, table = apart_of(module, 12)
    image = torch.rand(3, 3, 12, 12).double()
    at = places(layers, 120, 3, seed=2)
    found = contributions(module, aparts, image, at)
    assert worst(found) < 1e-12
    with torch.no_grad():
        a = F.relu(module.norm(module.a(image)))
        read = {"a": image, "b": a, "c": torch.cat([module.b(a), a[:, ::2]], 1)}
    read["c"] = F.pad(read["c"], (2, 2, 2, 2), "reflect")
    module.c.padding = (0, 0)
    for number, name in enumerate("abc"):
        conv, norm = getattr(module, name), module.norm if name == "a" else None
        for i, place in enumerate(found[number].which.tolist()):
            row, channel, y, x = (int(e[place]) for e in (at.row, at.channel, at.y, at.x))
            expected = conv_contributions(conv, norm, read[name][row], channel, y, x)
            np.testing.assert_allclose(found[number].contributions[i], expected, atol=1e-12)
    assert [table[int(i)][:2] for i in aparts[2].origin(0)] == [
        *(("b", i) for i in range(4)),
        ("a", 0),
        ("a", 2),
        ("a", 4),
    ]
    assert [table[int(i)][:2] for i in aparts[1].origin(3)] == [("a", 3), ("a", 4), ("a", 5)]


def test_a_linear_layer_behind_a_flatten_sums_the_places_of_a_map() -> None:
    torch.manual_seed(0)
    module = ready(Odd()).double()
    layers, aparts, table = apart_of(module, 12)
    head = aparts[-1]
    assert [table[int(i)][:2] for i in head.origin(0)] == [("tokens", c) for c in range(4)]
    image = torch.rand(1, 3, 12, 12).double()
    kept: list[Tensor] = []
    module.head.register_forward_pre_hook(lambda _m, a: kept.append(a[0]))
    found = contributions(module, aparts, image, Places(*(np.array([v]) for v in (len(layers) - 1, 0, 1, 0, 0))))
    expected = (module.head.weight[1] * kept[0][0]).reshape(4, 9).sum(1)
    np.testing.assert_allclose(found[len(layers) - 1].contributions[0], expected, atol=1e-12)
    np.testing.assert_allclose(head.norms[1], module.head.weight[1].reshape(4, 9).norm(dim=1), atol=1e-12)


def test_by_hand() -> None:
    """2·3 − 1·4 of two maps, times a batch norm's 5/√(24+1) = 1, and its shift."""
    module = Small(lambda m, x: m.norm(m.conv(x)), conv=nn.Conv2d(3, 3, 1), norm=nn.BatchNorm2d(3, eps=1.0)).eval()
    with torch.no_grad():
        module.conv.weight.zero_()
        module.conv.weight[1, :2, 0, 0] = torch.tensor([2.0, -1.0])
        module.conv.bias.fill_(10.0)
        module.norm.weight.fill_(5.0)
        module.norm.running_var.fill_(24.0)
        module.norm.running_mean.fill_(7.0)
        module.norm.bias.fill_(0.5)
    image = torch.zeros(1, 3, 2, 2)
    image[0, :, 1, 0] = torch.tensor([3.0, 4.0, 9.0])
    _, aparts, _ = apart_of(module, 2)
    found = contributions(module, aparts, image, Places(*(np.array([v]) for v in (0, 0, 1, 1, 0))))[0]
    assert found.contributions.tolist() == [[6.0, -4.0, 0.0]]
    assert (found.bias.tolist(), found.total.tolist()) == ([3.5], [5.5])
    assert found.active.tolist() == [[3.0, 4.0, 9.0]]


def test_a_residual_block_is_the_sum_of_its_branches() -> None:
    module = tiny.module().double().requires_grad_(False)
    layers, aparts, table = apart_of(module)
    number = next(i for i, layer in enumerate(layers) if layer.name == "block")
    assert [table[int(i)][:2] for i in aparts[number].origin(4)] == [("block.conv2", 4), ("conv1", 4)]
    image = torch.rand(2, 3, 32, 32).double()
    at = Places(*(np.array(v) for v in ([number] * 2, [0, 1], [4, 5], [3, 0], [7, 15])))
    found = contributions(module, aparts, image, at)[number]
    x = F.max_pool2d(F.relu(module.bn1(module.conv1(image))), 2)
    y = module.block.bn2(module.block.conv2(F.relu(module.block.bn1(module.block.conv1(x)))))
    for row, (channel, down, right) in enumerate(((4, 3, 7), (5, 0, 15))):
        expected = [float(y[row, channel, down, right]), float(x[row, channel, down, right])]
        np.testing.assert_allclose(found.contributions[row], expected, atol=1e-12)
    np.testing.assert_allclose(found.total, found.contributions.sum(1), atol=1e-12)


class Standardised(nn.Conv2d):
    """Its weights are not what it multiplies with."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias)


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x * 0.5 + x.sigmoid() + torch.ones(()))


def test_what_is_no_such_sum_says_so() -> None:
    torch.manual_seed(0)
    module = Small(lambda m, x: m.body(m.conv(x)), conv=Standardised(3, 3, 3), body=Constant()).eval()
    layers, aparts, _ = apart_of(module, 8)
    why: dict[str, Any] = {apart.layer.name: apart.why for apart in aparts}
    assert why == {"conv": None, "body": "its sum holds a constant, in body", "head": None}
    found = contributions(module, aparts, torch.rand(2, 3, 8, 8), places(layers, 30, 2))
    assert set(found) == {0, 2}
    assert worst({0: found[0]}) > 1e-2
    assert worst({2: found[2]}) < 1e-6


def test_the_network_is_left_as_it_was() -> None:
    module = tiny.module().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    layers, aparts, _ = apart_of(module)
    module.train()
    contributions(module, aparts, torch.rand(2, 3, 32, 32), places(layers, 30, 2))
    assert all(part.training for part in module.modules())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
