"""Edges: which maps count, and what their removal takes from held-out examples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atlas.connections import edges
from atlas.connections.apart import Apart
from atlas.connections.contributions import Places, at_rest, contributions, rest
from atlas.connections.edges import Edges, Seen
from atlas.connections.examine import Examiner, share_of
from atlas.connections.settings import RANKINGS, ConnectionSettings, held_out
from atlas.network.layers import find_layers
from atlas.types import Axis, Field, Layer
from tests import tiny
from tests.connections.test_apart import apart_of, places
from tests.naive_connections import run_with, strongest

pytestmark = pytest.mark.usefixtures("one_thread")


def layer(name: str, channels: int, index: int = 0) -> Layer:
    return Layer(index, name, "conv", channels, 1, 1, Field(Axis(1, 1, 0), Axis(1, 1, 0)), True, name)


def sum_of(name: str, weight: Tensor, origins: list[int], index: int = 0) -> Apart:
    """A 1 × 1 convolution with these weights (channels, inputs)."""
    return Apart(
        layer(name, len(weight), index), origins=torch.tensor([origins]), weight=weight.double()[:, :, None, None],
        bias=torch.zeros(len(weight), dtype=torch.float64),
    )  # fmt: skip


def test_halves_of_a_response() -> None:
    assert edges.half(np.array([0.5, 0.5])) == 1
    assert edges.half(np.array([0.1, -0.4, 0.25, 0.25])) == 2
    assert edges.half(np.array([1.0, 0, 0])) == 1


def test_as_many_others_of_equal_activation() -> None:
    active = np.array([5.0, 1.0, 4.9, 0.9, 5.2, 3.0])
    taken = edges.equally_active(np.array([1, 0]), np.array([5, 4, 3, 2]), active)
    assert taken.tolist() == [2, 3]  # 5.0 takes 4.9 before 5.2; then 1.0 takes 0.9
    assert edges.equally_active(np.array([0]), np.array([3, 1]), np.array([2.0, 1.0, 0, 3.0])).tolist() == [3]


def test_rankings_by_hand() -> None:
    share, active = np.array([0.4, -0.3, 0.2, 0.1]), np.array([1.0, 9.0, 2.0, 3.0])
    chosen = edges.rankings(
        share, active, np.array([0, 4.0, 3.0, 2.0]), np.array([-1, -2, 0, 1.0]), np.random.default_rng(0)
    )
    assert list(chosen) == [1, 3]  # of ten there are not enough
    assert {name: maps.tolist() for name, maps in chosen[1].items() if name not in ("random", "chance")} == {
        "contribution": [0], "active": [1], "weight": [1], "equal": [2], "shuffled": [3],
    }  # fmt: skip
    assert chosen[1]["random"][0] in (1, 2, 3)
    assert "random" not in chosen[3]
    assert chosen[3]["contribution"].tolist() == [0, 2, 3]


def test_the_strongest_of_both_signs() -> None:
    rng = np.random.default_rng(1)
    for count in (0, 1, 7, 60):
        values = rng.normal(size=count).round(1)
        placed, ranks = edges.ranked(values)
        assert list(zip(placed.tolist(), ranks.tolist(), strict=True)) == strongest(values.tolist(), 10)


def seen(channel: list[int], use: list[str], share: list[list[float]], **columns: list[float]) -> Seen:
    count = len(channel)
    full = np.array(share, np.float64)
    given = {"total": np.ones(count), "grey": np.zeros(count), "error": np.zeros(count)}
    given |= {name: np.array(values, np.float64) for name, values in columns.items()}
    return Seen(np.array(channel), np.array(use), full, np.ones_like(full), full.copy(), None, **given)


def test_edges_by_hand() -> None:
    apart = sum_of("b", torch.tensor([[3.0, -4.0], [1.0, 0.0]]), [1, 2])
    rows = seen([0, 0, 0, 0, 1], ["find", "find", "test", "spread", "spread"],
                [[0.6, -0.4], [0.8, 0.2], [0.9, -0.1], [0.5, 0.5], [1.0, 0.0]], total=[2, 2, 4, 1, 1],
                grey=[0, 0, 2, 0, 0], error=[0, 0, 0, 0.5, 0])  # fmt: skip
    found = edges.edges(apart, rows, seed=0)
    np.testing.assert_allclose(found.mean, [[0.7, -0.1], [np.nan, np.nan]])
    np.testing.assert_allclose(found.spread, [[0.5, 0.5], [1.0, 0.0]])
    np.testing.assert_allclose(found.drop[0], [0.45, np.nan, np.nan])  # 0.9 of 4 − 2
    np.testing.assert_allclose(found.drop_random[0], [-0.05, np.nan, np.nan])
    assert found.half == 1
    assert found.error == pytest.approx(0.5 / np.sqrt(26 / 5))
    assert found.why is not None
    assert "0.22 of its scale" in found.why
    assert {row["ranking"]: (row["drop"], row["less"]) for row in edges.removals(found)}["equal"] == pytest.approx(
        (-0.05, 0.5)
    )
    up = edges.feeding(3, found)
    assert up.number.tolist() == [3, 3]
    assert (up.rank.tolist(), up.other.tolist(), up.weight.tolist()) == ([0, 10], [1, 2], [3.0, 4.0])


def test_what_a_neuron_feeds_is_what_names_it() -> None:
    rng = np.random.default_rng(0)
    weights = [torch.from_numpy(rng.normal(size=shape)) for shape in ((30, 4), (25, 6))]
    aparts = [sum_of("b", weights[0], [1, 2, 3, 4], 1), sum_of("c", weights[1], [2, 1, 9, 7, 8, 4], 2)]
    found = []
    for apart, weight in zip(aparts, weights, strict=True):
        mean = weight.numpy() / np.abs(weight.numpy()).sum(1, keepdims=True)
        mean[3] = np.nan
        found.append(Edges(apart, mean, mean.copy(), *(np.full((len(mean), 3), np.nan) for _ in range(2))))
    owner = {1: (0, 0), 2: (0, 1), 3: (0, 2), 4: (0, 3), 7: (1, 5), 8: (1, 6)}
    told = edges.fed(found, owner)
    for origin, (number, channel) in owner.items():
        every = [
            (float(each.mean[c, j]), n, c)
            for n, each in enumerate(found)
            for c in range(len(each.mean))
            for j, o in enumerate(each.apart.origins[0].tolist())
            if o == origin and not np.isnan(each.mean[c, j])
        ]
        rows = np.flatnonzero((told.number == number) & (told.channel == channel))
        expected = strongest([value for value, _, _ in every], 10)
        assert [(int(told.other_number[r]), int(told.other[r]), int(told.rank[r])) for r in rows] == [
            (every[place][1], every[place][2], rank) for place, rank in expected
        ]


class Plain(nn.Module):
    """Two convolutions and a pool between them."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 24, 3, padding=1)
        self.b = nn.Conv2d(24, 5, 3, padding=1)
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(F.max_pool2d(F.relu(self.a(x)), 2)).mean((2, 3)))


