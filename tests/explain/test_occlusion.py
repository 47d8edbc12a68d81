"""Occlusion maps: by hand, against whole images run one by one, and as pictures on the crop's box."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from atlas.errors import NetworkError
from atlas.explain.aligned import Images, geometry
from atlas.explain.backward import Example
from atlas.explain.occlusion import (
    COLOURS,
    WHY_NOTHING,
    Layout,
    class_scores,
    draw_falls,
    falls,
    layout_of,
    occlusion_maps,
)
from atlas.explain.prepared import prepare
from atlas.harvest.occluded import occlude
from atlas.images.decode import Preprocessing
from atlas.network.layers import find_layers
from atlas.network.normalise import Normalise
from atlas.network.session import Session, ready
from atlas.store.pictures import PackWriter
from atlas.types import Layer
from tests import naive_occlusion
from tests.tiny_net import net

SIZE = 32
_LOOKS = Preprocessing(SIZE, SIZE, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bilinear")


@pytest.fixture(scope="module")
def module() -> nn.Module:
    torch.manual_seed(5)
    return net().eval()


@pytest.fixture(scope="module")
def layers(module: nn.Module) -> list[Layer]:
    return find_layers(module, SIZE, SIZE)


@pytest.fixture(scope="module")
def images() -> Images:
    pixels = np.random.default_rng(1).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
    return Images(pixels, Normalise(_LOOKS, torch.device("cpu"), torch.float32))


def test_layout_by_hand() -> None:
    small = Layout(3, 5, 1)
    assert (small.rows, small.columns, small.square) == (3, 5, 3)
    assert small.hidden(0) == (slice(0, 2), slice(0, 2))  # centred on the corner: half of it sticks out
    assert small.hidden(6) == (slice(0, 3), slice(0, 3))
    even = Layout(16, 10, 4)
    assert (even.rows, even.columns, even.square) == (4, 3, 8)
    assert even.hidden(4) == (slice(2, 10), slice(2, 10))
    assert [Layout(9, 9, stride).square for stride in (1, 2, 3, 4, 5)] == [3, 4, 5, 8, 9]
    spread = Layout(3, 4, 2).spread(np.array([[1, 2], [3, 4]], np.float32))
    assert spread.tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4]]


def test_by_hand() -> None:
    """A neuron that sums red over its field of 4 × 4: a square takes away what it covers."""
    conv = nn.Conv2d(3, 1, 4, bias=False).requires_grad_(False)
    conv.weight.zero_()
    conv.weight[0, 0] = 1
    last = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2)).eval()
    (layer,) = (each for each in find_layers(last, 8, 8) if each.name == "0")
    pixels = np.zeros((1, 8, 8, 3), np.float32)
    pixels[0, 2:6, 3:7, 0] = [[1, 2, 3, 4], [0, 0, 0, 0], [0, 0, 5, 0], [0, 0, 0, -6]]
    plain = Images(pixels, lambda batch: torch.from_numpy(np.ascontiguousarray(batch.transpose(0, 3, 1, 2))))
    (found,) = occlusion_maps(last, layer, geometry(layer, 8, 8), plain, [Example(0, 0, 2, 3)], 4)
    assert found.response == 9
    assert falls(found, 1, 8, 8).tolist() == [[3, 6, 9, 7], [3, 11, 14, 12], [0, 5, -1, -1], [0, 5, -1, -1]]
    assert falls(found, -1, 8, 8)[0].tolist() == [-3, -6, -9, -7]


def test_against_whole_images_one_by_one(module: nn.Module, layers: list[Layer], images: Images) -> None:
    for layer in layers:
        crops = geometry(layer, SIZE, SIZE)
        places = {(0, 0), (layer.height // 2, layer.width // 2), (layer.height - 1, layer.width - 1)}
        examples = [Example(i % 3, i % layer.channels, y, x) for i, (y, x) in enumerate(sorted(places))]
        for each in list(occlusion_maps(module, layer, crops, images, examples, 8)):  # the twin runs on its own
            example = examples[each.index]
            image = images.normalise(images.pixels[example.image : example.image + 1]).contiguous()
            box = layer.field.box(example.y, example.x)
            inside = tuple(int(min(max(edge, 0), SIZE)) for edge in (box.top, box.left, box.bottom, box.right))
            at = (example.channel, example.y, example.x)
            expected = naive_occlusion.hidden(
                module, layer.module, image, at, inside, each.layout.stride, each.layout.square
            )
            assert each.response == pytest.approx(naive_occlusion.response(module, layer.module, image, at), abs=1e-5)
            np.testing.assert_allclose(each.hidden.ravel(), expected, atol=1e-5)
            values = falls(each, 1, SIZE, SIZE)
            assert values.shape == (layer.field.y.size, layer.field.x.size)
            outside = np.ones(values.shape, bool)
            top, left = int(box.top), int(box.left)
            outside[inside[0] - top : inside[2] - top, inside[1] - left : inside[3] - left] = False
            assert not values[outside].any()


def test_a_map_depends_on_its_example_alone(module: nn.Module, layers: list[Layer], images: Images) -> None:
    layer = next(each for each in layers if each.name == "conv2")
    examples = [Example(i, i, i, 2 * i) for i in range(3)]
    crops = geometry(layer, SIZE, SIZE)
    together = list(occlusion_maps(module, layer, crops, images, examples, 8))
    for index, example in enumerate(examples):
        (alone,) = occlusion_maps(module, layer, crops, images, [example], 8)
        assert alone.response == together[index].response
        assert np.array_equal(alone.hidden, together[index].hidden)


def test_class_scores(module: nn.Module, layers: list[Layer], images: Images) -> None:
    """The network's output is a layer like its last one; where pooling gives the scores, it is the only one."""
    scores = class_scores(4, SIZE, SIZE)
    examples = [Example(0, 3, 0, 0), Example(1, 0, 0, 0, -1)]
    found, expected = (
        list(occlusion_maps(module, layer, geometry(layer, SIZE, SIZE), images, examples, 16))
        for layer in (scores, layers[-1])
    )
    for a, b in zip(found, expected, strict=True):
        assert a.response == b.response
        assert np.array_equal(a.hidden, b.hidden)
    pooled = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    (only,) = occlusion_maps(pooled, scores, geometry(scores, SIZE, SIZE), images, examples[:1], 16)
    with torch.no_grad():
        assert only.response == pytest.approx(float(pooled(images.normalise(images.pixels[:1]))[0, 3]), abs=1e-6)


