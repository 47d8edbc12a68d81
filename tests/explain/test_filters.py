"""Filters as pictures: by hand, against the network's own answers to single pixels, and what has none."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from atlas.explain.filters import LONGEST, Filters, filter_rows, find_filters
from atlas.network.graph import trace
from atlas.network.layers import example, find_layers
from atlas.network.load import import_torchvision
from atlas.store.pictures import PackWriter
from atlas.tables.network import FILTERS
from atlas.types import Layer
from tests.naive_filters import answers_to_impulses, linearised


def found(module: nn.Module, size: int) -> dict[str, tuple[Layer, Filters]]:
    graph = trace(module.eval(), torch.zeros(1, 3, size, size))
    return {layer.name: (layer, f) for layer, f in find_filters(graph, find_layers(module, size, size))}


def head(channels: int, *parts: nn.Module) -> nn.Sequential:
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 2))


def test_by_hand() -> None:
    net = head(1, nn.Conv2d(3, 2, (1, 2)), nn.ReLU(), nn.MaxPool2d((1, 2)), nn.Conv2d(2, 1, (1, 2), bias=False)).eval()
    first = torch.zeros(2, 3, 1, 2)
    first[0, 0, 0] = torch.tensor([1.0, 2.0])  # map 0 looks at red, map 1 at blue
    first[1, 2, 0] = torch.tensor([4.0, 0.0])
    net[0].weight.data.copy_(first)  # type: ignore[operator, union-attr]
    net[3].weight.data.copy_(torch.tensor([[10.0, 100.0], [1.0, -1.0]]).view(1, 2, 1, 2))  # type: ignore[operator, union-attr]
    filters = found(net, 12)
    assert torch.equal(filters["0"][1].values, first.double())
    # pooled: red [1, 2] and [1, 2] one further, halved: [.5, 1.5, 1]; blue: [2, 2, 0]; a step of the map is two pixels
    red = [5.0, 15.0, 10 + 50, 150, 100]
    blue = [2.0, 2.0, 0 - 2, -2, 0]
    assert filters["3"][1].values.tolist() == [[[red], [[0.0] * 5], [blue]]]
    assert filters["3"][1].depth == 2


def awkward() -> nn.Module:
    """Strides, dilation, groups, ceil-mode pooling, padding, a batch norm with negative factors, a leaky rectifier."""
    torch.manual_seed(3)
    net = head(
        8,
        nn.Conv2d(3, 6, (3, 5), stride=(1, 2), padding=2),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(6, 8, 3, padding=1, dilation=2, groups=2),
        nn.LeakyReLU(0.1),
        nn.AvgPool2d(2, 1, padding=1),
        nn.Conv2d(8, 8, (1, 2), bias=False),
    ).eval()
    norm = net[1]
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    nn.init.uniform_(norm.running_var, 0.5, 2)  # type: ignore[arg-type]
    nn.init.normal_(norm.running_mean)  # type: ignore[arg-type]
    return net


def same(net: nn.Module, name: str, size: int, layer: Layer, filters: Filters) -> None:
    """At a hundred of the field's pixels, its corners among them."""
    y, x = layer.height // 2, layer.width // 2
    box = layer.field.box(y, x)
    high, wide = filters.values.shape[2:]
    assert (high, wide) == (box.height, box.width)
    corners = torch.tensor([[0, 0, 0], [2, high - 1, wide - 1], [1, 0, wide - 1], [1, high - 1, 0]])
    torch.manual_seed(0)
    pixels = torch.cat([corners, (torch.rand(96, 3) * torch.tensor([3, high, wide])).long()])
    at = pixels + torch.tensor([0, int(box.top), int(box.left)])
    expected = answers_to_impulses(linearised(net), name, size, y, x, at)
    got = filters.values[:, pixels[:, 0], pixels[:, 1], pixels[:, 2]]
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12 * float(expected.abs().max()))


def test_is_what_the_linear_network_answers_to_single_pixels() -> None:
    net = awkward()
    filters = found(net, 64)
    assert list(filters) == ["0", "4", "7"]
    for name, module in (("0", "1"), ("4", "4"), ("7", "7")):
        same(net, module, 64, *filters[name])


def test_first_layers_of_known_networks() -> None:
    models = import_torchvision().models
    torch.manual_seed(0)
    squeezenet, resnet = models.squeezenet1_0(weights=None).eval(), models.resnet18(weights=None).eval()
    filters = found(squeezenet, 64)
    assert list(filters) == ["features.0", "features.3.squeeze", "features.3.expand1x1", "features.3.expand3x3"]
    same(squeezenet, "features.3.expand3x3", 64, *filters["features.3.expand3x3"])
    assert torch.equal(filters["features.0"][1].values, squeezenet.features[0].weight.double())
    # behind the residual sum nothing is defined
    assert list(found(resnet, 64)) == ["conv1", "layer1.0.conv1", "layer1.0.conv2"]
    assert list(found(models.mobilenet_v2(weights=None).eval(), 64))[:2] == ["features.0.0", "features.1.conv.0.0"]


