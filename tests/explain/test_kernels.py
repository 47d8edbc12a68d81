"""Raw kernels as grids: by hand, slice by slice against a slow twin, and whose kernels they are."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from atlas.explain import draw, kernels
from atlas.explain.filters import KERNEL, filter_rows
from atlas.network.graph import trace
from atlas.network.layers import example, find_layers
from atlas.store.pictures import PackWriter

BLUE = list(kernels.LINE)


def opened(drawn: draw.Drawn | None) -> NDArray[np.uint8]:
    assert drawn is not None
    return np.asarray(Image.open(io.BytesIO(drawn.body)).convert("RGB"))


def test_by_hand() -> None:
    kernel = np.array([[[1.0, 0.0]], [[0.0, -4.0]], [[4.0, 0.0]]])  # three inputs of 1 × 2 weights
    picture = opened(kernels.drawn(kernel, 11))  # two columns of two weights of two pixels, three lines
    assert picture.shape == (7, 11, 3)
    assert kernels.by_strength(kernel).tolist() == [1, 2, 0]  # equal norms by their number
    row = [BLUE, *[[128] * 3] * 2, *[[0] * 3] * 2, BLUE, *[[255] * 3] * 2, *[[128] * 3] * 2, BLUE]
    assert picture[1].tolist() == picture[2].tolist() == row
    assert picture[4, 1].tolist() == [round(127.5 + 127.5 / 4)] * 3
    assert picture[4, 6:].tolist() == [BLUE] * 5  # no fourth input


def naive(kernel: NDArray[np.float64], columns: int, cell: int, scale: float) -> dict[tuple[int, int], int]:
    """Grey value of each pixel that shows a weight, one pixel at a time."""
    norms = [math.sqrt(sum(float(w) ** 2 for w in part.ravel())) for part in kernel]
    order = sorted(range(len(kernel)), key=lambda c: (-norms[c], c))[: kernels.MOST]
    pixels = {}
    for place, c in enumerate(order):
        for i in range(kernel.shape[1]):
            for j in range(kernel.shape[2]):
                grey = int(np.rint(127.5 + 127.5 * max(-1.0, min(1.0, kernel[c, i, j] / scale))))
                for y in range(cell):
                    for x in range(cell):
                        top = 1 + (place // columns) * (kernel.shape[1] * cell + 1) + i * cell + y
                        left = 1 + (place % columns) * (kernel.shape[2] * cell + 1) + j * cell + x
                        pixels[top, left] = grey
    return pixels


@pytest.mark.parametrize(("inputs", "high", "wide"), [(1, 3, 3), (7, 1, 1), (5, 2, 7), (64, 3, 3), (100, 3, 1)])
def test_against_the_slow_twin(inputs: int, high: int, wide: int) -> None:
    kernel = np.random.default_rng(inputs).normal(size=(inputs, high, wide))
    drawn = kernels.drawn(kernel, 224)
    picture = opened(drawn)
    assert max(picture.shape) <= 224
    assert drawn is not None
    columns = math.ceil(math.sqrt(min(inputs, kernels.MOST)))
    cell = (picture.shape[1] - 1 - columns) // (columns * wide)
    expected = naive(kernel, columns, cell, drawn.scale)
    shown = np.zeros(picture.shape[:2], bool)
    for (y, x), grey in expected.items():
        shown[y, x] = True
        assert picture[y, x].tolist() == [grey] * 3
    assert (picture[~shown] == BLUE).all()


def test_nothing_is_drawn_of_nothing() -> None:
    assert kernels.drawn(np.zeros((4, 3, 3)), 64) is None


class Standardised(nn.Conv2d):
    """A convolution whose weights are not those it uses."""

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.weight - self.weight.mean(), self.bias)


def test_whose_kernels() -> None:
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3, groups=2, bias=False), nn.BatchNorm2d(6), nn.SiLU()]
    net = nn.Sequential(*body, nn.Conv2d(6, 5, 1), Standardised(5, 5, 1), nn.Flatten(), nn.Linear(5 * 64, 2)).eval()
    norm = net[3]
    assert isinstance(norm, nn.BatchNorm2d)
    norm.weight.data.copy_(torch.tensor([1.0, -2, 3, 1, 1, 0]))
    norm.running_var = torch.tensor([1.0, 4, 9, 16, 1, 1])
    layers = find_layers(net, 12, 12)
    graph = trace(net, torch.zeros(1, 3, 12, 12))
    found = {layer.name: kernel for layer, kernel in kernels.find_kernels(graph, layers)}
    assert list(found) == ["0", "2", "5"]  # neither the standardised one nor the linear layer
    factor = torch.tensor([1.0, -2, 3, 1, 1, 0]).double() / torch.sqrt(
        torch.tensor([1.0, 4, 9, 16, 1, 1]).double() + 1e-5
    )
    weight = net[2].weight.detach().double()  # type: ignore[operator, union-attr]
    assert found["2"].shape == (6, 2, 3, 3)
    np.testing.assert_allclose(found["2"], (weight * factor.view(-1, 1, 1, 1)).numpy(), rtol=1e-12)
    stream = io.BytesIO()
    rows = filter_rows(trace(net, example(net, 12, 12)), layers, PackWriter(stream, "filters.tar"), 64).to_pylist()
    of_kind = [(r["layer"], r["channel"], r["picture"]["why"]) for r in rows if r["kind"] == KERNEL]
    assert of_kind == [*(("2", c, None) for c in range(5)), ("2", 5, "the filter is 0 everywhere")] + [
        ("5", c, None) for c in range(5)
    ]
    at = rows[-1]["picture"]
    assert stream.getvalue()[at["offset"] : at["offset"] + at["length"]] == kernels.drawn(found["5"][4], 64).body  # type: ignore[union-attr]