@pytest.mark.parametrize("dtype", [torch.float64])
def test_a_removal_is_what_the_network_gives_without_these_maps(dtype: torch.dtype) -> None:
    """Held maps run on: to the network itself, hooks and all, one neuron after another."""
    torch.manual_seed(0)
    for module, name in ((Plain(), "b"), (tiny.module(), "block.conv2"), (tiny.module(), "block")):
        module = module.eval().to(dtype).requires_grad_(False)
        layers, aparts, table = apart_of(module)
        means = {each.name: torch.rand(each.channels).to(dtype) - 0.3 for each in layers}
        calm = rest(module, layers, aparts, means, (3, 32, 32), torch.device("cpu"))
        number = next(i for i, each in enumerate(layers) if each.name == name)
        apart, image = aparts[number], torch.rand(1, 3, 32, 32).to(dtype)
        rng = np.random.default_rng(0)
        layer = layers[number]
        sources = {each.name: each for each in layers}
        for channel in range(0, layer.channels, 2):
            y, x = int(rng.integers(layer.height)), int(rng.integers(layer.width))
            at = Places(*(np.array([v]) for v in (number, 0, channel, y, x)))
            parts = contributions(module, aparts, image, at)[number]
            resting, grey = at_rest(apart, calm, at)
            lost = parts.contributions - resting
            chosen = rng.choice(apart.inputs, min(3, apart.inputs - 1), replace=False)
            origins = [table[int(apart.origin(channel)[j])] for j in chosen]
            changed = {
                (sources[o.layer].module, sources[o.layer].channel_axis, o.channel): float(means[o.layer][o.channel])
                for o in origins
            }
            after = float(run_with(module, image, layer, changed)[0, channel, y, x])
            expected = parts.total[0] - lost[0, chosen].sum()
            if layer.kind == "block":
                expected = max(expected, 0.0)  # its own rectifier comes after the sum
            assert after == pytest.approx(expected, abs=1e-9)
            black = run_with(module, torch.zeros_like(image), layer, {})[0, channel, y, x]
            assert float(black) == pytest.approx(max(grey[0], 0.0) if layer.kind == "block" else grey[0], abs=1e-9)


def planted() -> tuple[nn.Module, int]:
    """`b` 2 answers to map 17 of `a` alone, and that to red; the other maps are there, and louder."""
    module = Plain().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        module.a.weight.normal_(0, 1, generator=generator)
        module.a.bias.fill_(0.5)
        module.a.weight[17] = 0
        module.a.weight[17, 0, 1, 1] = 0.1
        module.a.bias[17] = 0
        module.b.weight[2] = 0
        module.b.weight[2, 17, 1, 1] = 1.0
        module.b.bias.zero_()
    return module, 17


