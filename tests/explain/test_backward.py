"""A crop's picture is the whole image's picture; and the pictures of a unit's examples, batched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from atlas.explain.aligned import AlignedAxis, Geometry, Images, align, geometry
from atlas.explain.backward import Example, Projected, on_field, project, project_examples, proven, refusal, rows_for
from atlas.network.layers import find_layers
from atlas.network.load import import_torchvision
from atlas.types import Axis, Layer
from tests.drawing import KINDS

pytestmark = pytest.mark.usefixtures("one_thread")


def plain(pixels: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def network(name: str) -> nn.Module:
    torch.manual_seed(1)
    models = import_torchvision().models
    if name == "vgg16":  # its geometry, with an eighth of its channels
        widths = [each if each == "M" else each // 8 for each in models.vgg.cfgs["D"]]
        net: nn.Module = models.VGG(models.vgg.make_layers(widths), num_classes=2, init_weights=False)
        net.classifier = nn.Sequential(nn.Linear(64 * 49, 8))
    else:
        net = getattr(models, name)(weights=None)
    for m in net.modules():
        if isinstance(m, nn.Conv2d) and m.bias is not None:
            nn.init.normal_(m.bias, 0, 0.05)  # so that padding and image differ
    return net.eval().requires_grad_(False).double()


def compare(net: nn.Module, layer: Layer, pixels: NDArray[np.float64], places: list[tuple[int, int]]) -> float:
    """Largest relative difference between crops and the whole image, over kinds and `places` (y, x)."""
    rng = np.random.default_rng(layer.index)
    found = geometry(layer, *pixels.shape[1:3])
    images = Images(pixels, plain)
    examples = [
        Example(i % len(pixels), int(rng.integers(layer.channels)), y, x, -1 if i % 4 == 3 else 1)
        for i, (y, x) in enumerate(places)
    ]
    whole = {p.index: p for p in project_examples(net, layer, found.whole(), images, examples, KINDS, 1)}
    worst, shown = 0.0, 0
    for p in project_examples(net, layer, found, images, examples, KINDS, 4):
        assert p.response == pytest.approx(whole[p.index].response, abs=1e-5)
        for kind in KINDS:
            a, b = p.maps[kind], whole[p.index].maps[kind]
            size = float(np.linalg.norm(b))
            shown += size > 0
            worst = max(worst, float(np.linalg.norm(a - b)) / size if size else float(np.abs(a).max()))
    assert shown > 0  # pictures of nothing would agree
    return worst


def corners(layer: Layer) -> list[tuple[int, int]]:
    bottom, right = layer.height - 1, layer.width - 1
    every = [
        (0, 0), (0, right), (bottom, 0), (bottom, right),
        (0, right // 2), (bottom, right // 3), (bottom // 2, 0), (bottom // 3, right),
        (bottom // 2, right // 2), (1, right - 1), (2 * bottom // 3, right // 3),
    ]  # fmt: skip
    return sorted({(min(max(y, 0), bottom), min(max(x, 0), right)) for y, x in every})


class Small(nn.Module):
    """Ceil-mode pools, uneven strides and kernels, a residual addition, a concatenation, no padding here and there."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Conv2d(3, 6, (7, 5), (2, 1))
        self.b = nn.Conv2d(6, 6, 3, padding=1)
        self.c = nn.Conv2d(6, 4, (1, 7), padding=(0, 3))
        self.d = nn.Conv2d(10, 5, 3, 2, padding=1)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.mean = nn.AvgPool2d(3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.a(x)))
        x = x + F.relu(self.b(x))
        x = torch.cat([F.relu(self.c(x)), self.mean(x)], 1)
        return self.d(self.pool(x)).mean((2, 3))


