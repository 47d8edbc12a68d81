"""Inversion: closed forms, what the stored file gives, and that a picture follows from what it is of alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from atlas.images.decode import Preprocessing
from atlas.invert import chunk
from atlas.invert.invert import Priors, error, invert, priors, psnr, variation
from atlas.invert.through import CODE, chosen, encoder, gives_the_code, place_of
from atlas.visualize.ascend import generator
from atlas.visualize.canvas import Canvas
from atlas.visualize.classes import itself
from tests.small_nets import Rounded
from tests.visualize.subjects import Convolutions, layers_of, noise, subject

pytestmark = pytest.mark.usefixtures("one_thread")
NONE = Priors(0.0, 0.0)
WHOLE = Canvas(0, 0, 32, 32, 0, 0, 32, True)


class Rotation(nn.Module):
    """An invertible network: an orthonormal matrix over colours."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = nn.Conv2d(3, 3, 1, bias=False)
        with torch.no_grad():
            q, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))
            self.turn.weight.copy_(q[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return self.turn(x).mean((2, 3))


Images = list[NDArray[np.uint8]]


def made(
    module: nn.Module, name: str, steps: int, weights: Priors, count: int = 2
) -> tuple[list[chunk.Inverse], Images]:
    images = list(noise(count))
    it = subject(module)
    with encoder(module, layers_of(module), ("head", 1), name, itself) as encode:
        wanted = chunk.encoded(it, encode, images, count)
        about = [(name, i) for i in range(count)]
        return chunk.work(it, encode, (32, 32), wanted, wanted.flip(0), about, steps, weights, count, 0), images


def test_an_invertible_network_is_inverted_to_forty_decibels() -> None:
    found, images = made(Rotation(), "turn", 200, NONE)
    assert min(psnr(a.pixels, b) for a, b in zip(found, images, strict=True)) >= 40
    assert max(a.error for a in found) < 1e-3
    assert min(a.error_other for a in found) > 0.02


def test_errors_are_of_the_files() -> None:
    module = Convolutions()
    found, images = made(module, "second", 30, priors(0.5))
    it = subject(module)
    with torch.no_grad(), encoder(module, layers_of(module), ("head", 1), "second", itself) as encode:
        for inverse, image in zip(found, images, strict=True):
            from atlas.visualize import files

            stored = files.decode(inverse.body, 3)
            a, b = (encode(it.inputs(each[None], 2))[0].double() for each in (stored, image))
            assert inverse.error == pytest.approx(float((a - b).square().sum() / b.square().sum()), rel=1e-4)


def test_deeper_keeps_less() -> None:
    likeness = []
    for name in ("first", "third"):
        found, images = made(Convolutions(), name, 60, priors(0.5))
        likeness.append(np.mean([psnr(a.pixels, b) for a, b in zip(found, images, strict=True)]))
    shallow, deep = likeness
    assert shallow > deep


def test_a_row_follows_from_itself_alone() -> None:
    module = Convolutions().double()
    it = subject(module)
    images = noise(3)
    space = it.space(WHOLE)
    with encoder(module, layers_of(module), ("head", 1), "second", itself) as encode:
        wanted = encode(it.normalise(images).double()).detach()
        rows = [invert(space, encode, wanted[which], [generator(i) for i in which], 5, priors(0.2)) for which in (
            [0, 1, 2], [2, 0, 1])]  # fmt: skip
    assert np.array_equal(rows[0][[2, 0, 1]], rows[1])
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour(channels: int) -> None:
    plain = Preprocessing(32, 32, (0.5,) * channels, (0.25,) * channels)
    module = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(4 * 900, 3))
    it = subject(module, plain)
    if channels == 1:
        from dataclasses import replace

        from atlas.visualize.spectrum import SpectrumSum

        it = replace(it, spectrum=SpectrumSum.of(noise(4)[..., :1]).mean())
    images = list(noise(2)[..., :channels])
    with encoder(module, layers_of(module) if channels == 3 else [], ("3", 1), "logits", itself) as encode:
        wanted = chunk.encoded(it, encode, images, 2)
        found = chunk.work(it, encode, (32, 32), wanted, wanted.flip(0), [("a",), ("b",)], 40, NONE, 2, 0)
    assert found[0].pixels.shape == (32, 32, channels)
    assert max(each.error for each in found) < 0.05


def test_without_gradient_it_says_so() -> None:
    with pytest.raises(ValueError, match="no gradient"):
        made(Rounded(), "logits", 3, NONE)


def test_error_and_variation_by_hand() -> None:
    wanted = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    assert error(torch.tensor([[3.0, 3.0], [0.0, 1.0]]), wanted).tolist() == pytest.approx([1 / 25, 2.0])
    x = torch.tensor([[[[0.0, 1.0, 9.0], [2.0, 5.0, 9.0], [9.0, 9.0, 9.0]]]])
    # (0,0): right 1, down 2; (0,1): right 8, down 4; (1,0): right 3, down 7; (1,1): right 4, down 4.
    assert variation(x).item() == pytest.approx((1 + 4 + 64 + 16 + 9 + 49 + 16 + 16) / 4)
    assert psnr(np.zeros((2, 2, 1), np.uint8), np.full((2, 2, 1), 255, np.uint8)) == pytest.approx(0)
    assert psnr(np.zeros((1, 1, 1), np.uint8), np.zeros((1, 1, 1), np.uint8)) == float("inf")


def test_the_row_of_layers() -> None:
    names = [f"conv{i}" for i in range(11)]
    assert chosen(names, ["auto"]) == ["conv0", "conv2", "conv4", "conv6", "conv8", "conv10", "logits",
                                       "log_probabilities"]  # fmt: skip
    assert chosen(names[:1], ["auto"], classes=False) == ["conv0"]
    assert chosen(names, ["x", "logits", "x"]) == ["x", "logits"]
    from atlas.errors import NetworkError

    with pytest.raises(NetworkError, match="--layers nothing: the network has no such module"):
        place_of(Convolutions(), [], "nothing")


def test_from_what_the_code_follows() -> None:
    module = Convolutions().eval()
    found = gives_the_code(module, layers_of(module), ("head", 1), torch.zeros(1, 3, 32, 32))
    assert {"third", "head", "logits", "log_probabilities", CODE} <= found
    assert not {"first", "second"} & found
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in module.modules())


def test_the_code_is_the_scans() -> None:
    module = Convolutions().eval()
    it = subject(module)
    inputs = it.inputs(noise(2), 2)
    with torch.no_grad():
        expected = torch.relu(module.third(torch.relu(module.second(torch.relu(module.first(inputs)))))).mean((2, 3))
        with encoder(module, layers_of(module), ("head", 1), CODE, itself) as encode:
            assert torch.allclose(encode(inputs), expected, atol=1e-6)
