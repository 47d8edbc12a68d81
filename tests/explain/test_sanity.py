"""Pictures before and after weights are permuted: what is permuted, what changes nothing, what is put back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

from atlas.explain import sanity
from atlas.explain.aligned import Images, geometry
from atlas.explain.backward import Example, project_examples
from atlas.explain.similarity import MEASURES, Picture
from atlas.images.decode import Preprocessing
from atlas.network.layers import find_layers
from atlas.network.normalise import Normalise
from atlas.types import Layer
from tests.drawing import KINDS
from tests.naive_similarity import spearman
from tests.tiny_net import net

_LOOKS = Preprocessing(32, 32, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bilinear")


@pytest.fixture(scope="module")
def module() -> nn.Module:
    torch.manual_seed(5)
    found = net().eval().requires_grad_(False)
    for each in found.modules():
        if isinstance(each, nn.BatchNorm2d):
            nn.init.uniform_(each.weight, 0.5, 1.5)
            nn.init.normal_(each.bias)
            nn.init.uniform_(each.running_var, 0.5, 2)  # type: ignore[arg-type]
    return found


@pytest.fixture(scope="module")
def layers(module: nn.Module) -> list[Layer]:
    return find_layers(module, 32, 32)


@pytest.fixture(scope="module")
def images() -> Images:
    pixels = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), np.uint8)
    return Images(pixels, Normalise(_LOOKS, torch.device("cpu"), torch.float32))


@pytest.fixture(scope="module")
def examples(layers: list[Layer]) -> pa.Table:
    random = np.random.default_rng(2)
    rows = [
        {"layer": layer.name, "channel": channel, "side": side, "rank": rank, "image_id": 10 + int(random.integers(4)),
         "response": float(random.normal() + 1), "reference": 0.25, "y": int(random.integers(layer.height)),
         "x": int(random.integers(layer.width))}
        for layer in layers for channel in range(layer.channels) for side in ("max", "min") for rank in range(2)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows)


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(module: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def rows(module: nn.Module, layers: list[Layer], chosen: pa.Table, images: Images, **changed: Any) -> pa.Table:
    given = {"kinds": KINDS, "batch_size": 4, "seed": 3, **changed}
    return sanity.sanity_rows(module, layers, chosen, [10, 11, 12, 13], images, **given)


def test_choice_is_seeded_and_only_of_driven_neurons(examples: pa.Table, layers: list[Layer]) -> None:
    chosen = sanity.choose(examples, layers, 0, 3)
    order = np.random.default_rng(0).permutation(len(examples))
    assert sanity.choose(examples.take(pa.array(order)), layers, 0, 3).equals(chosen)
    assert not sanity.choose(examples, layers, 1, 3).equals(chosen)
    by_layer: dict[str, list[int]] = {}
    for row in chosen.to_pylist():
        assert (row["side"], row["rank"]) == ("max", 0)
        assert row["response"] > 0
        by_layer.setdefault(row["layer"], []).append(row["channel"])
    assert list(by_layer) == [layer.name for layer in layers]
    assert all(len(found) <= 3 and found == sorted(set(found)) for found in by_layer.values())


def test_rows_and_weights_put_back(module: nn.Module, layers: list[Layer], images: Images, examples: pa.Table) -> None:
    before = state(module)
    chosen = sanity.choose(examples, layers, 0, 3)
    table = rows(module, layers, chosen, images)
    assert same(module, before)
    assert not any(p.requires_grad for p in module.parameters())
    found = {(r["layer"], r["kind"], r["randomised"], r["measure"]): r for r in table.to_pylist()}
    assert len(found) == len(table) == len(layers) * 3 * 3 * 4
    assert all(1 <= r["neurons"] <= 3 and -1 <= r["similarity"] <= 1 + 1e-6 for r in found.values())
    assert rows(module, layers, chosen, images).equals(table)
    assert not rows(module, layers, chosen, images, seed=4).equals(table)


def test_one_row_is_what_it_says(module: nn.Module, layers: list[Layer], images: Images, examples: pa.Table) -> None:
    """The median over neurons, recomputed step by step for one layer."""
    layer = next(each for each in layers if each.name == "conv2")
    chosen = sanity.choose(examples, [layer], 0, 3)
    table = rows(module, [layer], chosen, images, kinds=("gradient",))
    asked = [Example(r["image_id"] - 10, r["channel"], r["y"], r["x"]) for r in chosen.to_pylist()]

    def maps() -> list[Any]:
        every = project_examples(module, layer, geometry(layer, 32, 32), images, asked, ("gradient",), 4)
        inside = {e.index: e.maps["gradient"][:, *e.crop.inside(32, 32)[:2]] for e in every}
        return [np.abs(inside[i]).sum(0, dtype=np.float64) for i in range(len(asked))]

    first = maps()
    for how, names in (("own", ["conv2.weight", "conv2.bias"]), ("all", [n for n, _ in module.named_parameters()])):
        with sanity.randomised(module, names, 3, how):
            again = maps()
        expected = np.median([spearman(a, b) for a, b in zip(first, again, strict=True)])
        (got,) = (
            r["similarity"] for r in table.to_pylist() if (r["randomised"], r["measure"]) == (how, "rank_absolute")
        )
        assert got == pytest.approx(expected, abs=1e-6)


def feeding(module: nn.Module, layer: Layer, image: Tensor) -> set[str]:
    """Parameters that the layer's output depends on, found by differentiation."""
    kept: list[Tensor] = []
    handle = module.get_submodule(layer.module).register_forward_hook(lambda m, a, out: kept.append(out.clone()))
    with torch.enable_grad():
        for p in module.parameters():
            p.requires_grad_(True)
        module(image)
        handle.remove()
        named = dict(module.named_parameters())
        gradients = torch.autograd.grad(kept[layer.call - 1].sum(), list(named.values()), allow_unused=True)
        module.requires_grad_(False)
    return {name for name, gradient in zip(named, gradients, strict=True) if gradient is not None}


