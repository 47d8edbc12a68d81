"""Evidence against a slow version on whole images, and small cases by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from torch import Tensor, nn

from atlas.explain import masking
from atlas.explain.aligned import Images, geometry
from atlas.explain.backward import Example, project_examples
from atlas.explain.masking import Marked, mark, marks, shifted, smoothing, strongest, trust
from atlas.explain.trust import trust_rows, words
from atlas.network.layers import find_layers
from atlas.types import Layer
from tests.drawing import KINDS

pytestmark = pytest.mark.usefixtures("one_thread")


def plain(pixels: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


class Net(nn.Module):
    def __init__(self, gated: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gated = gated
        self.a = nn.Conv2d(3, 6, 5, 2, padding=2)
        self.b = nn.Conv2d(6, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.a(x)), 2)
        x = x * torch.sigmoid(3 * x.mean((2, 3), keepdim=True)) if self.gated else x
        return F.relu(self.b(x)).mean((2, 3))


def case(count: int = 12, gated: bool = False) -> tuple[nn.Module, Layer, Images, list[Example]]:
    net = Net(gated).eval().requires_grad_(False).double()
    layer = find_layers(net, 30, 26)[1]
    images = Images(np.random.default_rng(0).normal(size=(2, 30, 26, 3)), plain)
    rng = np.random.default_rng(1)
    places = [(0, 0), (layer.height - 1, layer.width - 1), *((y, 3) for y in range(count - 2))]
    examples = [
        Example(i % 2, int(rng.integers(8)), min(y, layer.height - 1), x, 1 if i % 3 else -1)
        for i, (y, x) in enumerate(places)
    ]
    return net, layer, images, examples


REFERENCE = 0.125
"""What the responses of these cases are measured from."""


def _slow(
    net: nn.Module, layer: Layer, image: Tensor, example: Example, mask: NDArray[np.bool_], seed: int, token: str
) -> tuple[bool, list[float]]:
    """On the whole image (3, H, W), one forward a number, the field's box cut by hand."""
    box = layer.field.box(example.y, example.x)
    top, bottom = max(int(box.top), 0), min(int(box.bottom), image.shape[1])
    left, right = max(int(box.left), 0), min(int(box.right), image.shape[2])
    kept: list[Tensor] = []
    handle = net.get_submodule(layer.module).register_forward_hook(lambda m, i, o: kept.append(o))

    def response(stay: NDArray[np.bool_] | None) -> float:
        x = image.clone()
        if stay is not None:
            x[:, top:bottom, left:right] = torch.where(
                torch.from_numpy(stay), x[:, top:bottom, left:right], torch.zeros(())
            )
        with torch.no_grad():
            net(x[None])
        return float(kept.pop()[0, example.channel, example.y, example.x])

    shape = (bottom - top, right - left)
    assert mask.shape == shape
    r, r0 = response(None), REFERENCE
    other = shifted(mask, seed, token)
    values = [
        (response(mask) - r0) / (r - r0),
        (r - response(~mask)) / (r - r0),
        (response(other) - r0) / (r - r0),
        (r - response(~other)) / (r - r0),
    ]
    handle.remove()
    return (r - r0) * example.sign > 0, values


@pytest.mark.parametrize(("batch_size", "gated"), [(4, False), (16, False), (4, True)])
def test_against_a_slow_version_on_whole_images(batch_size: int, gated: bool) -> None:
    net, layer, images, examples = case(gated=gated)
    assert layer.field.gated == gated
    kinds = ["gradient"] if gated else KINDS  # a sigmoid has no rule
    found = geometry(layer, 30, 26)
    marked: dict[int, Marked] = {}
    for p in project_examples(net, layer, found, images, examples, kinds, 4):
        marked[p.index] = mark(p, examples[p.index], REFERENCE, 30, 26, f"t{p.index}")
    order = [marked[i] for i in range(len(examples))]
    got = masking.test(net, layer, found, images, order, batch_size, seed=7)
    beyond = 0
    for example, each, result in zip(examples, order, got, strict=True):
        assert set(result) == set(each.masks)
        for kind, mask in each.masks.items():
            image = plain(images.pixels)[example.image]
            there, expected = _slow(net, layer, image, example, mask, 7, each.token)
            values = result[kind]
            assert (values is not None) == there
            if values is not None:
                assert [values[name] for name in masking.MEASURES] == pytest.approx(expected, abs=1e-5)
                beyond += 1
    assert beyond >= (3 if gated else 10)


def test_a_neuron_that_answers_to_one_pixel() -> None:
    """By hand: r = 2 · the middle pixel, r₀ = 0; the picture marks that pixel, so it keeps all and loses all."""
    net = nn.Sequential(nn.Conv2d(3, 1, 5, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2)).eval()
    conv = net[0]
    nn.init.zeros_(conv.weight)  # type: ignore[arg-type]
    conv.weight.data[0, 1, 2, 2] = 2.0  # type: ignore[index, operator, union-attr]
    layer = find_layers(net, 9, 9)[0]
    images = Images(np.ones((1, 9, 9, 3), np.float32), plain)
    example = Example(0, 0, 1, 1)
    (projected,) = project_examples(net, layer, geometry(layer, 9, 9), images, [example], ["gradient"], 1)
    assert projected.response == 2.0
    marked = mark(projected, example, 0.0, 9, 9, "one")
    assert marked.masks["gradient"].sum() == 5  # a fifth of 25
    (result,) = masking.test(net, layer, geometry(layer, 9, 9), images, [marked], 4, 0)
    values = result["gradient"]
    assert values is not None
    assert (values["sufficiency"], values["comprehensiveness"]) == (1.0, 1.0)
    assert values["sufficiency_random"] == values["comprehensiveness_random"] in (0.0, 1.0)


