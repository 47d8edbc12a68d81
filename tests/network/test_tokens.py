"""Tokens, windows and channels-last maps: places, responses and positions against naive loops with hooks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from atlas.network.graph import trace
from atlas.network.layers import find_layers, impossible_layers
from atlas.network.load import import_torchvision
from atlas.network.places import groups
from atlas.network.recorder import Recorder, cell, flat_of, positions_of, values_at
from atlas.types import Axis, Box, Field, Layer

pytestmark = pytest.mark.usefixtures("one_thread")
SIDE = 32


def timm_network(kind: str) -> nn.Module:
    import_torchvision()
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    small = {"img_size": SIDE, "num_classes": 5}
    if kind == "vit":
        made = timm.models.VisionTransformer(patch_size=8, embed_dim=12, depth=2, num_heads=2, reg_tokens=2, **small)
    elif kind == "swin":
        made = timm.models.SwinTransformer(
            patch_size=2, embed_dim=8, depths=(2, 2), num_heads=(2, 2), window_size=4, **small
        )
    else:
        made = timm.models.ConvNeXt(depths=(1, 1, 1, 1), dims=(8, 12, 12, 12), num_classes=5)
    return made.eval().requires_grad_(False)


def torchvision_vit() -> nn.Module:
    torch.manual_seed(0)
    made = import_torchvision().models.VisionTransformer(SIDE, 8, 2, 2, 12, 24, num_classes=5)
    return made.eval().requires_grad_(False)


@contextmanager
def outputs(module: nn.Module, name: str) -> Iterator[list[Tensor]]:
    """A hook as anybody would write it."""
    found: list[Tensor] = []
    handle = module.get_submodule(name).register_forward_hook(lambda _m, _i, output: found.append(output.clone()))
    try:
        yield found
    finally:
        handle.remove()


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def recorded(module: nn.Module, layers: list[Layer], x: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    with Recorder(module, layers, lambda layer, maps: found.update({layer.name: maps.clone()})) as recorder:
        recorder.run(x)
    return found


def test_every_layer_of_a_small_vision_transformer() -> None:
    layers = {layer.name: layer for layer in find_layers(timm_network("vit"), SIDE, SIDE)}
    inside = ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", ""]
    names = [f"blocks.{b}.{part}".rstrip(".") for b in (0, 1) for part in inside]
    assert list(layers) == ["patch_embed.proj", *names, "head"]
    for name in names:
        layer = layers[name]
        assert (layer.tokens, layer.prefix_tokens, layer.height, layer.width) == (True, 3, 4, 4)
        assert layer.field == Field(Axis(SIDE, 0, 0), Axis(SIDE, 0, 0), global_field=True)
        assert layer.kind == ("block" if name.endswith(("0", "1")) and "fc" not in name else "linear")
    assert not layers["head"].tokens
    assert layers["patch_embed.proj"].field == Field(Axis(8, 8, 0), Axis(8, 8, 0))


@pytest.mark.parametrize("name", ["blocks.0.attn.qkv", "blocks.1.mlp.fc1", "blocks.1"])
def test_tokens_are_handed_over_prefix_first_then_row_by_row(name: str) -> None:
    module, x = timm_network("vit"), images()
    (layer,) = find_layers(module, SIDE, SIDE, wanted=[name])
    with outputs(module, name) as found:
        module(x)
    maps = recorded(module, [layer], x)[name]
    assert maps.shape == (4, layer.channels, 1, 3 + 16)
    for n in range(4):
        for channel in range(layer.channels):
            values: dict[tuple[int, int], float] = {}
            for token in range(19):
                place = (-1, token) if token < 3 else divmod(token - 3, 4)
                values[place] = float(found[0][n, token, channel])
            best = max(values.values())
            want = min(place for place, value in values.items() if value == best)
            flat = int(maps[n, channel].flatten().argmax())
            y, x_ = positions_of(layer, np.array([flat]))
            assert (int(y[0]), int(x_[0])) == want
            assert float(maps[n, channel].max()) == best
            at = values_at(
                layer, maps[n : n + 1], torch.tensor([channel]), torch.tensor([want[0]]), torch.tensor([want[1]])
            )
            assert float(at) == best


def naive_window(module: Any, shift: int) -> dict[tuple[int, int], tuple[int, int]]:
    """(window, position inside) → (y, x) of a map of 16 × 16 cut into windows of 4 × 4 after a roll by `shift`."""
    found = {}
    for y in range(16):
        for x in range(16):
            rolled_y, rolled_x = (y - shift) % 16, (x - shift) % 16
            window = rolled_y // 4 * 4 + rolled_x // 4
            found[window, rolled_y % 4 * 4 + rolled_x % 4] = (y, x)
    return found


@pytest.mark.parametrize(("name", "shift"), [("layers.0.blocks.0.attn.qkv", 0), ("layers.0.blocks.1.attn.proj", 2)])
def test_windows_are_put_back_where_they_were_cut(name: str, shift: int) -> None:
    module, x = timm_network("swin"), images(3)
    (layer,) = find_layers(module, SIDE, SIDE, wanted=[name])
    assert (layer.height, layer.width, layer.prefix_tokens) == (16, 16, 0)
    with outputs(module, name) as found:
        module(x)
    assert found[0].shape == (3 * 16, 16, layer.channels)
    maps = recorded(module, [layer], x)[name]
    assert maps.shape == (3, layer.channels, 1, 256)
    for n in range(3):
        for (window, inside), (y, x_) in naive_window(module, shift).items():
            assert torch.equal(maps[n, :, 0, y * 16 + x_], found[0][n * 16 + window, inside])


def test_a_grid_is_coarser_where_patches_are_merged() -> None:
    layers = {layer.name: layer for layer in find_layers(timm_network("swin"), SIDE, SIDE)}
    sizes = {name: (layer.height, layer.width) for name, layer in layers.items()}
    assert sizes["layers.1.downsample.reduction"] == (8, 8)
    assert sizes["layers.1.blocks.1.mlp.fc2"] == (8, 8)
    assert all(layer.prefix_tokens == 0 for layer in layers.values())
    block = layers["layers.0.blocks.1"]  # (N, H, W, C)
    assert (block.kind, block.channels, block.height, block.width, block.tokens) == ("block", 8, 16, 16, False)


def test_all_layers_of_all_three_answer_as_hooks_do() -> None:
    x = images(2)
    for kind in ("vit", "swin", "convnext"):
        module = timm_network(kind)
        layers = find_layers(module, SIDE, SIDE)
        maps = recorded(module, layers, x)
        for layer in layers:
            with outputs(module, layer.name) as found:
                module(x)
            theirs = found[0].movedim(layer.channel_axis, -1).reshape(-1, layer.channels)
            theirs = theirs.reshape(2, -1, layer.channels)  # (N, positions, C), in whatever order
            assert torch.equal(maps[layer.name].amax((2, 3)), theirs.amax(1)), layer.name
            assert torch.equal(maps[layer.name].amin((2, 3)), theirs.amin(1)), layer.name
            assert maps[layer.name].flatten(2).shape[2] == layer.height * layer.width + layer.prefix_tokens


def test_projections_that_are_called_as_functions() -> None:
    """torchvision's attention reads its parameters itself, and puts the images behind the tokens."""
    module, x = torchvision_vit(), images(3)
    layers = {layer.name: layer for layer in find_layers(module, SIDE, SIDE)}
    block = "encoder.layers.encoder_layer_1"
    into, out = layers[f"{block}.self_attention.in_proj"], layers[f"{block}.self_attention.out_proj"]
    assert (into.channels, into.prefix_tokens, into.height, into.width) == (36, 1, 4, 4)
    assert (out.channels, out.prefix_tokens, out.height) == (12, 1, 4)
    maps = recorded(module, list(layers.values()), x)
    attention = module.get_submodule(f"{block}.self_attention")
    with outputs(module, f"{block}.ln_1") as read:
        module(x)
    # Another way to the same numbers: the function that torch itself calls for one image.
    for n in range(3):
        want = torch.nn.functional.linear(read[0][n], attention.in_proj_weight, attention.in_proj_bias)  # (T, 3C)
        torch.testing.assert_close(maps[into.name][n, :, 0].T, want)
    names = [layer.name for layer in layers.values()]
    assert names.index(into.name) < names.index(out.name) < names.index(f"{block}.mlp.0")
    given: list[Tensor] = []
    module.get_submodule(f"{block}.dropout").register_forward_hook(lambda _m, args, _o: given.append(args[0]))
    recorded(module, [], x)
    torch.testing.assert_close(maps[out.name][:, :, 0].transpose(1, 2), given[-1])


