"""Attacks: closed forms on a linear network, bounds, monotone success, and a well-kept library beside them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.robust import PGD
from torch import Tensor, nn

from atlas.adversarial import attack, chunk, noise
from atlas.adversarial.attack import Goal
from atlas.adversarial.chunk import Fooled
from atlas.adversarial.settings import AdversarialSettings
from atlas.errors import SettingsError
from atlas.visualize import files
from tests.small_nets import Rounded
from tests.visualize.subjects import Convolutions
from tests.visualize.subjects import noise as pictures

pytestmark = pytest.mark.usefixtures("one_thread")
ROWS = 12


class Linear(nn.Module):
    """Two classes, the second's score w · x and the first's 0."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        score = (x * self.weight).flatten(1).sum(1)
        return torch.stack([torch.zeros_like(score), score], 1)


def of(module: nn.Module, rows: int = ROWS) -> Fooled:
    return Fooled(module.eval(), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), rows)


@pytest.fixture(scope="module")
def trained() -> tuple[Fooled, list[np.ndarray], list[int]]:
    """A network that tells bright from dark quarters, and images that it is right about."""
    module, random = Convolutions(1), torch.Generator().manual_seed(0)
    images = torch.from_numpy(pictures(96)).permute(0, 3, 1, 2).float()
    labels = torch.randint(0, 4, (96,), generator=random)
    for row, label in enumerate(labels):
        y, x = 16 * int(label // 2), 16 * int(label % 2)
        images[row, int(label) % 3, y : y + 16, x : x + 16] += 50
    images = images.clamp(0, 255)
    net = of(module)
    adam = torch.optim.Adam(module.parameters(), lr=5e-3)
    for _ in range(60):
        adam.zero_grad()
        nn.functional.cross_entropy(net.score(images), labels).backward()
        adam.step()
    for each in module.parameters():
        each.requires_grad_(False)
    arrays = list(images.permute(0, 2, 3, 1).to(torch.uint8).numpy())
    own = net.scores(arrays).argmax(1)
    right = [row for row in range(96) if own[row] == labels[row]][:ROWS]
    assert len(right) == ROWS
    return net, [arrays[row] for row in right], [int(own[row]) for row in right]


def test_gain_by_hand() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.5], [0.0, 4.0, 1.0]])
    assert Goal(torch.tensor([0, 0]), False).gain(scores).tolist() == [-0.5, 4.0]
    assert Goal(torch.tensor([2, 1]), True).gain(scores).tolist() == [-0.5, 3.0]


def test_a_linear_network_falls_exactly_where_it_must() -> None:
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(3, 8, 8, generator=random)
    net = of(Linear(weight), 1)
    image = torch.full((1, 3, 8, 8), 128.0)
    image[0] += (weight.sign() * 3).round()
    goal = Goal(net.classes([1]), False)
    needed = float(net.score(image)[0, 1].detach())
    per_level = float(weight.detach().abs().sum() / (255 * 0.25))  # what one step of 8 bits along the signs takes
    for level in range(1, 8):
        best = attack.linf(net.score, goal, image, level, 10)
        assert float((best.pixels - image).abs().max()) == level
        assert float(best.gains) == pytest.approx(level * per_level - needed, abs=1e-3)
    # The nearest point of a half space lies along w; whole steps of 8 bits cost a little.
    exact = needed * 0.25 / float(weight.norm())
    near = attack.smallest_l2(net.score, goal, image, 4, 12)
    size = float(attack.norms(near.pixels, image))
    assert float(near.gains) > 0
    assert exact <= size <= 1.15 * exact


def test_the_fitted_change_fills_its_ball_and_not_more() -> None:
    random = torch.Generator().manual_seed(1)
    images = torch.full((3, 3, 6, 6), 100.0)
    direction = torch.randn(3, 3, 6, 6, generator=random)
    radii = torch.tensor([0.02, 0.1, 0.5])
    found = attack.fitted(direction, images, radii)
    sizes = attack.norms(found, images)
    assert torch.equal(found, found.round())
    assert (sizes <= radii).all()
    assert (sizes[1:] > 0.9 * radii[1:]).all()
    slow = [np.linalg.norm((a - b).numpy().astype(float) / 255) for a, b in zip(found, images, strict=True)]
    assert sizes.tolist() == pytest.approx(slow, rel=1e-6)