def look(module: nn.Module, layers: list[Layer], images: Tensor, name: str, channel: int) -> tuple[Edges, Examiner]:
    """The edges of a layer from the nine strongest images of one of its neurons, and ten others."""
    outputs: dict[str, Tensor] = {}
    hooks = [
        module.get_submodule(each.module).register_forward_hook(lambda _m, _i, o, n=each.name: outputs.update({n: o}))
        for each in layers
    ]
    with torch.no_grad():
        module(images)
    for hook in hooks:
        hook.remove()
    means = {name: o.movedim(1, 0).flatten(1).mean(1) for name, o in outputs.items()}
    number = next(i for i, each in enumerate(layers) if each.name == name)
    maps = outputs[name][:, channel]
    order = maps.flatten(1).amax(1).argsort(descending=True).tolist()
    rows = [("max", rank, order[rank]) for rank in range(9)] + [("spread", n, order[-1 - n]) for n in range(10)]
    at = [divmod(int(maps[i].argmax()), maps.shape[2]) for _, _, i in rows]
    where = Places(
        *(np.array(v) for v in ([number] * 19, [r[2] for r in rows], [channel] * 19, *zip(*at, strict=True)))
    )
    finds = np.array([side == "max" and not held_out(side, rank) for side, rank, _ in rows])
    examiner = Examiner(module, layers, means, tuple(images.shape[1:]), ConnectionSettings())  # type: ignore[arg-type]
    taken = examiner.take(images, where, finds)[number]
    use = np.array(["spread" if r[0] == "spread" else "test" if held_out(*r[:2]) else "find" for r in rows])
    told = Seen(
        where.channel, use, taken.share, taken.active, taken.lost, taken.shuffled, taken.total, taken.grey, taken.error
    )
    return edges.edges(examiner.aparts[number], told, 0), examiner


def test_a_planted_path_is_found_and_carries_everything() -> None:
    module, source = planted()
    layers = find_layers(module, 16, 16)
    found, examiner = look(
        module, layers, torch.rand(24, 3, 16, 16, generator=torch.Generator().manual_seed(0)), "b", 2
    )
    row = edges.feeding(1, found)
    first = row.other[row.rank == 0].tolist()
    assert [examiner.table[i] for i in first] == [("a", source, True)]
    assert row.contribution.tolist() == [1.0]
    assert found.half == 1
    assert 0.3 < found.drop[2, 0] <= 1.01  # its mean stays; of what is above that, all is gone
    assert found.drop_random[2, 0] == 0
    silent = {**dict.fromkeys([layers[0].name], torch.zeros(24))}
    quiet = Examiner(module, layers, silent, (3, 16, 16), ConnectionSettings(shuffled=False))
    at = Places(*(np.array([v]) for v in (1, 0, 2, 3, 3)))
    taken = quiet.take(torch.rand(1, 3, 16, 16), at, np.array([True]))[1]
    np.testing.assert_allclose(taken.lost.sum(1) + quiet.calm.grey["b"][0, 2, 3, 3].item(), taken.total, rtol=1e-5)
    assert taken.shuffled is None


def test_every_ranking_is_tried_on_the_same_neurons() -> None:
    module, _ = planted()
    with torch.no_grad():
        module.b.weight[3] = torch.randn(24, 3, 3, generator=torch.Generator().manual_seed(1)).abs()
    layers = find_layers(module, 16, 16)
    found, _ = look(module, layers, torch.rand(24, 3, 16, 16, generator=torch.Generator().manual_seed(0)), "b", 3)
    assert {ranking for ranking, _ in found.curves} == set(RANKINGS)
    assert {len(drops) for drops in found.curves.values()} == {1}
    rows = {(row["ranking"], row["removed"]): row for row in edges.removals(found)}
    assert rows["contribution", 10]["drop"] > rows["random", 10]["drop"]
    assert rows["contribution", 10]["less"] == 0
    assert found.drop[3, 2] == rows["contribution", 10]["drop"]


def test_shares_of_nothing_are_nothing() -> None:
    np.testing.assert_array_equal(share_of(np.array([[0.0, 0.0], [1.0, -3.0]])), [[0, 0], [0.25, -0.75]])


def test_results_do_not_depend_on_the_batch_split() -> None:
    module = tiny.module().eval()
    layers = find_layers(module, 32, 32)
    means = {each.name: torch.zeros(each.channels) for each in layers}
    examiner = Examiner(module, layers, means, (3, 32, 32), ConnectionSettings())
    at = places(layers, 40, 4)
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    finds = np.ones(len(at.row), bool)
    whole = examiner.take(images, at, finds)
    for number, taken in whole.items():
        for i, which in enumerate(taken.which.tolist()):
            alone = examiner.take(images, at.of(np.array([which])), np.array([True]))[number]
            for name in ("share", "active", "lost", "shuffled", "total", "grey"):
                np.testing.assert_array_equal(getattr(alone, name)[0], getattr(taken, name)[i])
