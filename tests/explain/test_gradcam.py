"""Grad-CAM against a naive version with hooks, and where there is no map for it."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atlas.explain import gradcam
from atlas.explain.aligned import Images, geometry
from atlas.explain.backward import Example, project, project_examples
from atlas.explain.prepared import prepare
from atlas.network.layers import find_layers
from atlas.types import Layer

pytestmark = pytest.mark.usefixtures("one_thread")
SIDE = 24


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, 2, 1), nn.Conv2d(6, 5, 3, 2, 1)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x), inplace=True)
        x = F.relu(self.b(x), inplace=True)
        return self.head(F.relu(self.c(x), inplace=True).mean((2, 3)))


class Tokens(nn.Module):
    """One block of attention, read by its class token alone."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.token = nn.Conv2d(3, 6, 4, 4), nn.Parameter(torch.randn(1, 1, 6))
        self.qkv, self.proj, self.fc, self.head = nn.Linear(6, 18), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), -1, -1), self.embed(x).flatten(2).transpose(1, 2)], 1)
        q, k, v = self.qkv(x).chunk(3, -1)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v))
        return self.head((x + self.fc(F.gelu(x)))[:, 0])


def made(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(3)
    return kind().eval().requires_grad_(False)


def layers(module: nn.Module) -> dict[str, Layer]:
    return {layer.name: layer for layer in find_layers(module, SIDE, SIDE)}


def inputs(count: int = 2) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))


def naive(module: Any, x: Tensor, source: str, score: Any) -> Tensor:
    """One image (1, 3, H, W): the paper's two equations, loops over maps and places."""
    kept: list[Tensor] = []

    def keep(_m: Any, _i: Any, output: Tensor) -> Tensor:
        leaf = output.detach().requires_grad_(True)
        kept.append(leaf)
        return leaf.clone()

    handle = module.get_submodule(source).register_forward_hook(keep)
    try:
        value = score(module(x))
        (gradient,) = torch.autograd.grad(value, kept[0])
    finally:
        handle.remove()
    maps = kept[0].detach()
    out = torch.zeros(maps.shape[2:])
    for k in range(maps.shape[1]):
        alpha = float(gradient[0, k].sum()) / out.numel()
        for y in range(out.shape[0]):
            for w in range(out.shape[1]):
                out[y, w] += alpha * float(maps[0, k, y, w])
    return F.interpolate(out.clamp(min=0)[None, None], x.shape[2:], mode="bilinear")[0, 0]


def _score(channel: int, sign: int, logits: Tensor) -> Tensor:
    return sign * logits[0, channel]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_class_score_is_weighed_at_the_last_map(sign: int) -> None:
    module, x = made(Net), inputs()
    head = layers(module)["head"]
    for channel in range(3):
        zeros = torch.zeros((2, 2), dtype=torch.long)
        found = project(module, head, x, zeros, torch.full((2,), channel), ["gradcam"], torch.full((2,), sign))
        for n in range(2):
            with torch.enable_grad():
                want = naive(module, x[n : n + 1], "c", partial(_score, channel, sign))
            torch.testing.assert_close(found["gradcam"][n, 0], want, rtol=1e-4, atol=1e-6)
            assert torch.equal(found["gradcam"][n, 0], found["gradcam"][n, 2])


def test_a_neuron_is_weighed_at_the_nearest_map_before_it() -> None:
    module, x = made(Net), inputs(1)
    found = layers(module)
    assert {n: getattr(gradcam.source_of(module, layer, x), "name", None) for n, layer in found.items()} == {
        "a": None, "b": "a", "c": "b", "head": "c",
    }  # fmt: skip


def test_patches_without_a_gradient_are_passed_over() -> None:
    """Only the class token is read after the attention: its keys and values are the last that the patches reach."""
    module, x = made(Tokens), inputs(1)
    head = layers(module)["head"]
    assert getattr(gradcam.source_of(module, head, x), "name", None) == "qkv"
    maps = project(
        module, head, x, torch.zeros((1, 2), dtype=torch.long), torch.tensor([1]), ["gradcam"], torch.ones(1)
    )
    assert maps["gradcam"].shape == (1, 3, SIDE, SIDE)
    assert float(maps["gradcam"].min()) >= 0


def test_without_a_map_there_is_a_reason() -> None:
    module = made(Net)
    first = layers(module)["a"]
    images = Images(
        np.zeros((1, SIDE, SIDE, 3), np.uint8), lambda p: torch.from_numpy(p.astype(np.float32)).movedim(3, 1)
    )
    ready = prepare(module, first, images, ["gradient", "gradcam", "lrp"])
    assert ready.kinds(["gradient", "gradcam", "lrp"]) == ("gradient", "lrp")
    assert ready.why_not("gradcam") == gradcam.WHY_NONE
    assert ready.why_not("lrp") is None


def test_examples_get_the_whole_images_heat_on_their_field() -> None:
    module = made(Net)
    layer = layers(module)["b"]
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    images = Images(pixels, lambda p: torch.from_numpy(p.astype(np.float32) / 255).movedim(3, 1))
    examples = [Example(0, 1, 4, 5), Example(1, 3, 0, 11)]
    crops = geometry(layer, SIDE, SIDE)
    for each in project_examples(module, layer, crops, images, examples, ["gradient", "gradcam", "lrp"], 4):
        e = examples[each.index]
        x = images.normalise(pixels[[e.image]])
        with torch.enable_grad():
            at = torch.tensor([[e.y, e.x]])
            want = project(module, layer, x, at, torch.tensor([e.channel]), ["gradcam", "lrp"], torch.ones(1))
        rows, columns, top, left = each.crop.inside(SIDE, SIDE)
        for kind in ("gradcam", "lrp"):
            got = each.maps[kind][:, rows, columns]
            np.testing.assert_allclose(got, want[kind][0][:, top, left].numpy(), rtol=1e-4, atol=1e-6)
