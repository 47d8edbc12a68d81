"""Neurons taken out against naive hooks; pictures against the stored ones; edits and places against planted cases."""

from __future__ import annotations

import copy
import io
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from atlas.errors import InputError
from atlas.network.graph import trace
from atlas.network.layers import layers_of
from atlas.network.outputs import answer_with_one_output
from probe import accuracy, edits, originals
from probe.answer import see
from probe.forward import forward
from probe.kept import Kept
from probe.pictures import MAP, MAPS, Picture, Wanted, of_example, picture
from probe.places import alike, where_else
from probe.protocol import Asked
from probe.subjects import Subject
from tests import token_nets


def naive(module: nn.Module, name: str, channel: int, axis: int, value: float, inputs: torch.Tensor) -> torch.Tensor:
    """The logits when a plain hook writes the value into a copy of a module's output."""

    def hook(_: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
        changed = output.clone()
        changed.select(axis, channel).fill_(value)
        return changed

    handle = dict(module.named_modules())[name].register_forward_hook(hook)
    try:
        return module(inputs)
    finally:
        handle.remove()


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_taking_a_neuron_out_is_what_a_hook_does(subject: Subject, value: float) -> None:
    """Convolution, fused batch norm, block, linear layer."""
    module = copy.deepcopy(subject.session.module).double()
    inputs = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    plain = module(inputs)
    kinds = set()
    for layer in subject.session.layers:
        expected = naive(module, layer.module, 1, layer.channel_axis, value, inputs)
        got = forward(module, inputs, [layer], ablation={layer.name: {1: value}}).logits
        assert float((got - expected).abs().max()) <= 1e-9
        assert torch.equal(module(inputs), plain)
        kinds.add((layer.kind, layer.normalised is not None))
    assert {("conv", True), ("conv", False), ("block", False), ("linear", False)} <= kinds


def test_taking_a_token_layers_neuron_out() -> None:
    module = token_nets.vit().double().eval().requires_grad_(False)
    answer_with_one_output(module, "logits", True)
    inputs = torch.randn(1, 1, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    layers = [each for each in layers_of(trace(module, inputs)) if each.tokens and not each.function]
    assert layers
    for layer in layers:
        expected = naive(module, layer.module, 1, layer.channel_axis, 0.0, inputs)
        got = forward(module, inputs, [layer], ablation={layer.name: {1: 0.0}}).logits
        assert float((got - expected).abs().max()) <= 1e-9


def test_pictures_equal_those_of_the_build(subject: Subject) -> None:
    rows = subject.atlas.query(
        "SELECT * FROM explanations WHERE picture.pack IS NOT NULL AND sufficiency IS NOT NULL"
    ).to_arrow_table().to_pylist()  # fmt: skip
    flips = 0
    for row in rows[:: max(len(rows) // 20, 1)]:
        layer = subject.layer(row["layer"])
        values = {"side": row["side"], "rank": str(row["rank"])}
        wanted, example = of_example(subject, Wanted(layer, row["channel"], row["kind"]), values)
        body, source = originals.image(subject, example.image_id)
        assert source == originals.ORIGINAL
        made = picture(subject, see(subject, body).pixels, wanted)
        stored = Image.open(io.BytesIO(subject.atlas.picture_bytes(row["picture"])))
        drawn = Image.open(io.BytesIO(made.body))
        assert drawn.size == stored.size
        gap = np.abs(np.asarray(drawn, float) - np.asarray(stored, float)).max()
        flips += gap > 2  # grey levels: a rounding that flips a switch now and then
        if gap <= 2:
            assert made.said["sufficiency"] == pytest.approx(row["sufficiency"], abs=1e-3)
            assert made.said["comprehensiveness_random"] == pytest.approx(row["comprehensiveness_random"], abs=1e-3)
    assert flips <= 1


def some(subject: Subject, image_id: int = 8) -> np.ndarray:
    return see(subject, originals.image(subject, image_id).body).pixels


def test_all_maps_and_one(subject: Subject) -> None:
    layer = subject.layer("conv1")
    made = picture(subject, some(subject), Wanted(layer, 0, MAPS))
    module, kept = subject.session.module, []
    forward(module, subject.session.call(some(subject)[None], [0]), [layer], lambda _, maps: kept.append(maps.clone()))
    assert made.said["zeros"] == pytest.approx(float((kept[0] <= 0).float().mean()))
    assert picture(subject, some(subject), Wanted(layer, 2, MAP)).said["response"] == pytest.approx(
        float(kept[0][0, 2].max())
    )


def test_occlusion_and_what_is_not_there(subject: Subject) -> None:
    layer = subject.layer("conv1")
    driven = [c for c in range(6) if picture(subject, some(subject), Wanted(layer, c, MAP)).said["response"] > 0]  # type: ignore[operator]
    assert picture(subject, some(subject), Wanted(layer, driven[0], "occlusion")).media == "image/webp"
    with pytest.raises(InputError, match="nothing in the image drives"):
        picture(subject, some(subject), Wanted(subject.layer("conv2"), 6, "gradient"))  # the dead one
    silent = {"conv1": {driven[0]: 0.0}}
    with pytest.raises(InputError, match="nothing in the image drives"):
        picture(subject, some(subject), Wanted(layer, driven[0], "gradient"), silent)


def test_edits_keep_what_they_keep() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (34, 34, 3), np.uint8)
    moved = edits.shuffled(pixels, 4)
    assert not np.array_equal(moved, pixels)
    assert np.array_equal(moved, edits.shuffled(pixels, 4))
    cells = lambda of: Counter(of[a : a + 8, b : b + 8].tobytes() for a in range(0, 32, 8) for b in range(0, 32, 8))  # noqa: E731
    assert cells(moved) == cells(pixels)
    assert np.array_equal(moved[32:], pixels[32:])
    grey = edits.gray(pixels)
    assert (grey == grey[..., :1]).all()
    assert edits.blurred(pixels).std() < pixels.std() / 2
    with pytest.raises(InputError):
        edits.shuffled(pixels[:2, :2], 4)


def test_a_planted_vector_is_found() -> None:
    maps = np.random.default_rng(0).normal(size=(16, 5, 5)).astype(np.float32)
    assert alike(3 * maps[:, 2, 4], maps).argmax() == 2 * 5 + 4
    assert alike(maps[:, 2, 4], maps).max() == pytest.approx(1, abs=1e-6)
    assert not alike(np.zeros(16, np.float32), maps).any()


def test_the_same_image_is_the_most_alike_place(subject: Subject) -> None:
    found = where_else(subject, some(subject), 3, subject.layer("block"), 5, 6)
    assert (found[0]["image_id"], found[0]["y"], found[0]["x"]) == (8, 5, 6)
    assert found[0]["similarity"] == pytest.approx(1, abs=1e-5)


def test_accuracy_before_is_the_atlass(subject: Subject) -> None:
    tally = accuracy.Tally(subject, Asked(edit="gray"), 30)
    for image_id, class_id in tally.images:
        tally.count(image_id, class_id)
    told = tally.told()
    ids = ",".join(str(image_id) for image_id, _ in tally.images)
    right = subject.atlas.query(f"SELECT avg((predicted = class_id)::INT) FROM images WHERE image_id IN ({ids})")
    assert told["before"] == pytest.approx(right.fetchall()[0][0])
    assert (told["n"], told["from_frames"]) == (30, 0)


def test_what_is_kept_is_bounded() -> None:
    kept, one = Kept(100), Picture(b"", "image/webp")
    for key in "abc":
        kept.put(key, one, 40)
    assert kept.get("a") is None
    assert kept.get("c") is one
