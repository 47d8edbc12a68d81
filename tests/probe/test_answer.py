"""An image of the data set, sent as its stored bytes, gets what the atlas says of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas.read.habits import Habits
from atlas.types import Layer
from probe import answer
from probe.forward import forward
from probe.protocol import Asked
from probe.subjects import Subject


@pytest.fixture(scope="module")
def usable(subject: Subject, bodies: dict[int, bytes]) -> dict[int, bytes]:
    scanned = set(subject.atlas.query("SELECT image_id FROM images").to_arrow_table()["image_id"].to_pylist())
    return {i: body for i, body in bodies.items() if i in scanned}


def test_prediction_and_own_image(subject: Subject, usable: dict[int, bytes]) -> None:
    rows = subject.atlas.query("SELECT image_id, predicted, probability FROM images").to_arrow_table().to_pylist()
    for row in rows[::5]:
        told = answer.tell(subject, answer.see(subject, usable[row["image_id"]]), Asked(k=3))
        assert told["prediction"][0]["class_id"] == row["predicted"]
        assert told["prediction"][0]["probability"] == pytest.approx(row["probability"], abs=1e-5)
        own = dict(map(tuple, told["neighbours"]))  # an exact duplicate may stand before it
        assert own[row["image_id"]] >= 0.99999
        assert max(own.values()) == pytest.approx(own[row["image_id"]], abs=1e-5)


def test_every_response_of_the_sample(subject: Subject, usable: dict[int, bytes]) -> None:
    table = subject.atlas.query("SELECT * FROM responses").to_arrow_table().to_pylist()
    by_layer: dict[str, list[dict[str, object]]] = {}
    for row in table:
        by_layer.setdefault(str(row["layer"]), []).append(row)
    for layer in subject.session.layers:
        rows = by_layer[layer.name]
        scale = float(np.std([row["max"] for row in rows]))  # type: ignore[arg-type]
        for row in rows:
            assert isinstance(row["image_id"], int)
            seen = answer.see(subject, usable[row["image_id"]])
            told = answer.tell(subject, seen, Asked(k=100, layers=(layer.name,)))
            assert len(told["layers"]) == 1
            neurons = told["layers"][0]["neurons"]
            assert len(neurons) == layer.channels
            found = {n["channel"]: n["response"] for n in neurons}
            difference = np.abs(np.array([found[c] for c in range(layer.channels)]) - np.array(row["max"]))
            assert difference.max() <= 1e-5 * scale


def test_positions_fields_and_cells_are_those_of_the_examples(subject: Subject, usable: dict[int, bytes]) -> None:
    examples = subject.atlas.query("SELECT * FROM examples WHERE side = 'max' AND rank < 2").to_arrow_table()
    ties = 0
    for row in examples.to_pylist():
        seen = answer.see(subject, usable[row["image_id"]])
        told = answer.tell(subject, seen, Asked(k=100, layers=(row["layer"],)))
        found = next(n for n in told["layers"][0]["neurons"] if n["channel"] == row["channel"])
        if (found["y"], found["x"]) != (row["y"], row["x"]):
            ties += 1
            continue
        edges = ("left", "top", "right", "bottom")
        assert found["field"] == [row[f"field_{e}"] for e in edges]
        assert found["cell"] == [row[f"cell_{e}"] for e in edges]
        assert found["box"] == pytest.approx([row[f"image_{e}"] for e in edges])
    assert ties <= len(examples) // 50


def test_quantiles_hold_the_images_rank(subject: Subject, usable: dict[int, bytes]) -> None:
    """Against the responses themselves: every image was run, so the true share below is known."""
    layers = list(subject.session.layers)
    found: dict[str, list[np.ndarray]] = {layer.name: [] for layer in layers}

    def take(layer: Layer, maps: Tensor) -> None:
        found[layer.name].append(maps[0].amax((1, 2)).numpy().copy())

    for body in usable.values():
        seen = answer.see(subject, body)
        forward(subject.session.module, subject.session.call(seen.pixels[None], [0]), layers, take)
    habits = Habits(subject.atlas.store.neurons)
    for layer in layers:
        responses = np.stack(found[layer.name])  # (images, channels)
        for image in (0, 7, 40, len(responses) - 1):
            places = habits.places(subject.numbers(layer), responses[image])
            below = (responses < responses[image] - 1e-6).mean(axis=0)
            upto = (responses <= responses[image] + 1e-6).mean(axis=0)
            assert (places.low <= upto + 1e-9).all()
            assert (places.high >= below - 1e-9).all()
            assert ((places.low <= places.quantile) & (places.quantile <= places.high)).all()


def test_the_order_is_by_quantile_then_deviations(subject: Subject, usable: dict[int, bytes]) -> None:
    for layer in answer.tell(subject, answer.see(subject, usable[8]), Asked(k=100))["layers"]:
        order = [(-n["quantile"], -n["deviations"], n["channel"]) for n in layer["neurons"]]
        assert order == sorted(order)


def hooks(module: torch.nn.Module) -> list[tuple[int, int]]:
    return [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in module.modules()]


def test_the_network_is_left_as_it_was(subject: Subject, usable: dict[int, bytes]) -> None:
    module = subject.session.module
    before = {name: value.clone() for name, value in module.state_dict().items()}
    had = hooks(module)
    answer.tell(subject, answer.see(subject, usable[8]), Asked(ablate=(("conv1", 2), ("block", 1)), to="mean"))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert hooks(module) == had