def test_every_call_has_a_fixed_shape(module: nn.Module, layers: list[Layer], images: Images) -> None:
    layer, shapes = layers[-1], set()
    handle = module.register_forward_pre_hook(lambda m, a: shapes.add(tuple(a[0].shape)))
    list(occlusion_maps(module, layer, geometry(layer, SIZE, SIZE), images, [Example(0, 1, 0, 0)], 16))
    handle.remove()
    assert shapes == {(16, 3, SIZE, SIZE), (1, 3, SIZE, SIZE)}  # 1 + 8 × 8 variants


def test_the_field_decides_the_stride_wherever_it_lies(layers: list[Layer]) -> None:
    for layer in layers:
        crops = geometry(layer, SIZE, SIZE)
        places = [(y, x) for y in range(layer.height) for x in range(layer.width)]
        assert len({layout_of(crops.crop(y, x), SIZE, SIZE).stride for y, x in places}) == 1


def test_colours() -> None:
    values = np.array([[4.0, 0.0], [-4.0, 2.0]], np.float32)
    drawn = draw_falls(values, 10, (4, 4))
    assert drawn is not None
    assert drawn.scale == 4
    pixels = np.asarray(Image.open(io.BytesIO(drawn.body)))
    assert pixels.shape == (4, 4, 3)
    assert pixels[0, 0].tolist() == COLOURS[-1].tolist()
    assert pixels[0, 2].tolist() == COLOURS[8].tolist()
    assert pixels[2, 0].tolist() == COLOURS[0].tolist()
    assert pixels[3, 3].tolist() == COLOURS[12].tolist()
    assert abs(pixels[0, 2].astype(int) - 125).max() <= 5  # no change is grey
    lightness = COLOURS @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > 0).all()


