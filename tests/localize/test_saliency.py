"""Class saliency, of the score before any last rectifier."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atlas.images import decode
from atlas.localize import boxes
from atlas.localize.saliency import Score, saliency, score_of, smooth
from atlas.network.graph import trace
from atlas.network.layers import example
from atlas.network.load import import_torchvision
from atlas.types import Box
from tests import tiny

pytestmark = pytest.mark.usefixtures("one_thread")


def scores(module: nn.Module, size: int = 32) -> Score:
    return score_of(trace(module, example(module, size, size)))


def test_where_the_scores_are_taken() -> None:
    squeezenet = import_torchvision().models.squeezenet1_1(weights=None)
    assert scores(squeezenet, 64) == Score("classifier.1")
    assert scores(tiny.module()) == Score(None)
    assert scores(import_torchvision().models.resnet18(weights=None), 64) == Score(None)


@pytest.mark.parametrize("name", ["tiny", "squeezenet1_1"])
def test_against_one_image_at_a_time(name: str) -> None:
    torch.manual_seed(0)
    module = tiny.module() if name == "tiny" else import_torchvision().models.squeezenet1_1(weights=None, num_classes=4)
    module = module.double().train()
    images = torch.rand(3, 3, 32, 32).double()
    wanted = torch.tensor([1, 3, 0])
    found = saliency(module, scores(module), images, [None, wanted])
    assert all(part.training for part in module.modules())
    assert not any(part._forward_hooks for part in module.modules())
    module.eval()
    for i in range(3):
        for place, classes in enumerate((torch.from_numpy(found.logits).argmax(1), wanted)):
            leaf = images[i : i + 1].clone().requires_grad_(True)
            if name == "tiny":
                score = module(leaf)[0, classes[i]]
            else:
                score = module.classifier[1](module.features(leaf))[0, classes[i]].mean()  # type: ignore[union-attr, index, operator]
            (slope,) = torch.autograd.grad(score, leaf)
            np.testing.assert_allclose(found.maps[place][i], slope[0].abs().amax(0).numpy(), rtol=1e-5, atol=1e-7)


def test_a_score_below_zero_has_a_gradient_too() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    with torch.no_grad():
        module[0].weight.fill_(1.0)
        module[0].bias.fill_(-100.0)
    found = saliency(module, scores(module, 8), torch.rand(1, 3, 8, 8), [torch.tensor([1])])
    assert found.logits.tolist() == [[0, 0]]
    np.testing.assert_allclose(found.maps[0], 1 / 64, rtol=1e-6)


class Bright(nn.Module):
    """Two classes: how much is bright, and how much is dark. Its gradient lies on what it counts."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([F.relu(x - 0.5).sum((1, 2, 3)), F.relu(0.5 - x).sum((1, 2, 3))], 1)


@pytest.mark.parametrize("size", [(120, 80), (80, 120), (300, 200)])
def test_a_white_square_is_found_by_the_network_that_sees_it(size: tuple[int, int]) -> None:
    from PIL import Image

    width, height = size
    square = Box(width // 2 - 15, height // 2 - 20, width // 2 + 18, height // 2 + 11)
    image = Image.new("RGB", size)
    image.paste((255, 255, 255), tuple(int(e) for e in (square.left, square.top, square.right, square.bottom)))
    preprocessing = decode.Preprocessing(72, 64)
    pixels = decode.to_input(image, preprocessing)
    inputs = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    found = saliency(Bright(), Score(None), inputs, [torch.tensor([0]), None])
    placement = decode.place(width, height, preprocessing)
    box = boxes.stored(boxes.at_levels(found.maps[0][0], (0.5,))[0], placement, width, height)
    assert box is not None
    edges = [(box.left, square.left), (box.right, square.right), (box.top, square.top), (box.bottom, square.bottom)]
    for (got, want), scale in zip(edges, [placement.scale_x] * 2 + [placement.scale_y] * 2, strict=True):
        assert abs(got - want) <= scale + 1e-9
    assert not np.array_equal(found.maps[0], found.maps[1])  # what is predicted is the dark


def test_smoothing_keeps_the_sum() -> None:
    values = np.zeros((64, 64))
    values[30, 20] = 5
    assert smooth(values).sum() == pytest.approx(5, rel=1e-4)
    assert smooth(values)[30, 20] == smooth(values).max()
