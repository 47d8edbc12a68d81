"""The canvas: at the neuron's position it gives what the whole input gives, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from atlas.explain.backward import Responses
from atlas.types import Axis, Field, Layer
from atlas.visualize.canvas import canvas_of, proven
from tests.visualize.subjects import Convolutions, layers_of


@pytest.mark.parametrize("side", [32, 33, 47])
@pytest.mark.parametrize("name", ["first", "second", "third"])
def test_it_gives_what_the_whole_gives(name: str, side: int) -> None:
    module = Convolutions().double().eval()
    layer = next(each for each in layers_of(module, side) if each.name == name)
    canvas = canvas_of(layer, side, side)
    inputs = torch.randn(1, 3, side, side, dtype=torch.float64)
    part = inputs[:, :, canvas.top : canvas.top + canvas.height, canvas.left : canvas.left + canvas.width]
    with Responses(module, layer) as responses:
        on_canvas = responses.maps(part.clone())[0, :, canvas.y, canvas.x]
        whole = responses.maps(inputs.clone())[0]
    step = layer.field.y.stride
    expected = whole[:, canvas.y + canvas.top // step, canvas.x + canvas.left // step]
    assert canvas.height < side
    torch.testing.assert_close(on_canvas, expected, rtol=1e-12, atol=1e-12)
    assert proven(module, layer, canvas, inputs) == canvas


@pytest.mark.parametrize("name", ["first", "second", "third"])
def test_the_field_lies_inside_with_its_margin(name: str) -> None:
    layer = next(each for each in layers_of(Convolutions()) if each.name == name)
    canvas = canvas_of(layer, 32, 32)
    left, right = layer.field.x.span(canvas.x + canvas.left // layer.field.x.stride)
    assert canvas.left + 2 <= left
    assert right <= canvas.left + canvas.width - 2


def test_a_field_that_padding_always_reaches_takes_the_whole_input() -> None:
    axis = Axis(41, 1, -20)
    layer = Layer(0, "deep", "conv", 4, 32, 32, Field(axis, axis), True, "deep")
    canvas = canvas_of(layer, 32, 32)
    assert (canvas.whole, canvas.height, canvas.width, canvas.y, canvas.x) == (True, 32, 32, 15, 15)


def test_a_global_field_takes_the_whole_input() -> None:
    head = layers_of(Convolutions())[-1]
    assert head.field.global_field
    assert canvas_of(head, 32, 32).whole


class Positions(nn.Module):
    """Adds what depends on the input's size."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x + x.shape[2]).mean((2, 3))


def test_a_network_that_counts_on_its_size_is_given_the_whole() -> None:
    module = Positions().eval()
    layer = layers_of(module)[0]
    canvas = canvas_of(layer, 32, 32)
    assert not canvas.whole
    assert proven(module, layer, canvas, torch.randn(1, 3, 32, 32)).whole


def test_a_box_around_a_field_is_moved_into_the_image() -> None:
    layer = layers_of(Convolutions())[1]
    canvas = canvas_of(layer, 32, 32)
    assert canvas.around((-3, -3, 2, 2), 32, 32) == (0, 0)
    assert canvas.around((30, 30, 35, 35), 32, 32) == (32 - canvas.height, 32 - canvas.width)
