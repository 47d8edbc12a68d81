"""The engine: closed forms, a planted detector, and that a row follows from what it is of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from atlas.images.decode import Preprocessing
from atlas.visualize import files, transforms
from atlas.visualize.ascend import Recipe, ascend, generator
from atlas.visualize.canvas import canvas_of
from atlas.visualize.neurons import Subject, Wanted, attained, draw, respond
from atlas.visualize.objectives import Goal, Goals, code, gram_matrix, logit, probability, response
from atlas.visualize.parametrisations import PARAMETRISATIONS, Space
from atlas.visualize.spectrum import Spectrum, SpectrumSum, basis
from tests.visualize.subjects import PLAIN, Convolutions, layers_of, noise, spectrum, subject

pytestmark = pytest.mark.usefixtures("one_thread")


def space(values: Spectrum, side: int = 16, dtype: torch.dtype = torch.float64) -> Space:
    return Space(side, side, values, PLAIN.mean, PLAIN.std, torch.device("cpu"), dtype)


def faint(side: int = 16) -> Spectrum:
    """A spectrum so weak that no pixel reaches 0 or 1, about mid-grey."""
    values = spectrum().at(side, side) * 0.05
    values[:, 0, 0] = basis(3) @ np.full(3, 0.5 * side * side)
    return Spectrum(values, side)


def linear(filters: Tensor) -> Any:
    return lambda inputs: (inputs * filters).flatten(1).sum(1)


def picture(method: str, filters: Tensor, steps: int, values: Spectrum) -> Tensor:
    """The signal itself, before it is rounded to 8 bits, about the mean, in the network's units."""
    made = PARAMETRISATIONS[method](space(values), [generator("a test")])
    for index in range(steps):
        inputs = (made.pixels() - 0.5) / 0.25
        value = linear(filters)(inputs) - made.penalty()
        made.values.grad = torch.autograd.grad(-value.sum(), made.values)[0]
        made.step(index, steps)
    return (made.pixels().detach() - 0.5) / 0.25


def cosine(a: Tensor, b: Tensor) -> float:
    return float((a.flatten() @ b.flatten()) / a.norm() / b.norm())


def test_under_an_l2_ball_the_optimum_of_a_filter_is_the_filter() -> None:
    torch.manual_seed(0)
    filters = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    found = picture("l2", filters, 60, faint())
    assert cosine(found, filters) >= 0.999
    assert float(found.norm()) == pytest.approx(faint().norm / 0.25, rel=1e-6)


def test_with_a_penalty_the_optimum_is_the_filter_at_the_norm_of_an_average_image() -> None:
    torch.manual_seed(0)
    filters = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    found = picture("l2_penalty", filters, 400, faint())
    torch.testing.assert_close(found, filters / filters.norm() * (faint().norm / 0.25), rtol=1e-3, atol=1e-3)


def test_under_a_fixed_spectrum_the_optimum_has_the_filter_s_phase() -> None:
    torch.manual_seed(0)
    filters = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    values = faint()
    found = picture("maco", filters, 400, values)
    got = float((found * filters).sum())
    rows = torch.einsum("oc,chw->ohw", torch.from_numpy(basis(3)), filters[0])
    weights = np.abs(np.fft.rfft2(rows.numpy()))
    magnitude = values.at(16, 16) / 0.25
    magnitude[:, 0, 0] = 0
    mirrored = np.full(9, 2.0)
    mirrored[[0, 8]] = 1  # Σ over all frequencies, from half of them
    assert got >= 0.99 * (magnitude * weights * mirrored).sum() / 256


def test_the_fixed_spectrum_is_kept() -> None:
    made = PARAMETRISATIONS["maco"](space(faint()), [generator("a test")])
    signal = torch.einsum("oc,nchw->nohw", torch.from_numpy(basis(3)), made.pixels().detach())
    got = np.abs(np.fft.rfft2(signal[0].numpy()))[:, :, 1:-1]
    np.testing.assert_allclose(got, faint().at(16, 16)[:, :, 1:-1], rtol=1e-6)


def test_fourier_goes_to_the_sign_of_the_filter() -> None:
    torch.manual_seed(0)
    filters = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    found = picture("fourier", filters, 500, spectrum())
    assert float((found.sign() == filters.sign()).double().mean()) > 0.9


