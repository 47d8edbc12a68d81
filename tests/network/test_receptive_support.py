"""Fields against gradient support: torchvision's classifiers, a user's network, random chains channel by channel."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atlas.network.geometry import Maps
from atlas.network.graph import Call, trace
from atlas.network.layers import find_layers
from atlas.network.load import import_torchvision
from atlas.network.receptive import see
from atlas.types import Layer
from tests.naive_receptive import linear_outputs, make_positive, support, torchvision_network
from tests.small_nets import users_network

pytestmark = pytest.mark.usefixtures("one_thread")

NOT_CONVOLUTIONAL = ("vit", "swin", "maxvit")
FAMILIES = (
    *("alexnet", "vgg11_bn", "squeezenet1_0", "squeezenet1_1", "resnet18", "resnet50", "resnext50_32x4d", "googlenet"),
    *("inception_v3", "densenet121", "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5", "shufflenet_v2_x0_5"),
    *("efficientnet_b0", "efficientnet_v2_s", "regnet_x_400mf", "regnet_y_400mf", "convnext_tiny"),
)
HEAVY = ("alexnet", "vgg11_bn", "resnet50", "resnext50_32x4d", "densenet121", "convnext_tiny", "efficientnet_v2_s")


def check_support(module: nn.Module, side: int, found: list[Layer], most: int) -> int:
    """Compare boxes of up to `most` layers, at corners and in the middle, with gradient support; edges compared."""
    maps = [each for each in found if not each.field.global_field]
    chosen = maps[:: max(1, -(-len(maps) // most))] + maps[-1:]
    calls = [(each.module, each.call) for each in chosen]
    image, outputs = linear_outputs(module, calls, side, side)
    compared = 0
    for each in chosen:
        output = outputs[each.module, each.call].movedim(each.channel_axis, 1)  # (1, C, H, W)
        height, width = output.shape[2:]
        assert output.shape[1:] == (each.channels, each.height, each.width)
        for y, x in {(0, 0), (0, width - 1), (height // 2, width // 2), (height - 1, width - 1)}:
            top, bottom, left, right = support(image, output[:, :, y, x])
            box = each.field.box(y, x)
            lows, highs = ((top, box.top), (left, box.left)), ((bottom, box.bottom), (right, box.right))
            for got, want in (*lows, *highs):
                if 0 < want < side:  # an edge inside of the image is exact
                    assert got == want, (each.name, (y, x), (top, bottom, left, right), box)
                    compared += 1
            assert all(got >= want for got, want in lows), (each.name, (y, x))
            assert all(got <= want for got, want in highs), (each.name, (y, x))
    return compared


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in HEAVY else n for n in FAMILIES])
def test_gradient_support(name: str) -> None:
    module = make_positive(torchvision_network(name))
    side = 96 if name in ("convnext_tiny", "resnet50", "resnext50_32x4d") else 64 if name == "vgg11_bn" else 128
    assert check_support(module, side, find_layers(module, side, side), most=5) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "inception_v3", "densenet121", "shufflenet_v2_x1_0", "convnext_tiny"])
def test_gradient_support_of_large_images(name: str) -> None:
    module = make_positive(torchvision_network(name))
    assert check_support(module, 299, find_layers(module, 299, 299), most=6) >= 20


@pytest.mark.data
def test_gradient_support_of_a_users_network(data: Any) -> None:
    module = make_positive(users_network(data))
    assert check_support(module, 32, find_layers(module, 32, 32), most=30) >= 100


class Random(nn.Module):
    """A random chain of operations that move, mix and split channels and positions; per-channel fields differ."""

    def __init__(self, seed: int, length: int = 7) -> None:
        super().__init__()
        draw = random.Random(seed)
        kinds = ("conv", "group", "pool", "mean", "slice", "pad", "halves", "shuffle", "skip", "turn")
        self.steps = [draw.choice(kinds) for _ in range(length)]
        self.draws = [draw.random() for _ in range(length)]
        self.stem = nn.Conv2d(3, 8, (draw.randint(1, 3), draw.randint(1, 3)))
        layers = []
        for step in self.steps:
            kernel = draw.randint(1, 4), draw.randint(1, 4)
            options = {"padding": (draw.randint(0, 2), draw.randint(0, 2)), "dilation": draw.randint(1, 2)}
            if step == "skip":
                kernel, options = (3, 3), {"padding": options["dilation"], "dilation": options["dilation"]}
            elif draw.random() < 0.3:
                options["stride"] = (draw.randint(1, 2), draw.randint(1, 2))
            layers.append(nn.Conv2d(4 if step == "halves" else 8, 4 if step == "halves" else 8, kernel,
                                    groups=draw.choice((2, 4)) if step == "group" else 1, **options))  # fmt: skip
        self.layers = nn.ModuleList(layers)
        self.end, self.head = nn.Identity(), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for step, number, conv in zip(self.steps, self.draws, self.layers, strict=True):
            x = self.step(step, number, conv, x)
        return self.head(self.end(x).mean((2, 3)))

    def step(self, step: str, number: float, conv: nn.Module, x: Tensor) -> Tensor:
        if step == "pool":
            return F.max_pool2d(x, (2, 3), (1, 2) if number < 0.3 else 1, 1, dilation=2 if number > 0.7 else 1)
        if step == "mean":
            return F.avg_pool2d(x, 3, 2 if number < 0.3 else 1, 1, ceil_mode=number < 0.5)
        if step == "slice":
            return x[:, :, :: 2 if number < 0.3 else 1, 1:-1]
        if step == "pad":
            return F.pad(x[:, 1:-1], (1, 0, 0, 2, 1, 1))
        if step == "halves":
            one, two = x.chunk(2, 1)
            stays = conv(two)
            height, width = stays.shape[2:]
            if stays.shape != one.shape:
                return torch.cat([stays, stays.flip(1)], 1)
            return torch.cat([one, stays], 1)[:, :, :height, :width]
        if step == "shuffle":
            return x.unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)
        if step == "skip":
            y = conv(x)
            y += x if y.shape == x.shape else 0
            return F.relu(y)
        if step == "turn":
            return F.layer_norm(x.permute(0, 2, 3, 1)[..., :6], (6,)).permute(0, 3, 1, 2).repeat(1, 2, 1, 1)[:, 2:10]
        return conv(x)


@pytest.mark.parametrize("seed", range(40))
def test_random_chains_channel_by_channel(seed: int) -> None:
    module = make_positive(Random(seed))
    side = 128
    graph = trace(module, torch.zeros(1, 3, side, side, dtype=torch.float64))
    maps = see(graph)[graph.calls[Call("end", 1)].outputs[0]]
    assert isinstance(maps, Maps)
    image, outputs = linear_outputs(module, [("end", 1)], side, side)
    output = outputs["end", 1]
    y, x = output.shape[2] // 2, output.shape[3] // 2
    for channel in range(8):
        low, high = ([int(a[0, channel, 0, 0]) for a in pair] for pair in (maps.low, maps.high))
        if high[0] <= low[0]:
            assert not output[0, channel].requires_grad or not _depends(image, output[0, channel])
            continue
        spans = [(low[a] + maps.stride[a] * (y, x)[a], high[a] + maps.stride[a] * (y, x)[a]) for a in (0, 1)]
        assert min(spans[0][0], spans[1][0]) >= 0
        assert max(spans[0][1], spans[1][1]) <= side, "the test's image is too small"
        assert support(image, output[:, channel, y, x]) == (*spans[0], *spans[1]), (seed, channel, module.steps)


def _depends(image: Tensor, numbers: Tensor) -> bool:
    (gradient,) = torch.autograd.grad(numbers.sum(), image, retain_graph=True)
    return bool(gradient.abs().any())


@pytest.mark.slow
def test_all_convolutional_classifiers_of_torchvision_pass() -> None:
    """Layers and fields of every one, from shapes alone; outputs of an ever smaller map never get a smaller stride."""
    models = import_torchvision().models
    names = [n for n in models.list_models(module=models) if not n.startswith(NOT_CONVOLUTIONAL)]
    assert len(names) >= 57
    for name in names:
        side = 299 if name == "inception_v3" else 224
        found = find_layers(torchvision_network(name, "meta"), side, side)
        assert found[-1].channels == 1000, name
        for each in found:
            if not each.field.global_field:
                for size, axis in ((each.height, each.field.y), (each.width, each.field.x)):
                    assert axis.start + axis.stride * (size - 1) < side, (
                        name,
                        each,
                    )  # the last position sees some of it
                    assert axis.start + axis.size > 0, (name, each)


@pytest.mark.parametrize("name", ["squeezenet1_0", "convnext_tiny", "efficientnet_b0", "shufflenet_v2_x0_5"])
def test_shapes_alone_are_enough(name: str) -> None:
    real, shapes = torchvision_network(name), torchvision_network(name, "meta")
    assert find_layers(real, 224, 224) == find_layers(shapes, 224, 224)
