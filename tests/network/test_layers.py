"""Which outputs are layers, what they are called, whether a rectifier follows, and where the code is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atlas.errors import NetworkError
from atlas.network.graph import trace
from atlas.network.layers import CodeSource, choose, code_source, example, find_layers
from atlas.network.nodes import Graph
from atlas.network.recorder import Recorder
from atlas.types import Layer
from tests.naive_receptive import torchvision_network
from tests.small_nets import Small, conv, names, users_network

STYLES = ("plain", "in-place", "functional", "one module")


class Twin(nn.Module):
    """The same network written with rectifiers of several styles; parameters have the same names and values."""

    def __init__(self, style: str) -> None:
        super().__init__()
        self.style = style
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.block = TwinBlock(style)
        self.conv2 = nn.Conv2d(6, 8, 1)  # followed by a ReLU6
        self.conv3 = nn.Conv2d(8, 8, 3)  # followed by nothing that rectifies
        self.fc1, self.fc2 = nn.Linear(8, 5), nn.Linear(5, 4)
        self.act1, self.act2, self.act3 = (nn.ReLU(style == "in-place") for _ in range(3))
        self.act6 = nn.ReLU6(style == "in-place")

    def rectify(self, module: nn.Module, x: Tensor) -> Tensor:
        if self.style == "functional":
            return F.relu(x)
        return self.act1(x) if self.style == "one module" else module(x)

    def forward(self, x: Tensor) -> Tensor:
        x = self.rectify(self.act1, self.bn1(self.conv1(x)))
        x = self.rectify(self.act2, self.block(x))
        x = self.conv2(x)
        x = {"functional": lambda: x.clamp_(0, 6), "one module": lambda: F.relu6(x)}.get(
            self.style, lambda: self.act6(x)
        )()
        x = F.silu(self.conv3(x)).mean((2, 3))
        return self.fc2(F.dropout(self.rectify(self.act3, self.fc1(x)), training=self.training))


class TwinBlock(nn.Module):
    def __init__(self, style: str) -> None:
        super().__init__()
        self.style = style
        self.conv1, self.conv2 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(6), nn.BatchNorm2d(6)
        self.act = nn.ReLU(style in ("in-place", "one module"))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x))
        y = torch.relu_(y) if self.style == "functional" else self.act(y)
        y = self.bn2(self.conv2(y))
        if self.style in ("functional", "in-place"):
            y += x
            return y
        return x + y


def twin(style: str) -> nn.Module:
    torch.manual_seed(0)
    net = Twin(style)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, -1, 1)
    return net.eval()


def traced(net: nn.Module, side: int = 16) -> Graph:
    return trace(net, example(net, side, side))


def record(net: nn.Module, found: list[Layer], x: Tensor) -> dict[str, Tensor]:
    kept: dict[str, Tensor] = {}
    with (
        torch.no_grad(),
        Recorder(net, found, lambda layer, out: kept.__setitem__(layer.name, out.clone())) as recorder,
    ):
        recorder.run(x)
    return kept


@pytest.mark.parametrize("style", STYLES)
def test_twins_have_the_same_layers_and_the_same_numbers(style: str) -> None:
    found = find_layers(twin(style), 16, 16)
    assert names(found) == ["conv1", "block.conv1", "block.conv2", "block", "conv2", "conv3", "fc1", "fc2"]
    assert [each.rectified for each in found] == [True, True, False, True, True, False, True, False]
    assert [each.kind for each in found] == ["conv"] * 3 + ["block"] + ["conv"] * 2 + ["linear"] * 2
    assert found == find_layers(twin("plain"), 16, 16)
    x = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    mine, plain = record(twin(style), found, x.clone()), record(twin("plain"), found, x.clone())
    for name, numbers in plain.items():
        assert torch.equal(mine[name], numbers), name
    assert (mine["conv1"] < 0).any(), "the response is what is there before the rectifier"


def test_numbers_are_those_before_the_rectifier() -> None:
    net = twin("in-place")
    x = torch.randn(2, 3, 16, 16)
    got = record(net, find_layers(net, 16, 16), x.clone())
    with torch.no_grad():
        expected = net.bn1(net.conv1(x))
        after = expected.relu()
        inner = net.block.bn2(net.block.conv2(net.block.bn1(net.block.conv1(after)).relu()))
    assert torch.equal(got["conv1"], expected)
    assert torch.equal(got["block"], inner + after)


def test_squeezenet_has_26_convolutions_and_3976_neurons() -> None:
    found = find_layers(torchvision_network("squeezenet1_0", "meta"), 224, 224)
    assert (len(found), sum(each.channels for each in found)) == (26, 3976)
    assert all(each.kind == "conv" and each.rectified for each in found)
    assert [each.index for each in found] == list(range(26))


COUNTS = {  # convolutions, blocks, linear layers; from the papers' tables
    "alexnet": (5, 0, 3),
    "vgg11_bn": (8, 0, 3),
    "resnet18": (20, 8, 1),
    "resnet50": (53, 16, 1),
    "densenet121": (120, 0, 1),
    "googlenet": (57, 0, 1),
    "inception_v3": (94, 0, 1),
    "mobilenet_v2": (52, 10, 1),
    "mobilenet_v3_small": (52, 6, 2),
    "shufflenet_v2_x0_5": (56, 0, 1),
    "efficientnet_b0": (81, 9, 1),
    "convnext_tiny": (22, 18, 37),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    side = 299 if name == "inception_v3" else 224
    found = find_layers(torchvision_network(name, "meta"), side, side)
    kinds = [each.kind for each in found]
    assert (kinds.count("conv"), kinds.count("block"), kinds.count("linear")) == COUNTS[name]


def test_resnet_blocks_and_fused_batch_norms() -> None:
    found = {each.name: each for each in find_layers(torchvision_network("resnet18", "meta"), 224, 224)}
    assert (found["conv1"].module, found["conv1"].rectified) == ("bn1", True)
    assert found["layer2.0.downsample.0"].module == "layer2.0.downsample.1"
    assert not found["layer1.0.conv2"].rectified  # the addition comes first
    assert not found["layer1.0"].rectified  # its own last operation is the rectifier
    assert [n for n, each in found.items() if each.kind == "block"] == [
        f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1)
    ]


def test_densenet_convolutions_before_a_shared_map_keep_their_own_output() -> None:
    found = {each.name: each for each in find_layers(torchvision_network("densenet121", "meta"), 224, 224)}
    last = found["features.denseblock1.denselayer1.conv2"]
    assert (last.module, last.rectified) == (last.name, False)  # read by a concatenation
    first = found["features.denseblock1.denselayer1.conv1"]
    assert (first.module, first.rectified) == ("features.denseblock1.denselayer1.norm2", True)


def test_linear_layers_on_maps_of_channels_last() -> None:
    found = {each.name: each for each in find_layers(torchvision_network("convnext_tiny", "meta"), 224, 224)}
    mlp = found["features.1.0.block.3"]
    assert (mlp.kind, mlp.channels, mlp.height, mlp.width, mlp.channel_axis) == ("linear", 384, 56, 56, 3)
    assert (mlp.field.y.size, mlp.field.y.stride, mlp.field.y.start) == (28, 4, -12)
    assert found["features.1.0"].kind == "block"


@pytest.mark.data
def test_a_users_network(data: Path) -> None:
    found = find_layers(users_network(data), 32, 32)
    kinds = [each.kind for each in found]
    assert (kinds.count("conv"), kinds.count("block"), kinds.count("linear")) == (19, 9, 1)
    assert [each.name for each in found if each.kind == "block"] == [
        f"layer{i}.{j}" for i in (1, 2, 3) for j in (0, 1, 2)
    ]
    assert all(each.rectified == (each.name == "conv1" or each.name.endswith("conv1")) for each in found)
    assert found[-1].field.global_field


RECTIFIED: dict[str, tuple[Any, bool]] = {
    "relu": (lambda m, x: F.relu(m.conv(x)), True),
    "relu of a view": (lambda m, x: m.conv(x).permute(0, 2, 3, 1).relu().permute(0, 3, 1, 2), True),
    "relu6": (lambda m, x: F.relu6(m.conv(x)), True),
    "hardtanh from 0": (lambda m, x: F.hardtanh(m.conv(x), 0, 4), True),
    "hardtanh": (lambda m, x: F.hardtanh(m.conv(x)), False),
    "clamp": (lambda m, x: m.conv(x).clamp(min=0), True),
    "clamp by name": (lambda m, x: torch.clamp(m.conv(x), max=3, min=0.0), True),
    "clamp from above": (lambda m, x: m.conv(x).clamp(max=0), False),
    "clamp min": (lambda m, x: m.conv(x).clamp_min_(0), True),
    "threshold": (lambda m, x: F.threshold(m.conv(x), 0, 0), True),
    "threshold of 1": (lambda m, x: F.threshold(m.conv(x), 1, 0), False),
    "leaky": (lambda m, x: F.leaky_relu(m.conv(x)), False),
    "gelu": (lambda m, x: F.gelu(m.conv(x)), False),
    "read twice": (lambda m, x: next(F.relu(y) + y for y in [m.conv(x)]), False),
    "two rectifiers": (lambda m, x: next(F.relu(y) + F.relu6(y) for y in [m.conv(x)]), True),
    "in-place after a copy": (lambda m, x: next(y.clone().relu_() + y.relu_() for y in [m.conv(x)]), True),
    "unused twin": (lambda m, x: next((y.relu(), y.sigmoid())[0] for y in [m.conv(x)]), True),
    "pooled first": (lambda m, x: F.relu(F.max_pool2d(m.conv(x), 2)), False),
    "nothing": (lambda m, x: m.conv(x), False),
}


@pytest.mark.parametrize("name", RECTIFIED)
def test_rectified(name: str) -> None:
    function, expected = RECTIFIED[name]
    assert find_layers(Small(function, conv=conv()), 8, 8, wanted=["conv"])[0].rectified is expected


def test_logits_are_not_rectified_and_a_second_call_has_its_number() -> None:
    net = Small(lambda m, x: m.conv(F.relu(m.conv(x))), conv=conv())
    found = find_layers(net, 8, 8)
    assert names(found) == ["conv", "conv@2", "head"]
    assert [(each.module, each.call) for each in found] == [("conv", 1), ("conv", 2), ("head", 1)]
    assert [each.rectified for each in found] == [True, False, False]
    assert found[1].field.y.size == 5


def test_a_shared_batch_norm_keeps_its_call_number() -> None:
    net = Small(lambda m, x: m.bn(m.b(F.relu(m.bn(m.a(x))))), a=conv(), b=conv(), bn=nn.BatchNorm2d(3))
    found = find_layers(net, 8, 8)
    assert [(each.name, each.module, each.call) for each in found[:2]] == [("a", "bn", 1), ("b", "bn", 2)]


def test_a_module_under_two_names_has_the_first() -> None:
    shared = conv()
    net = Small(lambda m, x: m.two(F.relu(m.one(x))), one=shared, two=shared)
    assert names(find_layers(net, 8, 8)) == ["one", "one@2", "head"]


def test_a_batch_norm_that_is_not_the_sole_consumer_is_not_fused() -> None:
    net = Small(lambda m, x: next(m.bn(y) + y for y in [m.conv(x)]), conv=conv(), bn=nn.BatchNorm2d(3))
    found = find_layers(net, 8, 8)[0]
    assert (found.module, found.rectified) == ("conv", False)


@pytest.mark.parametrize("scaled", [True, False])
def test_a_batch_norm_that_is_called_as_a_function_is_fused(scaled: bool) -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        return F.relu(F.batch_norm(m.conv(x), m.mean, m.var, m.norm_weight if scaled else None))

    net = Small(body, conv=conv()).eval()
    net.register_buffer("mean", torch.tensor([0.1, 0.2, 0.3]))
    net.register_buffer("var", torch.tensor([1.0, 2.0, 3.0]))
    net.norm_weight = nn.Parameter(torch.tensor([1.0, -1.0, 2.0]))
    layer = find_layers(net, 8, 8)[0]
    assert (layer.name, layer.rectified) == ("conv", True)
    assert layer.normalised == ("norm" if scaled else "batch_norm in the network itself")
    taken: list[Tensor] = []
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad(), Recorder(net, [layer], lambda _, maps: taken.append(maps.clone())) as recorder:
        recorder.run(x)
        want = F.batch_norm(net.conv(x), net.mean, net.var, net.norm_weight if scaled else None)
    assert torch.equal(taken[0], want)


def test_a_convolution_inside_of_a_wrapper_with_its_norm() -> None:
    net = Small(lambda m, x: m.unit(x), unit=nn.Sequential(conv(), nn.BatchNorm2d(3), nn.ReLU()))
    assert [(each.name, each.module) for each in find_layers(net, 8, 8)] == [("unit.0", "unit.1"), ("head", "head")]


def test_choose() -> None:
    found = find_layers(twin("plain"), 16, 16)
    some = choose(found, ["conv3", "block.*"])
    assert [(each.index, each.name) for each in some] == [(0, "block.conv1"), (1, "block.conv2"), (2, "conv3")]
    assert names(choose(found, ["auto"], ["block*", "fc*"])) == ["conv1", "conv2", "conv3"]
    assert find_layers(twin("plain"), 16, 16, wanted=["conv3", "block.*"]) == some
    with pytest.raises(NetworkError, match=r"--layers blok\.conv1: no such layer; close to it: block\.conv1"):
        choose(found, ["blok.conv1"])
    with pytest.raises(NetworkError, match=r"--exclude fc9: no such layer; close to it: fc"):
        choose(found, exclude=["fc9"])
    with pytest.raises(NetworkError, match="no layer is left"):
        choose(found, exclude=["*"])


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("squeezenet1_0", ("classifier.1", 1)),
        ("resnet18", ("fc", 1)),
        ("vgg11", ("classifier.6", 1)),
        ("convnext_tiny", ("classifier.2", 1)),
        ("mobilenet_v3_small", ("classifier.3", 1)),
    ],
)
def test_code_source(name: str, source: tuple[str, int]) -> None:
    assert code_source(traced(torchvision_network(name, "meta"), 224)) == source


def test_code_source_by_name() -> None:
    graph = traced(twin("plain"))
    assert code_source(graph) == CodeSource("fc2", 1)
    assert code_source(graph, "block") == CodeSource("block", 1)
    assert code_source(graph, "conv1") == CodeSource("conv1", 1)  # its input, not that of its batch norm
    with pytest.raises(NetworkError, match="--code-layer fc3: no such layer; close to it: fc"):
        code_source(graph, "fc3")


class Odd(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.conv, self.function = conv(), function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.conv(x))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda y: (y, y), "returns a tuple for one image"),
        (lambda y: {"logits": y}, "returns a dict for one image"),
        (lambda y: y, r"returns a tensor \(1, 3, 8, 8\) for one image"),
        (lambda y: y.reshape(7, 7), r"forward pass fails on an image of \(3, 8, 8\): RuntimeError shape .* is invalid"),
        (lambda y: F.dropout(y, 0.5, training=True).mean((2, 3)), "draws random numbers in eval mode"),
        (lambda y: (y * torch.rand(1)).mean((2, 3)), "draws random numbers in eval mode"),
    ],
)
def test_networks_that_are_refused(function: Any, words: str) -> None:
    with pytest.raises(NetworkError, match=words) as caught:
        find_layers(Odd(function), 8, 8)
    assert "\n" not in str(caught.value)


def test_statistics_of_the_batch_are_refused() -> None:
    body = nn.Sequential(conv(), nn.BatchNorm2d(3, track_running_stats=False))
    with pytest.raises(NetworkError, match=r"seq\.1: a batch norm without running statistics"):
        find_layers(Small(lambda m, x: m.seq(x), seq=body), 8, 8)


def test_nothing_to_record_is_refused() -> None:
    with pytest.raises(NetworkError, match="has no convolution"):
        find_layers(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 8, 8)