@pytest.mark.parametrize("values", [np.zeros((3, 3)), np.full((3, 3), 1e-6), np.full((3, 3), np.nan)])
def test_where_nothing_changes_there_is_no_picture(values: np.ndarray) -> None:
    assert draw_falls(values.astype(np.float32), 5.0, (9, 9)) is None


def session_of(module: nn.Module, layers: list[Layer]) -> Session:
    return ready(module, layers, ("fc", 1), _LOOKS, batch_size=8, device="cpu")


def row(layer: Layer, channel: int, side: str, rank: int, image_id: int, response: float) -> dict[str, Any]:
    """An example at (0, 3), or at the only position there is."""
    x = min(3, layer.width - 1)
    return {"layer": layer.name, "channel": channel, "side": side, "rank": rank, "image_id": image_id,
            "response": response, "reference": 0.25, "y": 0, "x": x}  # fmt: skip


def test_examples_of_a_layer(module: nn.Module, layers: list[Layer], images: Images) -> None:
    layer = layers[3]
    rows = [
        row(layer, 0, "max", 0, 70, 1.0), row(layer, 0, "min", 0, 72, -1.0), row(layer, 1, "max", 0, 70, 0.25),
        row(layer, 1, "min", 0, 70, 0.5),
    ]  # fmt: skip
    body = io.BytesIO()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    prepared = prepare(module, layer, images, ())
    table = occlude(
        session_of(module, layers), layer, prepared, rows, images, {70: 0, 72: 2}, 48, PackWriter(body, "one.tar")
    )
    assert table.select(["channel", "side", "rank"]).to_pylist() == [
        {name: each[name] for name in ("channel", "side", "rank")} for each in rows
    ]
    pictures = table.column("picture").to_pylist()
    assert [picture["why"] for picture in pictures[:2]] == [None, None]
    assert "0.25, not above its reference 0.25" in pictures[2]["why"]
    assert "0.5, not below its reference 0.25" in pictures[3]["why"]
    assert all(torch.equal(state[name], value) for name, value in module.state_dict().items())
    for picture in pictures[:2]:
        body.seek(picture["offset"])
        drawn = Image.open(io.BytesIO(body.read(picture["length"])))
        assert drawn.size == (round(48 * layer.field.x.size / max(layer.field.x.size, layer.field.y.size)), 48)
        assert picture["scale"] > 0
        assert picture["seed"] is None


def test_hooks_are_gone_after_an_exception(module: nn.Module, layers: list[Layer], images: Images) -> None:
    calls = 0

    def failing(pixels: np.ndarray) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise NetworkError("gone")
        return images.normalise(pixels)

    module.train()
    maps = occlusion_maps(
        module, layers[0], geometry(layers[0], SIZE, SIZE), Images(images.pixels, failing), [Example(0, 0, 1, 1)] * 2, 8
    )
    with pytest.raises(NetworkError, match="gone"):
        list(maps)
    assert module.training
    module.eval()
    assert not any(m._forward_hooks for m in module.modules())


def test_nothing_to_hide_says_why(layers: list[Layer], images: Images) -> None:
    deaf = net().eval()
    for parameter in deaf.parameters():
        nn.init.constant_(parameter, 0.0)
    nn.init.constant_(deaf.fc.bias, 1.0)  # type: ignore[arg-type, union-attr]
    layer = layers[-1]
    rows = [row(layer, 0, "max", 0, 0, 1.0)]
    table = occlude(
        session_of(deaf, layers), layer, prepare(deaf, layer, images, ()), rows, images, {0: 0}, 48,
        PackWriter(io.BytesIO(), "x"),
    )  # fmt: skip
    assert table.column("picture")[0].as_py()["why"] == WHY_NOTHING
