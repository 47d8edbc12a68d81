"""A chunk of neurons, and a layer of chunks, on a small network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from atlas.types import Layer
from atlas.visualize import files, layer
from atlas.visualize.canvas import Canvas, canvas_of
from atlas.visualize.chunk import UNREACHED, Neuron, chunk_size, work
from atlas.visualize.features import features, judge_of, up_to
from atlas.visualize.natural import Natural, Seen, anywhere, cut
from atlas.visualize.neurons import Subject, respond
from atlas.visualize.settings import VisualizationSettings
from tests.visualize.subjects import Convolutions, layers_of, noise, subject

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = VisualizationSettings(steps=6, rows=4)


def natural(canvas: Canvas, where: Layer, channels: list[int]) -> dict[int, Natural]:
    inputs = dict(enumerate(noise(20)))
    nine = [Seen(i, 3, 3) for i in range(9)]
    held = [Seen(i, 5, 5) for i in range(10, 20)]
    strongest, held_out = cut(canvas, where, inputs, nine), cut(canvas, where, inputs, held)
    return {c: Natural(strongest, held_out, anywhere(canvas, inputs, held, c), 0.5, -0.5) for c in channels}


def everything(
    settings: VisualizationSettings = SETTINGS, size: int = 2
) -> tuple[Subject, Layer, Canvas, list[Neuron]]:
    module = Convolutions()
    sub, layers = subject(module), layers_of(module)
    where = layers[2]
    canvas = canvas_of(where, 32, 32)
    found = []
    for start in range(0, 8, size):
        channels = list(range(start, min(start + size, 8)))
        found += work(sub, layers, where, canvas, channels, natural(canvas, where, channels), settings)
    return sub, where, canvas, found


def test_a_chunk_fills_a_call() -> None:
    assert chunk_size(VisualizationSettings()) == 4
    assert chunk_size(VisualizationSettings(signs=("+",), repeats=9, rows=4)) == 1


def test_all_pictures_are_there_and_score_from_their_files() -> None:
    sub, where, canvas, found = everything()
    assert [n.channel for n in found] == list(range(8))
    for neuron in found:
        assert [(d.wanted.sign, d.wanted.repeat) for d in neuron.pictures] == [(1, 0), (1, 1), (-1, 0), (-1, 1)]
        for drawn in neuron.pictures:
            stored = files.decode(drawn.body, 3)
            assert stored.shape == (canvas.height, canvas.width, 3)
            again = respond(sub, where, canvas, stored[None], 4)[0, neuron.channel]
            assert drawn.response == pytest.approx(again, rel=1e-5)
            assert drawn.attained == pytest.approx(drawn.response / (0.5 * drawn.wanted.sign))
            assert drawn.wanted.sign > 0 or drawn.path is None


def test_any_cut_into_chunks_gives_the_same_pictures() -> None:
    one, other = everything(size=1)[3], everything(size=4)[3]
    for a, b in zip(one, other, strict=True):
        assert [d.body for d in a.pictures] == [d.body for d in b.pictures]


def test_a_layer_beside_itself() -> None:
    _, where, _, found = everything()
    judged = layer.judge(found, where.name, 0)
    assert len(judged) == 32
    best = judged[0, "fourier", 1, 0]
    for value in (best.choice, best.choice_natural, best.choice_other, best.choice_shuffled, best.agreement):
        assert value is not None
        assert 0 <= value <= 1
    low = judged[0, "fourier", -1, 1]
    assert (low.choice, low.choice_natural) == (None, None)
    assert low.agreement is not None
    assert judged == layer.judge(found, where.name, 0)


def test_without_natural_pictures_there_is_no_test() -> None:
    module = Convolutions()
    sub, layers = subject(module), layers_of(module)
    canvas = canvas_of(layers[2], 32, 32)
    found = work(sub, layers, layers[2], canvas, [0, 1, 2], {}, SETTINGS)
    assert found[0].pictures[0].attained is None
    assert found[0].natural is None
    assert layer.judge(found, "third", 0)[0, "fourier", 1, 0].choice is None


class Cut(nn.Module):
    """A network through which no gradient goes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.second = nn.Conv2d(4, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)).detach()).mean((2, 3))


def test_a_network_without_gradients_says_why() -> None:
    module = Cut()
    layers = layers_of(module)
    found = work(subject(module), layers, layers[1], canvas_of(layers[1], 32, 32), [0, 1], {}, SETTINGS)
    assert [(n.channel, len(n.pictures)) for n in found] == [(0, 0), (1, 0)]
    assert found[0].why == "the network gives no gradient with respect to its input"


def test_features_against_their_definition() -> None:
    module = Convolutions()
    sub, layers = subject(module), layers_of(module)
    images = noise(5)
    got = features(sub, [layers[1]], images, 2)[0]
    with torch.no_grad():
        inputs = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
        maps = torch.relu(module.second(torch.relu(module.first(inputs)))).numpy()
    np.testing.assert_allclose(got[:, :8], maps.mean((2, 3)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got[:, 8:], maps.std((2, 3)), rtol=1e-4, atol=1e-5)


def test_pictures_are_never_judged_by_their_own_layer() -> None:
    layers = layers_of(Convolutions())
    assert [judge_of(each, layers).name for each in layers] == ["second", "first", "first", "first"]
    assert [each.name for each in up_to(layers[1], layers)] == ["first", "second"]


def test_natural_pictures_show_the_field_and_stay_in_the_image() -> None:
    where = layers_of(Convolutions())[1]
    canvas = canvas_of(where, 32, 32)
    inputs: Mapping[int, np.ndarray] = dict(enumerate(noise(2)))  # type: ignore[type-arg]
    corner, middle = cut(canvas, where, inputs, [Seen(0, 0, 0), Seen(1, 8, 8)])
    np.testing.assert_array_equal(corner, inputs[0][: canvas.height, : canvas.width])
    left, right = where.field.x.span(8)
    start = (left + right - canvas.width) // 2
    np.testing.assert_array_equal(middle, inputs[1][start : start + canvas.width, start : start + canvas.width])
    places = [anywhere(canvas, inputs, [Seen(0, 0, 0)], key) for key in ("a", "a", "b")]
    np.testing.assert_array_equal(places[0], places[1])
    assert (places[0] != places[2]).any()


def test_a_neuron_that_nothing_changes_has_no_picture() -> None:
    module = Convolutions()
    with torch.no_grad():
        module.third.weight[5] = 0
    layers = layers_of(module)
    found = work(subject(module), layers, layers[2], canvas_of(layers[2], 32, 32), [4, 5, 6], {}, SETTINGS)
    assert [len(neuron.pictures) for neuron in found] == [4, 0, 4]
    assert found[1].why == UNREACHED