def test_success_is_monotone_in_bound_and_steps_and_of_the_file(
    trained: tuple[Fooled, list[np.ndarray], list[int]],
) -> None:
    net, images, own = trained
    names = list(range(ROWS))
    counts = []
    for steps in (1, 3, 10):
        settings = AdversarialSettings(steps=steps, levels=("1", "4", "16", "64"), bisections=3, rows=ROWS)
        found = chunk.images(net, images, own, [(c + 1) % 4 for c in own], names, settings)
        for aimed in (False, True):
            by_level = [
                sum(f.success for f in found if f.attack == "linf" and f.epsilon == level / 255
                    and (f.target is not None) == aimed)
                for level in settings.bounds
            ]  # fmt: skip
            assert by_level == sorted(by_level)
            counts.append(by_level)
    assert all(
        a <= b
        for first, second in zip(counts[::2], counts[2::2], strict=False)
        for a, b in zip(first, second, strict=True)
    )
    assert counts[-2][-1] == ROWS
    for each in found:
        again = files.decode(each.body, 3)
        assert np.array_equal(again, each.pixels)
        scores = net.scores([again])[0]
        predicted = int(scores.argmax())
        there = predicted != own[each.row] if each.target is None else predicted == each.target
        assert (each.predicted, each.success) == (predicted, there)
        away = (again.astype(float) - images[each.row]) / 255
        if each.attack in ("linf", "noise"):
            assert each.epsilon is not None
            assert np.abs(away).max() <= each.epsilon + 1e-9
        if each.attack == "l2":
            assert each.epsilon == pytest.approx(np.linalg.norm(away), rel=1e-5)
    for row in names:
        assert sum(f.smallest for f in found if f.row == row and f.attack == "linf" and f.target is None) <= 1


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
def test_no_weaker_than_a_well_kept_library(trained: tuple[Fooled, list[np.ndarray], list[int]]) -> None:
    net, images, own = trained
    start, goal = net.tensor(images), Goal(net.classes(own), False)
    unit = start / 255

    def theirs(radius: float, norm: str) -> Tensor:
        pgd = PGD(lambda x: net.score(x * 255), lower_bound=0, upper_bound=1)
        made = pgd.perturb(
            unit.detach().requires_grad_(True),
            radius=radius,
            step_size=radius / 4,
            step_num=10,
            target=net.classes(own),
            norm=norm,
        )
        assert isinstance(made, Tensor)
        return (made.detach() * 255).round().clamp(0, 255)

    for level in (2, 4, 8, 16):
        with torch.no_grad():
            other = int((goal.gain(net.score(theirs(level / 255, "Linf"))) > 0).sum())
        mine = int((attack.linf(net.score, goal, start, level, 10).gains > 0).sum())
        assert mine >= other
    near = attack.smallest_l2(net.score, goal, start, 10, 8)
    sizes = attack.norms(near.pixels, start)
    assert (near.gains > 0).all()
    least = torch.full((ROWS,), float("inf"))
    for radius in np.geomspace(0.02, 4, 40):
        made = theirs(float(radius), "L2")
        with torch.no_grad():
            there = goal.gain(net.score(made)) > 0
        least = torch.where(there, torch.minimum(least, attack.norms(made, start)), least)
    assert float(sizes.median()) <= float(least.median())


def test_margins_are_the_same_again(trained: tuple[Fooled, list[np.ndarray], list[int]]) -> None:
    net, images, own = trained
    goal = Goal(net.classes(own), False)
    first, second = (attack.smallest_l2(net.score, goal, net.tensor(images), 5, 3) for _ in range(2))
    assert torch.equal(first.pixels, second.pixels)


def test_noise_is_taken_for_what_is_wanted(trained: tuple[Fooled, list[np.ndarray], list[int]]) -> None:
    net, _, _ = trained
    found = chunk.fooling(net, (32, 32, 3), [0, 1, 2, 3], 80, 0)
    assert [each.predicted for each in found] == [0, 1, 2, 3]
    assert all(each.success and each.epsilon is None for each in found)


def test_noise_has_its_norms() -> None:
    image, random = np.full((16, 16, 3), 128, np.uint8), np.random.default_rng(0)
    flat = noise.uniform(image, 4, random).astype(int) - 128
    assert (flat.min(), flat.max()) == (-4, 4)
    bell = (noise.gaussian(image, 2.0, random).astype(float) - 128) / 255
    assert np.linalg.norm(bell) == pytest.approx(2.0, rel=0.02)


def test_without_gradient_it_says_so() -> None:
    net = of(Rounded(), 2)
    with pytest.raises(ValueError, match="no gradient"):
        chunk.images(net, list(pictures(2)), [0, 1], [1, 0], [0, 1], AdversarialSettings(rows=2))


def test_levels_are_checked() -> None:
    for levels in (("0",), ("4", "2"), ("x",), ()):
        with pytest.raises(SettingsError, match="--levels"):
            AdversarialSettings(levels=levels)