def test_no_mode_remains_and_stopping_early_works_with_functions() -> None:
    module, x = torchvision_vit(), images(2)
    layers = [layer for layer in find_layers(module, SIDE, SIDE) if layer.function]
    assert layers
    seen: list[str] = []
    with Recorder(module, layers[:1], lambda layer, _: seen.append(layer.name), stop=True) as recorder:
        assert recorder.run(x) is None
    assert seen == [layers[0].name]
    assert not torch.overrides._get_current_function_mode_stack()


def test_index_and_position_are_inverse() -> None:
    whole = Field(Axis(9, 0, 0), Axis(9, 0, 0), global_field=True)
    tokens = Layer(0, "t", "linear", 1, 2, 3, whole, False, "t", tokens=True, prefix_tokens=2)
    plain = Layer(0, "m", "conv", 1, 2, 3, whole, False, "m")
    for layer, count in ((tokens, 8), (plain, 6)):
        flat = np.arange(count)
        y, x = positions_of(layer, flat)
        assert np.array_equal(flat_of(layer, y, x), flat)
        assert [flat_of(layer, int(a), int(b)) for a, b in zip(y, x, strict=True)] == flat.tolist()
        assert torch.equal(flat_of(layer, torch.tensor(y), torch.tensor(x)), torch.tensor(flat))
    assert positions_of(tokens, np.array([0, 1, 2, 7]))[0].tolist() == [-1, -1, 0, 1]
    assert cell(tokens, -1, 1, 8, 9) == Box(0, 0, 9, 8)
    assert cell(tokens, 1, 2, 8, 9) == Box(6, 4, 9, 8)