def test_fields_beyond_the_limit_have_none() -> None:
    deep = [part for _ in range(5) for part in (nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))]
    net = head(4, nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), *deep)
    layers = {layer.name: layer for layer in find_layers(net.eval(), 128, 128)}
    filters = found(net, 128)
    assert all(max(f.values.shape[2:]) == layers[name].field.y.size <= LONGEST for name, (_, f) in filters.items())
    missing = [name for name, layer in layers.items() if name not in filters and layer.kind == "conv"]
    assert missing
    assert all(layers[name].field.y.size > LONGEST for name in missing)


class TwoPaths(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Conv2d(3, 3, 1)
        self.smooth = nn.Conv2d(3, 3, 1)
        self.after_smooth = nn.Conv2d(3, 3, 1)
        self.summed = nn.Conv2d(3, 3, 1)
        self.scaled = nn.Conv2d(3, 3, 1)
        self.fc = nn.Linear(9, 2)

    def forward(self, x: Tensor) -> Tensor:
        own = self.own(x)
        parts = [self.after_smooth(F.silu(self.smooth(x))), self.summed(own + x), self.scaled(2 * x)]
        return self.fc(torch.cat(parts, 1).mean((2, 3)))  # type: ignore[no-any-return]


def test_other_operations_have_none() -> None:
    assert list(found(TwoPaths(), 16)) == ["own", "smooth"]


def test_rows_and_pictures() -> None:
    net = awkward()
    net[4].weight.data[3] = 0  # type: ignore[index, union-attr, operator]
    layers = find_layers(net, 64, 64)
    hooks = [len(m._forward_hooks) for m in net.modules()]
    body = io.BytesIO()
    pack = PackWriter(body, "filters.tar")
    table = filter_rows(trace(net, example(net, 64, 64)), layers, pack, 64)
    pack.close()
    assert table.schema.equals(FILTERS.columns)
    assert [len(m._forward_hooks) for m in net.modules()] == hooks
    every = table.to_pylist()
    rows = [row for row in every if row["kind"] != "kernel"]
    assert [(r["layer"], r["kind"]) for r in rows] == [("0", "weights")] * 6 + [
        (n, "combination") for n in "47" for _ in range(8)
    ]
    assert [r["layer"] for r in every[len(rows) :]] == [n for n in "47" for _ in range(8)]
    assert rows[6 + 3]["picture"]["why"] == "the filter is 0 everywhere"
    picture = rows[1]["picture"]
    image = Image.open(io.BytesIO(body.getvalue()[picture["offset"] : picture["offset"] + picture["length"]]))
    assert image.size == (64, 38)  # a field of 5 × 3
    filters = found(net, 64)["0"][1].values[1].numpy()
    pixels = np.asarray(image)[19, ::13][:5] / 127.5 - 1  # the middle row, a pixel of each of the five blocks
    expected = np.clip(filters[:, 1].T / picture["scale"], -1, 1)
    assert np.abs(pixels - expected).max() < 0.5 / 127
    body.seek(0)
    with tarfile.open(fileobj=body) as tar:
        assert len(tar.getnames()) == len(every) - 2  # both of the kernel that is 0


@pytest.mark.slow
def test_deep_chain_is_the_gradient_of_the_linear_network() -> None:
    torch.manual_seed(0)
    net = import_torchvision().models.vgg11_bn(weights=None).features.eval()
    net = nn.Sequential(*net, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 2)).eval()
    filters = found(net, 96)
    name, (layer, last) = list(filters.items())[-1]
    assert 50 < layer.field.y.size <= LONGEST
    linear = linearised(net)[: int(name) + 2]  # type: ignore[index]
    image = torch.zeros(1, 3, 96, 96, dtype=torch.float64, requires_grad=True)
    output = linear(image)
    y, x = layer.height // 2, layer.width // 2
    box = layer.field.box(y, x)
    for channel in (0, 7, layer.channels - 1):
        (gradient,) = torch.autograd.grad(output[0, channel, y, x], image, retain_graph=True)
        expected = gradient[0, :, int(box.top) : int(box.bottom), int(box.left) : int(box.right)]
        torch.testing.assert_close(last.values[channel], expected, rtol=1e-8, atol=1e-12)