def test_no_evidence_where_the_response_is_not_beyond_the_reference() -> None:
    net, layer, images, examples = case(3)
    found = geometry(layer, 30, 26)
    (p,) = project_examples(net, layer, found, images, examples[1:2], KINDS, 1)
    marked = mark(p, examples[1], REFERENCE, 30, 26, "")
    low = Marked(marked.example, -1e9, REFERENCE, marked.masks, "")
    (result,) = masking.test(net, layer, found, images, [low], 4, 0)
    assert set(result) == set(marked.masks)
    assert not any(result.values())


@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.sampled_from([0, 1, 2]))
)
def test_a_fifth_is_marked_and_no_unmarked_pixel_is_stronger(values: NDArray[np.float32]) -> None:
    mask = strongest(values)
    assert mask.sum() == max(1, round(0.2 * values.size))
    if not mask.all():
        assert values[mask].min() >= values[~mask].max()
        tied = values == values[mask].min()
        of_ties = mask[tied]  # row by row: first the marked ones
        assert not np.any(np.diff(of_ties.astype(int)) > 0)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**62), st.text(max_size=5))
def test_the_random_mask_is_the_same_mask_elsewhere(height: int, width: int, seed: int, token: str) -> None:
    mask = np.zeros((height, width), bool)
    mask[0, 0] = True
    other = shifted(mask, seed, token)
    assert other.sum() == 1
    assert np.array_equal(other, shifted(mask, seed, token))
    assert height * width == 1 or not other[0, 0]


def test_random_masks_differ_by_seed_and_example() -> None:
    mask = np.zeros((40, 40), bool)
    mask[0, 0] = True
    places = {
        int(np.flatnonzero(shifted(mask, seed, token))[0]) for seed in range(5) for token in ("a/1", "a/2", "b/1")
    }
    assert len(places) >= 14


def test_marks_are_smoothed_sums_over_channels() -> None:
    values = np.zeros((3, 7, 7), np.float32)
    values[0, 3, 3], values[2, 3, 3] = -4, 5
    got = marks(values)
    assert got[2:5, 2:5].tolist() == [[1.0] * 3] * 3
    assert got.sum() == 9
    assert [smoothing(n) for n in (7, 19, 59, 155, 224)] == [3, 3, 3, 9, 15]


def evidence(*values: float) -> dict[str, float]:
    return dict(zip(masking.MEASURES, values, strict=True))


def test_trust_by_hand() -> None:
    rows = [evidence(0.5, 0.9, 0.1, 0.1), None, evidence(0.7, 0.7, 0.3, 0.1), evidence(0.6, -0.5, 0.2, 0.3)]
    got = trust(rows)
    assert got is not None
    assert got == pytest.approx({**evidence(0.6, 0.7, 0.2, 0.1), "score": 0.5, "n": 3})
    assert trust([None]) is None
    assert trust([]) is None


def explanation(layer: str, channel: int, rank: int, kind: str, *values: float) -> dict[str, object]:
    return {"layer": layer, "channel": channel, "side": "max", "rank": rank, "kind": kind, **evidence(*values)}


def test_trust_of_neurons_and_layers() -> None:
    rows = [
        explanation("a", 0, 0, "guided", 0.5, 0.5, 0, 0),
        explanation("a", 0, 1, "guided", 0.7, 0.7, 0, 0),
        explanation("a", 1, 0, "guided", 0.2, 0.2, 0, 0),
        explanation("a", 1, 0, "gradient", 0.4, 0.4, 0, 0),
        explanation("b", 0, 0, "gradient", 1.0, 1.0, 0.5, 0.5),
    ]
    untested = dict.fromkeys(masking.MEASURES)
    rows.append({"layer": "b", "channel": 1, "side": "max", "rank": 0, "kind": "gradient", **untested})
    found = trust_rows(pa.Table.from_pylist(rows), ["a", "b", "c"])
    got = [(r["layer"], r["channel"], r["kind"], round(r["score"], 6), r["n"]) for r in found.to_pylist()]
    assert got == [
        ("a", None, "guided", 0.4, 2),
        ("a", None, "gradient", 0.4, 1),
        ("a", 0, "guided", 0.6, 2),
        ("a", 1, "guided", 0.2, 1),
        ("a", 1, "gradient", 0.4, 1),
        ("b", None, "gradient", 0.5, 1),
        ("b", 0, "gradient", 0.5, 1),
    ]
    lines = words(found, 3, 10)
    assert "over 2 of 10 neurons in 1 of 3 layers" in lines[0]
    assert "over 2 of 10 neurons in 2 of 3 layers" in lines[1]
    assert lines[2].startswith("beyond chance, over the 1 neurons that have all of these kinds")  # (a, 1) alone