class Folded(nn.Module):
    """Images behind the positions, or mixed with one another."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.embed, self.inner, self.head = how, nn.Conv2d(3, 4, 8, 8), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens = len(x), self.embed(x).flatten(2).transpose(1, 2)  # (N, T, C)
        if self.how == "behind":
            tokens = self.inner(tokens.transpose(0, 1).reshape(-1, 4)).view(-1, n, 4).transpose(0, 1)
        elif self.how == "pairs":
            tokens = self.inner(tokens.reshape(-1, 4)).view(n, -1, 4)
        else:
            tokens = tokens + self.inner(tokens.mean(0))
        return self.head(tokens.mean(1))


def test_images_behind_the_positions_are_found() -> None:
    for how in ("behind", "pairs"):
        module, x = Folded(how).eval().requires_grad_(False), images(3)
        (layer,) = find_layers(module, SIDE, SIDE, wanted=["inner"])
        assert (layer.height, layer.width, layer.prefix_tokens) == (4, 4, 0)
        with torch.no_grad():
            want = module.inner(module.embed(x).flatten(2).transpose(1, 2))
        torch.testing.assert_close(recorded(module, [layer], x)["inner"][:, :, 0].transpose(1, 2), want)


def test_a_layer_without_an_axis_of_images_cannot_be_recorded() -> None:
    module = Folded("mixed").eval()
    why = impossible_layers(trace(module, torch.zeros(1, 3, SIDE, SIDE)))
    assert why == {"inner": "its output has no axis of images"}


def test_runs_of_a_reshape() -> None:
    assert groups((2, 6, 4), (2, 2, 3, 4)) == [([0], [2]), ([1], [2, 3]), ([2], [4])]
    assert groups((2, 3, 1, 1), (2, 3)) == [([0], [2]), ([1], [3]), ([2, 3], [])]
    assert groups((4, 3, 5), (12, 5)) == [([0, 1], [12]), ([2], [5])]
