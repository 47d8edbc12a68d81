"""Recording: shapes, calls, stopping early, inputs, and that nothing remains on the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atlas.errors import NetworkError
from atlas.network.layers import find_layers
from atlas.network.recorder import Recorder, as_maps
from atlas.types import Layer


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.last, self.mlp, self.head = nn.Conv2d(3, 5, 2), nn.Linear(5, 6), nn.Linear(6, 4)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x)), inplace=True)
        x = F.relu(self.norm(self.conv(x)), inplace=True)
        x = self.mlp(self.last(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        self.calls += 1
        return self.head(x.mean((2, 3)))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval().requires_grad_(False)


def hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def ignore(layer: Layer, output: Tensor) -> None:
    pass


def test_shapes_and_order(net: Net) -> None:
    found = find_layers(net, 8, 8)
    got: list[tuple[str, tuple[int, ...]]] = []
    with Recorder(net, found, lambda layer, out: got.append((layer.name, tuple(out.shape)))) as recorder:
        for _ in range(2):  # calls are counted for each forward pass
            result = recorder.run(torch.rand(2, 3, 8, 8))
            assert result is not None
            assert result.shape == (2, 4)
    one = [
        ("conv", (2, 3, 8, 8)),
        ("conv@2", (2, 3, 8, 8)),
        ("last", (2, 5, 7, 7)),
        ("mlp", (2, 6, 7, 7)),
        ("head", (2, 4, 1, 1)),
    ]
    assert got == one * 2
    assert [(each.name, (2, each.channels, each.height, each.width)) for each in found] == one


def test_outputs_are_views_that_still_hold_the_response(net: Net) -> None:
    layer = find_layers(net, 8, 8, wanted=["conv"])[0]
    kept: list[Tensor] = []
    copies: list[Tensor] = []

    def take(_: Layer, output: Tensor) -> None:
        kept.append(output)
        copies.append(output.clone())

    x = torch.randn(2, 3, 8, 8)
    with Recorder(net, [layer], take) as recorder:
        recorder.run(x)
    assert torch.equal(copies[0], net.norm(net.conv(x)))
    assert torch.equal(kept[0], copies[0].relu())  # the in-place rectifier came later


def test_stopping_after_the_last_wanted_layer(net: Net) -> None:
    found = find_layers(net, 8, 8, wanted=["conv", "conv@2"])
    got: list[str] = []
    net.calls = 0
    with Recorder(net, found, lambda layer, _: got.append(layer.name), stop=True) as recorder:
        assert recorder.run(torch.rand(1, 3, 8, 8)) is None
        assert recorder.run(torch.rand(1, 3, 8, 8)) is None
    assert got == ["conv", "conv@2"] * 2
    assert net.calls == 0
    assert hooks(net) == 0
    assert net(torch.rand(1, 3, 8, 8)).shape == (1, 4)


def test_an_outer_recorder_does_not_swallow_the_stop_of_another(net: Net) -> None:
    inner_layers = find_layers(net, 8, 8, wanted=["conv"])
    outer_layers = find_layers(net, 8, 8, wanted=["head"])
    with Recorder(net, outer_layers, ignore) as outer, Recorder(net, inner_layers, ignore, stop=True) as inner:
        assert inner.run(torch.rand(1, 3, 8, 8)) is None
        with pytest.raises(Exception, match=r"call Recorder\.run"):
            outer.run(torch.rand(1, 3, 8, 8))
    assert hooks(net) == 0


def test_inputs_for_the_code(net: Net) -> None:
    codes: list[tuple[Any, Tensor]] = []
    x = torch.rand(2, 3, 8, 8)
    wanted = [("head", 1), ("mlp", 1), ("conv", 2)]
    with Recorder(
        net, [], ignore, inputs=wanted, take_input=lambda call, v: codes.append((call, v)), stop=True
    ) as recorder:
        assert recorder.run(x) is None
    assert [call for call, _ in codes] == [("conv", 2), ("mlp", 1), ("head", 1)]
    assert [tuple(value.shape) for _, value in codes] == [(2, 3, 8, 8), (2, 5, 7, 7), (2, 6, 1, 1)]
    middle = F.relu(net.norm(net.conv(x)))
    assert torch.equal(codes[0][1], middle)
    assert torch.equal(codes[1][1], net.last(F.relu(net.norm(net.conv(middle)))))


@pytest.mark.parametrize("stop", [False, True])
def test_nothing_remains(net: Net, stop: bool) -> None:
    found = find_layers(net, 8, 8)
    own = net.conv.register_forward_hook(lambda *_: None)
    with Recorder(net, found, ignore, inputs=[("head", 1)], take_input=lambda *_: None, stop=stop) as recorder:
        assert hooks(net) > 1
        recorder.run(torch.rand(1, 3, 8, 8))
    assert hooks(net) == 1
    own.remove()


def fail_in_take(recorder: Callable[..., Recorder]) -> None:
    def take(*_: Any) -> None:
        raise ValueError("on purpose")

    with recorder(take) as running:
        running.run(torch.rand(1, 3, 8, 8))


def fail_in_forward(recorder: Callable[..., Recorder]) -> None:
    with recorder(ignore) as running:
        running.run(torch.rand(1, 5, 8, 8))


def fail_in_body(recorder: Callable[..., Recorder]) -> None:
    with recorder(ignore):
        raise KeyboardInterrupt


@pytest.mark.parametrize("fail", [fail_in_take, fail_in_forward, fail_in_body])
def test_nothing_remains_after_an_exception(net: Net, fail: Callable[..., None]) -> None:
    found = find_layers(net, 8, 8)
    with pytest.raises((ValueError, RuntimeError, KeyboardInterrupt)):
        fail(lambda take: Recorder(net, found, take))
    assert hooks(net) == 0
    got: list[str] = []
    with Recorder(net, found, lambda layer, _: got.append(layer.name)) as recorder:
        recorder.run(torch.rand(1, 3, 8, 8))
    assert got == [each.name for each in found]


def test_layers_of_another_network_are_refused(net: Net) -> None:
    found = find_layers(net, 8, 8)
    stranger = replace(found[0], name="gone", module="gone")
    with pytest.raises(NetworkError, match="layer gone"), Recorder(net, [*found, stranger], ignore):
        pass
    assert hooks(net) == 0


@pytest.mark.parametrize(
    ("shape", "axis", "expected"),
    [
        ((2, 5), 1, (2, 5, 1, 1)),
        ((2, 7, 5), 2, (2, 5, 1, 7)),
        ((2, 5, 7), 1, (2, 5, 1, 7)),
        ((2, 3, 4, 5), 3, (2, 5, 3, 4)),
        ((2, 5, 3, 4), 1, (2, 5, 3, 4)),
    ],
)
def test_as_maps(shape: tuple[int, ...], axis: int, expected: tuple[int, ...]) -> None:
    tensor = torch.rand(shape)
    maps = as_maps(tensor, axis)
    assert tuple(maps.shape) == expected
    assert maps.data_ptr() == tensor.data_ptr()
