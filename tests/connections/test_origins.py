"""Names of maps, against interventions: who is named moves what is read, and nobody else does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atlas.connections.apart import Apart, take_apart
from atlas.connections.origins import Table
from atlas.connections.watch import held, run
from atlas.network.graph import trace
from atlas.network.layers import example, layers_of
from atlas.network.load import import_torchvision
from atlas.types import Layer
from tests import tiny
from tests.small_nets import Small

pytestmark = pytest.mark.usefixtures("one_thread")


class Busy(nn.Module):
    """Slices, a concatenation, a shuffle, a pool, a gate, an upsampling, an addition without a block."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.b = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.gate = nn.Conv2d(8, 8, 1)
        self.c = nn.Conv2d(12, 4, 1, groups=2)
        self.d = nn.Conv2d(4, 3, 1)
        self.head = nn.Linear(3 * 4 * 4, 2)

    def forward(self, x: Tensor) -> Tensor:
        a = F.silu(self.norm(self.a(x)))
        a = a * torch.sigmoid(self.gate(a.mean((2, 3), keepdim=True)))
        left, right = a.chunk(2, 1)
        x = torch.cat([right, F.interpolate(self.b(left), scale_factor=2.0), left.flip(1)], 1)
        x = x.reshape(len(x), 2, 6, *x.shape[2:]).transpose(1, 2).flatten(1, 2)
        c = F.hardtanh(self.c(x), 0, 1)
        x = self.d(F.max_pool2d(c, 2) + c[:, [2, 3, 0, 1], ::2, ::2] * 0)
        return self.head(F.adaptive_avg_pool2d(x, 4).flatten(1))


def parts(module: nn.Module, size: int) -> tuple[list[Layer], list[Apart], Table]:
    graph = trace(module.eval(), example(module, size, size))
    layers = layers_of(graph)
    return layers, *take_apart(graph, layers)


def reads(
    module: nn.Module, layers: list[Layer], aparts: list[Apart], means: dict[str, Tensor], size: int
) -> dict[str, Tensor]:
    """By layer what it reads, (inputs,) each summed over positions, when all recorded layers are held."""
    found: dict[str, list[Tensor]] = {}

    def take(apart: Apart, _which: int, maps: Tensor) -> None:
        found.setdefault(apart.layer.name, []).append(maps[0].flatten(1).abs().sum(1).double().clone())

    with held(module, layers, means):
        run(module, aparts, torch.zeros(1, 3, size, size), take, lambda _a, _m: None)
    return {name: torch.stack(each, 1) for name, each in found.items()}


def check_by_intervention(module: nn.Module, size: int, most: int = 40) -> int:
    """Move one recorded map after another, the others held: exactly the inputs named after it change."""
    layers, aparts, table = parts(module, size)
    generator = torch.Generator().manual_seed(7)
    means = {layer.name: 0.4 + torch.rand(layer.channels, generator=generator) for layer in layers}
    before = reads(module, layers, aparts, means, size)
    drawn = np.random.default_rng(3)
    chosen = [(layer, c) for layer in layers for c in range(layer.channels)]
    moved = 0
    for index in drawn.choice(len(chosen), min(most, len(chosen)), replace=False).tolist():
        layer, channel = chosen[index]
        other = {**means, layer.name: means[layer.name].clone()}
        other[layer.name][channel] += 0.21
        after = reads(module, layers, aparts, other, size)
        for apart in aparts:
            if apart.why is not None:
                continue
            name = apart.layer.name
            changed = ((after[name] - before[name]).abs() > 1e-9).numpy()  # (inputs, 1) or (channels, branches)
            origins = (
                apart.origins
                if apart.addends or apart.groups == 1
                else apart.origins.reshape(apart.groups, -1, apart.inputs)[:, 0]
            )
            if layer.name == "gate":
                continue  # what is gated is named after the map, whose size the gate changes
            read = [table[int(i)] for i in origins.reshape(-1)]
            named = np.array([origin == (layer.name, channel, True) for origin in read])
            known = np.array([origin.recorded for origin in read])
            if apart.merge is not None:
                named, known = named[apart.merge.numpy()], known[apart.merge.numpy()]
            message = f"{layer.name}:{channel} in {name}"
            np.testing.assert_array_equal(changed.reshape(-1) & known, named, err_msg=message)
            moved += int(named.sum())
    return moved


def test_a_busy_network() -> None:
    torch.manual_seed(0)
    assert check_by_intervention(Busy(), 16, 100) > 30


def test_the_tiny_network() -> None:
    assert check_by_intervention(tiny.module(), 32) > 30


@pytest.mark.parametrize("name", ["squeezenet1_0", "shufflenet_v2_x0_5", "mobilenet_v2", "googlenet", "densenet121"])
def test_torchvisions_networks(name: str) -> None:
    torch.manual_seed(0)
    extra = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    module = import_torchvision().models.get_model(name, weights=None, **extra)
    assert check_by_intervention(module.requires_grad_(False), 64, 12) > 5


def test_what_is_no_recorded_neuron_says_what_it_is() -> None:
    def body(m: nn.Module, x: Tensor) -> Tensor:
        y = m.a(x)
        attention = torch.softmax(y.flatten(2).transpose(1, 2) @ y.flatten(2), -1)  # (N, T, T)
        return m.b((y.flatten(2) @ attention).reshape(y.shape))

    module = Small(body, a=nn.Conv2d(3, 3, 1), b=nn.Conv2d(3, 3, 1))
    graph = trace(module, example(module, 6, 6))
    layers = layers_of(graph, ("a",))
    reader = replace(layers[0], index=1, name="b", module="b")
    for recorded, expected in (
        ([*layers, reader], "bmm in the network itself"),
        ([reader], "bmm in the network itself"),
    ):
        aparts, table = take_apart(graph, recorded)
        assert [table[int(i)][::2] for i in aparts[-1].origin(0)] == [(expected, False)] * 3
    head = replace(layers[0], index=2, name="head", module="head", kind="linear")
    aparts, table = take_apart(graph, [*layers, head])
    assert [table[int(i)] for i in aparts[0].origin(0)] == [("image", i, False) for i in range(3)]
    assert [table[int(i)] for i in aparts[1].origin(0)] == [("convolution in b", i, False) for i in range(3)]
