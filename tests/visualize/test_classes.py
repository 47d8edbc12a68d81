"""Pictures of classes, and the sensitivity matrix, on small networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atlas.visualize import files
from atlas.visualize.canvas import canvas_of
from atlas.visualize.chunk import work
from atlas.visualize.classes import draw_classes, judged
from atlas.visualize.neurons import respond
from atlas.visualize.sensitivity import sensitivity
from atlas.visualize.settings import VisualizationSettings
from tests.visualize.subjects import Convolutions, layers_of, noise, subject

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("objective", ["logit", "probability"])
@pytest.mark.parametrize("method", ["l2", "fourier"])
def test_the_network_sees_the_class_in_the_stored_file(method: str, objective: str) -> None:
    module = Convolutions()
    sub = subject(module)
    found = draw_classes(sub, (32, 32), [0, 1, 2, 3], 2, method, objective, 60, 4, 0)
    assert [(p.class_id, p.repeat) for p in found] == [
        (c, r) for c in range(4) for r in range(1 if method == "l2" else 2)
    ]
    before = module(sub.inputs(noise(4), 4)).detach().numpy().max(0)
    for picture in found:
        stored = files.decode(picture.body, 3)
        with torch.no_grad():
            scores = module(sub.inputs(stored[None], 4))[0].double()
        assert picture.logit == pytest.approx(float(scores[picture.class_id]), rel=1e-5)
        assert picture.probability == pytest.approx(float(scores.softmax(0)[picture.class_id]), rel=1e-5)
        assert picture.rank == int((scores > scores[picture.class_id]).sum())
        if objective == "logit":
            assert picture.logit > before[picture.class_id]


def test_probability_also_lowers_the_other_classes() -> None:
    module = Convolutions()
    with torch.no_grad():
        module.head.weight.mul_(100)
    sub = subject(module)
    by_logit, by_probability = (
        draw_classes(sub, (32, 32), [1], 1, "l2", o, 60, 1, 0)[0] for o in ("logit", "probability")
    )
    assert by_logit.logit > by_probability.logit


def test_another_network_judges_a_file_as_it_judges_any_image() -> None:
    module = Convolutions(1)
    sub = subject(module)
    images = list(noise(5))
    got = np.stack(judged(module, sub.normalise, images, 2))
    with torch.no_grad():
        expected = module(sub.normalise(noise(5))).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_sensitivity_is_each_neuron_s_response_to_every_picture() -> None:
    module = Convolutions()
    sub, layers = subject(module), layers_of(module)
    canvas = canvas_of(layers[0], 32, 32)
    settings = VisualizationSettings(methods=("l2",), signs=("+",), repeats=3, steps=20, rows=6)
    found = work(sub, layers, layers[0], canvas, [4, 0, 3], {}, settings)
    channels, matrix = sensitivity(found, "l2")
    assert channels == [0, 3, 4]
    for column, channel in enumerate(channels):
        drawn = max(next(n for n in found if n.channel == channel).pictures, key=lambda d: d.response)
        values = respond(sub, layers[0], canvas, files.decode(drawn.body, 3)[None], 6)[0]
        np.testing.assert_allclose(matrix[:, column], values[channels], rtol=1e-5)
    # On the ball its own picture drives a filter more than another's of the same norm does.
    assert (matrix.argmax(1) == np.arange(3)).all()


def test_nothing_drawn_gives_an_empty_matrix() -> None:
    assert sensitivity([], "l2")[1].shape == (0, 0)
