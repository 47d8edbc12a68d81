"""Fields against hand-computed cases, gradient support in float64, and over all of torchvision's classifiers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atlas.errors import NetworkError
from atlas.network.graph import trace
from atlas.network.layers import find_layers, impossible_layers, wildcards
from atlas.types import Axis, Field, Layer
from tests.naive_receptive import linear_outputs, make_positive, outputs_of, support, torchvision_network

pytestmark = pytest.mark.usefixtures("one_thread")


class Net(nn.Module):
    """A body, then a global mean and a linear layer."""

    def __init__(self, body: nn.Module, channels: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(channels, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


class Lambda(nn.Module):
    def __init__(self, function: Any, **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def layer(net: nn.Module, name: str, side: int = 32) -> Layer:
    return find_layers(net, side, side, wanted=[name])[0]


def axes(net: nn.Module, name: str = "body.last", side: int = 32) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    field = layer(net, name, side).field
    assert not field.global_field
    return (field.y.size, field.y.stride, field.y.start), (field.x.size, field.x.stride, field.x.start)


@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("features.0", (7, 2, 0)),
        ("features.3.expand3x3", (19, 4, -4)),
        ("features.5.expand3x3", (35, 4, -12)),
        ("features.7.expand3x3", (59, 8, -20)),
        ("features.12.expand3x3", (155, 16, -60)),
    ],
)
def test_squeezenet_truths(name: str, truth: tuple[int, int, int]) -> None:
    assert axes(torchvision_network("squeezenet1_0", "meta"), name, 224) == (truth, truth)


def last(inputs: int, *, kernel: Any = 1, **options: Any) -> nn.Module:
    return nn.Conv2d(inputs, 4, kernel, **options)


CASES: dict[str, tuple[Any, tuple[int, int, int], tuple[int, int, int]]] = {
    "one by seven": (lambda m, x: m.last(x), (1, 1, 0), (7, 1, -3)),
    "slice with a stride": (lambda m, x: m.last(x[:, :, 1::2, 2:-3:3]), (1, 2, 1), (19, 3, -7)),
    "pad": (lambda m, x: m.last(F.pad(x, (2, 0, 1, 5))), (1, 1, -1), (7, 1, -5)),
    "crop by a negative pad": (lambda m, x: m.last(F.pad(x, (-2, 0, -1, 0))), (1, 1, 1), (7, 1, -1)),
    "reflected": (lambda m, x: m.last(F.pad(x, (3, 3, 3, 3), mode="reflect")), (1, 1, -3), (7, 1, -6)),
    "dilated pool": (lambda m, x: m.last(F.max_pool2d(x, 2, 3, 1, dilation=3)), (4, 3, -1), (22, 3, -10)),
    "ceil": (lambda m, x: m.last(F.max_pool2d(x, 3, 2, ceil_mode=True)), (3, 2, 0), (15, 2, -6)),
    "mean pool": (lambda m, x: m.last(F.avg_pool2d(x, (2, 4), (2, 3), (1, 2))), (2, 2, -1), (22, 3, -11)),
    "adaptive of the same size": (lambda m, x: m.last(F.adaptive_avg_pool2d(x, x.shape[2:])), (1, 1, 0), (7, 1, -3)),
    "response normalisation": (lambda m, x: m.last(F.local_response_norm(x, 3)), (1, 1, 0), (7, 1, -3)),
    "space to depth": (lambda m, x: m.last(F.pixel_unshuffle(x, 2)[:, :3]), (2, 2, 0), (14, 2, -6)),
    "flattened and back": (lambda m, x: m.last(x.flatten(2).unflatten(2, (32, 32))), (1, 1, 0), (7, 1, -3)),
    "turned and back": (
        lambda m, x: m.last(x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)), (1, 1, 0), (7, 1, -3),
    ),
    "gate of channels": (lambda m, x: m.last(x * x.mean(1, keepdim=True).sigmoid()), (1, 1, 0), (7, 1, -3)),
    "softmax of channels": (lambda m, x: m.last(x.softmax(1)), (1, 1, 0), (7, 1, -3)),
    "constant maps beside": (
        lambda m, x: m.last(torch.cat([x, torch.zeros_like(x[:, :1])], 1)[:, :3]), (1, 1, 0), (7, 1, -3),
    ),
    "chosen channels": (lambda m, x: m.last(x[:, [2, 0, 1]]), (1, 1, 0), (7, 1, -3)),
    "normalised input": (
        lambda m, x: m.last(torch.cat([x[:, i].unsqueeze(1) * 0.5 + 0.1 for i in range(3)], 1)), (1, 1, 0), (7, 1, -3),
    ),
    "stacked": (lambda m, x: m.last(torch.stack([x[:, 0], x[:, 1], x[:, 2]], 1)), (1, 1, 0), (7, 1, -3)),
    "repeated": (lambda m, x: m.last(x[:, :1].repeat(1, 3, 1, 1)), (1, 1, 0), (7, 1, -3)),
    "expanded": (lambda m, x: m.last(x[:, :1].expand(-1, 3, -1, -1)), (1, 1, 0), (7, 1, -3)),
    "written into": (lambda m, x: m.last(torch.empty_like(x).copy_(x)), (1, 1, 0), (7, 1, -3)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_hand_computed(name: str) -> None:
    function, y, x = CASES[name]
    assert axes(Net(Lambda(function, last=last(3, kernel=(1, 7), padding=(0, 3))), 4)) == (y, x)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("kernel", [3, 4, (3, 2)])
def test_padding_same(kernel: Any) -> None:
    high = (kernel, kernel) if isinstance(kernel, int) else kernel
    net = Net(Lambda(lambda m, x: m.last(x), last=last(3, kernel=kernel, padding="same")), 4)
    expected = tuple((k, 1, -((k - 1) // 2)) for k in high)
    assert axes(net) == expected


ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.SiLU, nn.Mish, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.Hardswish, nn.Hardsigmoid, nn.PReLU),
    *(nn.Hardtanh, nn.LeakyReLU, nn.LogSigmoid, nn.Softplus, nn.Softsign, nn.Softshrink, nn.Hardshrink, nn.Tanhshrink),
    *(nn.Sigmoid, nn.Tanh, nn.RReLU, nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.Identity),
)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_elementwise_modules_leave_fields_alone(kind: type[nn.Module]) -> None:
    body = nn.Sequential()
    body.add_module("act", kind())
    body.add_module("last", last(3, kernel=3))
    assert axes(Net(body, 4)) == ((3, 1, 0), (3, 1, 0))


WHOLE: dict[str, Any] = {
    "global mean": lambda m, x: m.last(x.mean((2, 3), keepdim=True)),
    "global maximum": lambda m, x: m.last(x.amax((2, 3), keepdim=True)),
    "adaptive": lambda m, x: m.last(F.adaptive_avg_pool2d(x, 16)),
    "adaptive maximum": lambda m, x: m.last(F.adaptive_max_pool2d(x, (1, 1))),
    "flattened mean": lambda m, x: m.last(x.view(1, 3, -1).mean(2).view(1, 3, 1, 1)),
    "a gate of its own for each position": lambda m, x: m.last(x * x.flatten(1).softmax(1).view_as(x)),
    "added, not multiplied": lambda m, x: m.last(x + x.mean((2, 3), keepdim=True)),
    "divided by": lambda m, x: m.last(x.mean((2, 3), keepdim=True) / x),
    "flattened": lambda m, x: m.last(x.flatten(1).view(-1, 3, 32, 32)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_input(name: str) -> None:
    found = layer(Net(Lambda(WHOLE[name], last=last(3)), 4), "body.last").field
    assert found.global_field
    assert (found.y, found.x) == (Axis(32, 0, 0), Axis(32, 0, 0))


GATED: dict[str, Any] = {
    "gate": lambda m, x: m.last(x * x.mean((2, 3), keepdim=True).sigmoid()),
    "in place": lambda m, x: m.last((x * 1).mul_(x.amax((2, 3), keepdim=True))),
    "the gate first": lambda m, x: m.last(x.mean((2, 3), keepdim=True).sigmoid() * x),
    "spread before": lambda m, x: m.last(x * x.mean((2, 3), keepdim=True).expand_as(x)),
    "spread, then bent": lambda m, x: m.last(x * x.mean((2, 3), keepdim=True).expand_as(x).sigmoid()),
    "one gated channel": lambda m, x: m.last(torch.cat([x[:, :2], x[:, 2:] * x.mean((2, 3), keepdim=True)[:, :1]], 1)),
    "global response normalisation": lambda m, x: m.last(x + x * (x.norm(dim=(2, 3), keepdim=True) / 3)),
    "divided": lambda m, x: m.last(x / x.std((2, 3), keepdim=True)),
    "group norm": lambda m, x: m.last(F.group_norm(x, 1)),
    "instance norm": lambda m, x: m.last(F.instance_norm(x)),
    "layer norm of all": lambda m, x: m.last(F.layer_norm(x, x.shape[1:])),
    "gate on channels last": lambda m, x: m.last(
        (x.permute(0, 2, 3, 1) * x.mean((2, 3)).view(1, 1, 1, 3)).permute(0, 3, 1, 2)
    ),
}


@pytest.mark.parametrize("name", GATED)
def test_a_gate_leaves_the_field_of_the_local_paths(name: str) -> None:
    found = layer(Net(Lambda(GATED[name], last=last(3, kernel=3, stride=2)), 4), "body.last")
    assert (found.field.global_field, found.field.gated) == (True, True)
    assert (found.field.y, found.field.x) == (Axis(3, 2, 0), Axis(3, 2, 0))
    assert found.why == "a gate sees the whole input"


def test_channels_beside_a_gated_one_keep_their_field() -> None:
    def split(m: Any, x: Tensor) -> Tensor:
        both = torch.cat([x[:, :2], x[:, 2:] * x.mean((2, 3), keepdim=True)[:, :1]], 1)
        return m.last(both[:, :2])

    assert axes(Net(Lambda(split, last=last(2, kernel=3)), 4)) == ((3, 1, 0), (3, 1, 0))


@pytest.mark.parametrize(
    ("part", "expected"), [(slice(0, 2), (1, 1, 0)), (slice(2, 4), (5, 1, -2)), (slice(1, 3), (5, 1, -2))]
)
def test_groups_of_a_convolution_see_their_own_channels(part: slice, expected: tuple[int, int, int]) -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        grouped = m.grouped(torch.cat([x[:, :2], m.wide(x)[:, :2]], 1))
        return m.last(grouped[:, part])

    parts = {"wide": nn.Conv2d(3, 3, 5, padding=2), "grouped": nn.Conv2d(4, 4, 1, groups=2), "last": last(2)}
    assert axes(Net(Lambda(body, **parts), 4)) == (expected, expected)


def test_a_channel_shuffle_is_followed() -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        both = torch.cat([x[:, :2], m.wide(x)[:, :2]], 1)  # (narrow, narrow, wide, wide)
        shuffled = both.view(1, 2, 2, 32, 32).transpose(1, 2).reshape(1, 4, 32, 32)  # (narrow, wide, narrow, wide)
        return m.last(shuffled[:, ::2])

    parts = {"wide": nn.Conv2d(3, 3, 5, padding=2), "last": last(2)}
    assert axes(Net(Lambda(body, **parts), 4)) == ((1, 1, 0), (1, 1, 0))


@pytest.mark.parametrize(("turn", "size"), [(lambda y: y.flip(1)[:, 2:], 1), (lambda y: y.roll(1, 1)[:, 1:3], 1)])
def test_channels_turned_round_keep_their_fields(turn: Any, size: int) -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        return m.last(turn(torch.cat([x[:, :2], m.wide(x)[:, :2]], 1)))

    parts = {"wide": nn.Conv2d(3, 3, 5, padding=2), "last": last(2)}
    assert axes(Net(Lambda(body, **parts), 4))[0][0] == size


def test_channels_that_see_nothing_have_no_stride() -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        nothing = F.pad(x, (0, 0, 0, 0, 2, 0))[:, :2, :16, :16]  # of stride 1, were there anything
        return m.last(torch.cat([nothing, x[:, :1, ::2, ::2]], 1))

    assert axes(Net(Lambda(body, last=last(3)), 4)) == ((1, 2, 0), (1, 2, 0))


def test_the_head_sees_the_whole_input() -> None:
    found = find_layers(torchvision_network("alexnet"), 224, 224)
    assert [each.field.global_field for each in found] == [False] * 5 + [True] * 3


REFUSED: dict[str, tuple[Any, str]] = {
    "strides": (lambda m, x: m.last(m.a(x)[:, :, ::2] + m.a(x)[:, :, :16]), "aten.add in body joins paths"),
    "strides of joined": (lambda m, x: m.last(torch.cat([x[:, :2, ::2], x[:, :1, :16]], 1)), "aten.cat in body"),
    "upsampling": (lambda m, x: m.last(F.interpolate(x, scale_factor=2.0)), "aten.upsample_nearest2d in body"),
    "transposed convolution": (lambda m, x: m.last(m.up(x)), "aten.convolution in body.up (transposed)"),
    "flip": (lambda m, x: m.last(x.flip(3)), "aten.flip in body"),
    "circular padding": (lambda m, x: m.last(F.pad(x, (1, 1, 1, 1), mode="circular")), "in body"),
    "attention": (lambda m, x: m.last((x.flatten(2) @ x.flatten(2).mT @ x.flatten(2)).view_as(x)), "aten.bmm in body"),
    "swapped axes": (lambda m, x: m.last(x.transpose(2, 3)), "aten.convolution in body.last"),
    "along x": (lambda m, x: m.last(m.row(x)), "aten.linear in body.row"),
    "write through a view": (lambda m, x: m.last(_half_rectified(x)), "through a view"),
    "patches": (lambda m, x: m.last(x.view(1, 3, 16, 2, 16, 2)[:, :, :, 1, :, 1]), "aten.view in body reshapes"),
    "constant": (lambda m, x: m.last(torch.zeros_like(x)) + x[:, :1] * 0, "does not depend on the image"),
}  # fmt: skip


def _half_rectified(x: Tensor) -> Tensor:
    y = x * 1
    y[:, :, :16].relu_()
    return y


def refused(name: str) -> nn.Module:
    parts = {"last": last(3), "a": nn.Conv2d(3, 3, 1), "up": nn.ConvTranspose2d(3, 3, 2, 2), "row": nn.Linear(32, 32)}
    return Net(Lambda(REFUSED[name][0], **parts), 4)


@pytest.mark.parametrize("name", [name for name in REFUSED if name != "constant"])
def test_what_cannot_be_followed_sees_the_whole_input_and_says_why(name: str) -> None:
    found = layer(refused(name), "body.last")
    assert found.field == Field(Axis(32, 0, 0), Axis(32, 0, 0), global_field=True)
    assert REFUSED[name][1] in str(found.why)
    assert "\n" not in str(found.why)


def test_layers_that_cannot_be_recorded_are_left_out_or_all_named_at_once() -> None:
    net = refused("constant")
    assert [each.name for each in find_layers(net, 32, 32)] == ["body", "head"]
    assert impossible_layers(trace(net, torch.zeros(1, 3, 32, 32))) == {"body.last": "does not depend on the image"}
    with pytest.raises(NetworkError) as caught:
        find_layers(net, 32, 32, wanted=["body.*"])
    assert str(caught.value) == (
        "--layers: 1 cannot be recorded: body.last: does not depend on the image; leave them out with "
        "--exclude 'body.last'"
    )


def test_wildcards_match_nothing_else() -> None:
    names = ["a.0.x", "a.1.x", "a.1.y", "b.0.x", "b.1.x"]
    assert wildcards(["a.0.x", "a.1.x"], names) == ["a.*.x"]
    assert wildcards(["b.0.x"], names) == ["b.0.x"]


def test_the_brute_force_sees_a_wrong_box() -> None:
    """The check itself can fail: a max pool's dilation, left out, is found."""
    module = make_positive(Net(Lambda(lambda m, x: m.last(F.max_pool2d(x, 2, 1, dilation=2)), last=last(3)), 4))
    image, outputs = linear_outputs(module, [("body.last", 1)], 32, 32)
    assert support(image, outputs["body.last", 1][:, :, 4, 5]) == (4, 7, 5, 8)
    with outputs_of(module, [("body.last", 1)]) as found, torch.no_grad():
        module(image)
    assert found["body.last", 1].shape == (1, 4, 30, 30)