@pytest.mark.parametrize("method", ["fourier", "maco", "l2"])
def test_a_planted_pattern_is_found(method: str) -> None:
    plant = -torch.ones(3, 7, 7)
    plant[0, 1:6, 2:5] = plant[1, 2:5, 1:6] = plant[2, :, :3] = 1  # a red bar crossed by a green one, half on blue
    module = nn.Sequential(nn.Conv2d(3, 2, 7, bias=False), nn.ReLU(), nn.Conv2d(2, 2, 1, bias=False), nn.Flatten())
    with torch.no_grad():
        module[0].weight.copy_(torch.stack([plant, -plant]))  # type: ignore[union-attr, operator]
        module[2].weight.copy_(torch.tensor([[1.0, -1], [0, 1]])[:, :, None, None])  # type: ignore[union-attr, operator]
    found = layers_of(module)
    layer, canvas = found[1], canvas_of(found[1], 32, 32)
    data = np.full((1, 32, 32, 3), 127, np.uint8)  # the data: the plant on grey
    data[0, 12:19, 12:19] = (127.5 + 127.5 * plant.permute(1, 2, 0)).byte().numpy()
    theirs = SpectrumSum.of(data).mean()
    sub = Subject(module.eval(), subject(module).normalise, PLAIN.mean, PLAIN.std, theirs)
    made = draw(sub, layer, canvas, [Wanted(0, 1, 0)], Recipe(method, 200, 0, 1), 0).pixels[0]
    y, x = canvas.y, canvas.x
    part = made[y : y + 7, x : x + 7].transpose(2, 0, 1).astype(float)
    assert np.corrcoef(part.ravel(), plant.numpy().ravel())[0, 1] >= 0.9


def test_a_row_follows_from_its_neuron_whatever_else_is_asked_for() -> None:
    module = Convolutions()
    layer = layers_of(module)[2]
    canvas, sub = canvas_of(layer, 32, 32), subject(module)
    recipe = Recipe("fourier", 8, canvas.jitter, 4)
    wanted = [Wanted(channel, sign, 0) for channel in range(5) for sign in (1, -1)]
    together = draw(sub, layer, canvas, wanted, recipe, 0).pixels
    for row in (0, 3, 9):
        alone = draw(sub, layer, canvas, [wanted[row]], recipe, 0).pixels[0]
        np.testing.assert_array_equal(alone, together[row])
    order = draw(sub, layer, canvas, wanted[::-1], recipe, 0).pixels[::-1]
    np.testing.assert_array_equal(order, together)
    assert (draw(sub, layer, canvas, wanted, recipe, 1).pixels != together).any()
    assert (together[0] != together[1]).any()


def test_the_network_is_left_as_it_was_also_after_an_error() -> None:
    module = Convolutions().train()
    layer = layers_of(Convolutions())[2]
    module.train()
    canvas = canvas_of(layer, 32, 32)
    sub = Subject(module, lambda pixels: torch.zeros(1), PLAIN.mean, PLAIN.std, spectrum())
    draw(sub, layer, canvas, [Wanted(0, 1, 0)], Recipe("fourier", 2, 0, 1), 0)
    with pytest.raises(IndexError):
        draw(sub, layer, canvas, [Wanted(99, 1, 0)], Recipe("fourier", 2, 0, 1), 0)
    assert module.training
    assert all(p.requires_grad for p in module.parameters())
    assert not any(m._forward_hooks for m in module.modules())


def test_without_a_gradient_it_says_so() -> None:
    def objective(inputs: Tensor) -> Tensor:
        return inputs.detach().sum((1, 2, 3))

    with pytest.raises(ValueError, match="no gradient"):
        ascend(space(faint()), objective, [generator("x")], Recipe("fourier", 2, 0, 1))