@pytest.mark.parametrize("shape", [(61, 50), (64, 67)])
def test_crop_gives_what_the_image_gives_on_a_small_network(shape: tuple[int, int]) -> None:
    net = Small().eval().requires_grad_(False).double()
    pixels = np.random.default_rng(0).normal(size=(2, *shape, 3))
    for layer in find_layers(net, *shape):
        places = [(y, x) for y in range(layer.height) for x in range(layer.width)]
        assert compare(net, layer, pixels, places[:: max(1, len(places) // 40)] + corners(layer)) <= 1e-9


@pytest.mark.parametrize("name", ["squeezenet1_0"])
def test_crop_gives_what_the_image_gives(name: str) -> None:
    net = network(name)
    pixels = np.random.default_rng(0).normal(size=(1, 160, 160, 3))
    layers = [layer for layer in find_layers(net, 160, 160) if layer.name.endswith(("expand3x3", "features.0"))]
    for layer in layers[::3]:
        assert compare(net, layer, pixels, [(0, 0), (layer.height - 1, layer.width // 2)]) <= 1e-9


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [("squeezenet1_0", 3), ("resnet18", 2), ("vgg16", 6)])
def test_crop_gives_what_the_image_gives_on_every_layer(name: str, count: int) -> None:
    """`count` of the eleven places a layer, in turn; the middle always."""
    net = network(name)
    pixels = np.random.default_rng(0).normal(size=(1, 224, 224, 3))
    for turn, layer in enumerate(find_layers(net, 224, 224)):
        every = corners(layer)
        places = [every[(turn * count + i) % len(every)] for i in range(count - 1)]
        assert compare(net, layer, pixels, [*places, (layer.height // 2, layer.width // 2)]) <= 1e-9, layer.name


# ---- geometry


@st.composite
def axes(draw: st.DrawFn) -> tuple[Axis, int, int]:
    """An axis as networks make them: fields stay within their padding, and the last reaches the image."""
    stride = draw(st.sampled_from([1, 2, 3, 4, 8, 16]))
    size = draw(st.integers(1, 120))
    start = -draw(st.integers(0, size - 1))
    length = draw(st.integers(1, 150))
    positions = draw(st.integers(1, 40))
    last = (length - 1 - start) // stride
    return Axis(size, stride, start), min(positions, last + 1), length


@given(axes(), st.integers(1, 4))
@settings(max_examples=300, deadline=None)
def test_a_crop_covers_its_field_on_the_networks_grid(case: tuple[Axis, int, int], sizes: int) -> None:
    axis, positions, length = case
    found = align(axis, positions, length, sizes)
    assert len(found.sizes) <= sizes
    for p in range(positions):
        cut = found.cut(p)
        left, right = axis.span(p)
        end = cut.start + cut.size
        assert cut.size in found.sizes
        assert cut.start >= 0
        assert end <= length
        assert cut.start % axis.stride == 0
        assert cut.position == p - cut.start // axis.stride
        assert cut.start <= max(left, 0)
        assert end >= min(right, length)
        assert left >= 0 or cut.start == 0
        assert right <= length or end == length
        # never more than the largest field needs, aligned at both ends
        assert cut.size <= min(length, axis.size + 2 * axis.stride)


@given(axes())
@settings(max_examples=100, deadline=None)
def test_more_sizes_never_cost_more(case: tuple[Axis, int, int]) -> None:
    axis, positions, length = case

    def cost(found: AlignedAxis) -> int:
        return sum(found.cut(p).size for p in range(positions))

    costs = [cost(align(axis, positions, length, sizes)) for sizes in (1, 2, 3, 50)]
    assert costs == sorted(costs, reverse=True)


def test_crops_of_squeezenet() -> None:
    net = network("squeezenet1_0")
    layers = {layer.name: geometry(layer, 224, 224) for layer in find_layers(net, 224, 224)}
    assert layers["features.3.expand3x3"].y.sizes == (16, 20)
    assert layers["features.12.expand3x3"].y.sizes == (96, 128, 160)
    crop = layers["features.12.expand3x3"].crop(0, 12)
    assert (crop.top, crop.left, crop.height, crop.width) == (0, 128, 96, 96)
    assert (crop.field_top, crop.field_left, crop.field_height, crop.field_width) == (-60, 132, 155, 155)
    assert crop.inside(224, 224) == (slice(60, 155), slice(0, 92), slice(0, 95), slice(4, 96))


def test_a_layer_that_sees_everything_takes_the_whole_image() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)).eval()
    layer = find_layers(net, 12, 14)[-1]
    found = geometry(layer, 12, 14)
    crop = found.crop(0, 0)
    assert (crop.top, crop.left, crop.height, crop.width) == (0, 0, 12, 14)
    pixels = np.random.default_rng(0).normal(size=(1, 12, 14, 3)).astype(np.float32)
    (got,) = project_examples(net, layer, found, Images(pixels, plain), [Example(0, 3, 0, 0)], KINDS, 2)
    assert got.maps["gradient"].shape == (3, 12, 14)
    assert got.response == pytest.approx(float(net(plain(pixels))[0, 3].detach()), rel=1e-5)


class CountsOnSize(nn.Module):
    """An embedding of positions: a crop cannot give what the image gives."""

    def __init__(self, adds: bool) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 4, 3, padding=1)
        self.places = nn.Parameter(torch.arange(4 * 24 * 24, dtype=torch.float32).view(1, 4, 24, 24))
        self.adds = adds

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.a(x))
        y = y + (self.places if self.adds else F.interpolate(self.places, y.shape[2:], mode="nearest"))
        return self.b(y).mean((2, 3))


@pytest.mark.parametrize("adds", [True, False])
def test_a_network_that_counts_on_its_size_is_run_on_the_whole_image(adds: bool) -> None:
    net = CountsOnSize(adds).eval()
    layers = find_layers(net, 24, 24)
    inputs = torch.randn(1, 3, 24, 24)
    first, last = (geometry(layer, 24, 24) for layer in layers)
    assert proven(net, layers[0], first, inputs) == first
    assert proven(net, layers[1], last, inputs) == last.whole()


# ---- batches


def _examples(count: int, layer: Layer) -> list[Example]:
    rng = np.random.default_rng(3)
    return [
        Example(*(int(rng.integers(n)) for n in (3, layer.channels, layer.height, layer.width))) for _ in range(count)
    ]


def _small(count: int) -> tuple[nn.Module, Layer, Geometry, Images, list[Example]]:
    net = Small().eval().requires_grad_(False)
    layer = find_layers(net, 61, 50)[2]
    pixels = np.random.default_rng(0).normal(size=(3, 61, 50, 3)).astype(np.float32)
    return net, layer, geometry(layer, 61, 50), Images(pixels, plain), _examples(count, layer)


def _close(a: Projected, b: Projected) -> bool:
    return all(np.allclose(a.maps[k], b.maps[k], rtol=1e-4, atol=1e-5 * np.abs(b.maps[k]).max()) for k in KINDS)


def test_every_example_comes_once_and_twice_the_same() -> None:
    net, layer, found, images, examples = _small(45)
    first = list(project_examples(net, layer, found, images, examples, KINDS, 8))
    again = list(project_examples(net, layer, found, images, examples, KINDS, 8))
    assert sorted(p.index for p in first) == list(range(45))
    assert [p.index for p in first] == [p.index for p in again]
    assert all(np.array_equal(a.maps[k], b.maps[k]) for a, b in zip(first, again, strict=True) for k in KINDS)
    single = {p.index: p for e in range(0, 45, 9) for p in _alone(net, layer, found, images, examples, e)}
    assert all(_close(p, single[p.index]) for p in first if p.index in single)


def _alone(
    net: nn.Module, layer: Layer, found: Geometry, images: Images, examples: list[Example], index: int
) -> list[Projected]:
    return [
        Projected(index, p.crop, p.response, p.maps)
        for p in project_examples(net, layer, found, images, [examples[index]], KINDS, 8)
    ]


def test_calls_of_the_network_have_few_shapes() -> None:
    net, layer, found, images, examples = _small(45)
    shapes: list[tuple[int, ...]] = []
    handle = net.register_forward_pre_hook(lambda m, i: shapes.append(tuple(i[0].shape)))
    list(project_examples(net, layer, found, images, examples, KINDS, 8))
    handle.remove()
    assert {shape[0] for shape in shapes} <= {1, 2, 4, 8}
    assert len({shape[2:] for shape in shapes}) <= 9


@pytest.mark.parametrize(
    ("count", "size", "rows"), [(16, 16, 16), (9, 16, 16), (8, 16, 8), (3, 16, 4), (1, 16, 1), (2, 6, 3), (5, 7, 7)]
)
def test_rows_of_a_call(count: int, size: int, rows: int) -> None:
    assert rows_for(count, size) == rows


def test_project_takes_any_positions() -> None:
    net, layer, found, images, examples = _small(5)
    inputs = plain(images.pixels)[[e.image for e in examples]]
    positions = torch.tensor([(e.y, e.x) for e in examples])
    got = project(net, layer, inputs, positions, torch.tensor([e.channel for e in examples]), KINDS, torch.ones(5))
    for p in project_examples(net, layer, found, images, examples, KINDS, 5):
        whole = Geometry.whole(found).crop(examples[p.index].y, examples[p.index].x)
        for kind in KINDS:
            laid = on_field(got[kind][p.index].numpy(), whole, 61, 50)
            assert np.allclose(laid, p.maps[kind], atol=1e-5)
            # what lies outside the field is 0: nothing was cut away
            assert np.linalg.norm(laid) == pytest.approx(float(got[kind][p.index].norm()), rel=1e-6)


@pytest.mark.parametrize(("bend", "refused"), [(F.relu, False), (F.silu, True)])
def test_refusal_is_said_beforehand(bend: Callable[[Tensor], Tensor], refused: bool) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(bend(self.a(x))).mean((2, 3))

    net = Net()
    first, last = find_layers(net.eval(), 12, 12)
    assert refusal(net, first, torch.zeros(1, 3, 12, 12)) is None
    why = refusal(net, last, torch.zeros(1, 3, 12, 12))
    assert (why is not None and "silu" in why) == refused