def test_what_lies_above_changes_nothing(module: nn.Module, layers: list[Layer], images: Images) -> None:
    """Bit for bit, in every layer; so a network whose weights are all permuted serves every cascade."""
    everything = [name for name, _ in module.named_parameters()]
    for layer in layers:
        below = feeding(module, layer, images.normalise(images.pixels[:1]))
        above = [name for name in everything if name not in below]
        assert bool(above) == (layer is not layers[-1])
        assert set(sanity.own_parameters(module, layer)) <= below
        asked = [Example(0, c, layer.height // 2, layer.width // 2) for c in range(layer.channels)]

        def maps(layer: Layer = layer, asked: list[Example] = asked) -> list[Any]:
            every = project_examples(module, layer, geometry(layer, 32, 32), images, asked, KINDS, 4)
            return [e.maps[kind] for e in sorted(every, key=lambda e: e.index) for kind in KINDS]

        first = maps()
        with sanity.randomised(module, above, 0, "cascade"):
            assert all(np.array_equal(a, b) for a, b in zip(first, maps(), strict=True))
        with sanity.randomised(module, sorted(below), 0, "cascade"):
            cascade = maps()
        with sanity.randomised(module, everything, 0, "cascade"):
            assert all(np.array_equal(a, b) for a, b in zip(cascade, maps(), strict=True))
        assert not all(np.array_equal(a, b) for a, b in zip(first, cascade, strict=True))


def test_own_parameters(module: nn.Module, layers: list[Layer]) -> None:
    own = {layer.name: sanity.own_parameters(module, layer) for layer in layers}
    assert own["conv1"] == ["conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias"]
    assert own["conv2"] == ["conv2.weight", "conv2.bias"]
    assert own["block"] == [name for name, _ in module.named_parameters() if name.startswith("block.")]
    assert own["fc"] == ["fc.weight", "fc.bias"]


def test_values_are_permuted_and_statistics_kept(module: nn.Module) -> None:
    before = state(module)
    names = [name for name, _ in module.named_parameters()]
    with sanity.randomised(module, names, 0, "all"):
        after = state(module)
        with sanity.randomised(module, names, 0, "all"):
            pass
        assert same(module, after)
    for name, values in before.items():
        if name in names:
            assert torch.equal(after[name].flatten().sort().values, values.flatten().sort().values)
            assert values.numel() < 3 or not torch.equal(after[name], values)
        else:
            assert torch.equal(after[name], values)
    half = torch.arange(10, dtype=torch.bfloat16)
    assert sorted(sanity.permuted(half, b"x" * 16).tolist()) == half.tolist()
    assert half.tolist() == list(range(10))


def test_an_exception_leaves_the_weights(
    module: nn.Module, layers: list[Layer], images: Images, examples: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, chosen = state(module), sanity.choose(examples, layers, 0, 2)
    calls = 0

    def failing(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == len(layers) * 2 + 3:  # in the midst of the cascade
            assert not same(module, before)
            raise RuntimeError("out of memory")
        return {}

    monkeypatch.setattr(sanity, "compare", failing)
    with pytest.raises(RuntimeError, match="out of memory"):
        rows(module, layers, chosen, images, kinds=("gradient",))
    assert same(module, before)


def test_weights_are_put_back_in_their_memory_layout(module: nn.Module) -> None:
    last = nn.Sequential(nn.Conv2d(4, 6, 3)).to(memory_format=torch.channels_last)
    strides, before = last[0].weight.stride(), last[0].weight.detach().clone()
    with sanity.randomised(last, ["0.weight"], 0, "own"):
        plain = sanity.permuted(before.contiguous(), sanity._hash(0, "own", "0.weight"))
        assert torch.equal(last[0].weight, plain)  # the same order in either layout
        assert last[0].weight.stride() == strides
    assert torch.equal(last[0].weight, before)


def test_an_empty_picture_afterwards_counts_as_unlike(
    module: nn.Module, layers: list[Layer], images: Images, examples: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = layers[0]
    chosen = sanity.choose(examples, [layer], 0, 3)
    original, drawn = Picture.of, 0

    def of(values: Any) -> Picture:
        nonlocal drawn
        drawn += 1
        return original(values if drawn <= len(chosen) else np.zeros_like(values))

    monkeypatch.setattr(Picture, "of", of)
    table = rows(module, [layer], chosen, images, kinds=("gradient",))
    assert len(table) == 3 * len(MEASURES)
    assert set(table.column("similarity").to_pylist()) == {0.0}


def test_words() -> None:
    def table(similarity: dict[str, float]) -> pa.Table:
        return pa.Table.from_pylist(
            [
                {"layer": layer, "kind": kind, "randomised": how, "measure": measure, "neurons": 2,
                 "similarity": value if measure == "rank_signed" else 0.99}
                for layer in "ab" for kind, value in similarity.items() for how in sanity.RANDOMISED
                for measure in MEASURES
            ]
        )  # fmt: skip

    edges, part, network = sanity.words(table({"guided": 0.7, "deconvnet": 0.35, "gradient": 0.01}))
    assert edges.startswith("guided draws edges of the image whatever the weights are")
    assert part.startswith("deconvnet draws edges of the image in good part")
    assert network.startswith("gradient tells of this network")
    assert network.endswith("own 0.01, cascade 0.01, all 0.01)")
    assert sanity.words(table({"guided": 0.7}).slice(0, 0)) == []