def test_the_response_is_that_of_the_stored_file() -> None:
    module = Convolutions()
    layer = layers_of(module)[2]
    canvas, sub = canvas_of(layer, 32, 32), subject(module)
    made = draw(sub, layer, canvas, [Wanted(1, 1, 0), Wanted(1, -1, 0)], Recipe("fourier", 30, 0, 2), 0).pixels
    stored = np.stack([files.decode(files.encode(each), 3) for each in made])
    np.testing.assert_array_equal(stored, made)
    values = respond(sub, layer, canvas, stored, 2)
    assert values[0, 1] > values[1, 1]
    with torch.no_grad():
        inputs = (torch.from_numpy(stored).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
        twin = module.third(torch.relu(module.second(torch.relu(module.first(inputs)))))
    np.testing.assert_allclose(values, twin[:, :, canvas.y, canvas.x].numpy(), rtol=1e-4, atol=1e-5)


def test_one_channel_pictures_go_through_the_file() -> None:
    grey = noise(1, 8)[0, :, :, :1]
    np.testing.assert_array_equal(files.decode(files.encode(grey), 1), grey)


@pytest.mark.parametrize(
    ("value", "sign", "expected"), [(3.0, 1, 1.5), (-3.0, -1, 3.0), (3.0, -1, -3.0), (-1.0, 1, -0.5)]
)
def test_attained_is_a_share_of_the_data_s_extreme(value: float, sign: int, expected: float) -> None:
    assert attained(value, sign, 2.0, -1.0) == expected


def test_an_extreme_on_the_other_side_of_nought_gives_no_share() -> None:
    assert attained(1.0, 1, -2.0, -3.0) is None
    assert attained(1.0, -1, 3.0, 0.0) is None


def test_no_movement_leaves_a_picture_and_a_shift_shifts_it() -> None:
    class Middle:
        def uniform(self, low: float, high: float, shape: tuple[int, int]) -> Any:
            return np.zeros(shape)

    pixels = torch.rand(1, 3, 6, 8)
    matrices = transforms.draw([Middle()], 1, 0, 6, 8)  # type: ignore[list-item]
    torch.testing.assert_close(transforms.move(pixels, torch.from_numpy(matrices[0])), pixels)
    matrices[0, 0, 0, 2] = 2 * 1 / 8  # one pixel to the right
    moved = transforms.move(pixels, torch.from_numpy(matrices[0]))
    torch.testing.assert_close(moved[..., :-1], pixels[..., 1:])
    torch.testing.assert_close(moved[..., -1], pixels[..., -1])  # mirrored, not black


def test_a_quarter_turn_turns_a_picture_that_is_not_square() -> None:
    pixels = torch.zeros(1, 1, 5, 9)
    pixels[0, 0, 2, 6] = 1  # two to the right of the middle
    matrices = transforms.draw([generator("x")], 1, 0, 5, 9)
    ratio = 5 / 9
    matrices[0, 0] = [[0, -ratio, 0], [1 / ratio, 0, 0]]
    moved = transforms.move(pixels, torch.from_numpy(matrices[0]))
    assert divmod(int(moved.argmax()), 9) in {(0, 4), (4, 4)}  # two above or below it
    angle = transforms.draw([generator("x")], 1, 0, 5, 9)[0, 0]
    assert angle[0, 1] * angle[1, 0] < 0  # a rotation, not a shear


def test_objectives_in_small() -> None:
    output = torch.arange(12.0).reshape(1, 3, 2, 2)
    goals = Goals.of([Goal(2, 1, 1, 0)], torch.device("cpu"))
    assert response(output, goals).item() == 10
    scores = torch.tensor([[0.0, 0.0, np.log(2)]])
    assert logit(scores, goals).item() == pytest.approx(np.log(2))
    assert probability(scores, goals).item() == pytest.approx(np.log(0.5))
    wanted = Goals.of([Goal(0)], torch.device("cpu"), torch.tensor([[3.0, 4.0]]))
    assert code(torch.tensor([[0.0, 4.0]]), wanted).item() == pytest.approx(-9 / 25)
    matrix = gram_matrix(torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]]))
    torch.testing.assert_close(matrix, torch.tensor([[[2.5, 5.5], [5.5, 12.5]]]))


def test_grey_networks_of_one_channel_have_pictures() -> None:
    grey = Preprocessing(32, 32, (0.5,), (0.25,))
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.GELU(), nn.Flatten(), nn.Linear(2 * 30 * 30, 2)).eval()
    from atlas.network.layers import find_layers

    layer = find_layers(module, 32, 32, 1)[0]
    canvas = canvas_of(layer, 32, 32)
    one = SpectrumSum.of(noise(3)[..., :1]).mean()
    sub = Subject(module, subject(Convolutions(), grey).normalise, grey.mean, grey.std, one)
    made = draw(sub, layer, canvas, [Wanted(0, 1, 0), Wanted(0, -1, 0)], Recipe("fourier", 60, 0, 2), 0).pixels
    assert made.shape == (2, canvas.height, canvas.width, 1)
    values = respond(sub, layer, canvas, made, 2)[:, 0]
    assert values[0] > values[1]
