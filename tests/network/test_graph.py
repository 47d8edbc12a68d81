"""Tracing: values and versions, views, module calls, and that the network is left as it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atlas.errors import NetworkError
from atlas.network.graph import PARTIAL_WRITE, Call, Graph, trace


class Net(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.act, self.function = nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True), function
        self.frozen = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.conv(x)).mean((2, 3))


def traced(function: Callable[[Tensor], Tensor]) -> Graph:
    return trace(Net(function), torch.rand(1, 3, 6, 6))


def ops(graph: Graph) -> list[str]:
    """Operations on the way to the logits, without their package."""
    return [node.op.partition(".")[2] for node in graph.nodes if node.index in graph.live]


def test_nodes_values_and_calls() -> None:
    graph = traced(lambda y: y.relu())
    assert ops(graph) == ["convolution", "relu", "mean"]
    convolution, relu, mean = graph.nodes
    assert convolution.stack == (Call("", 1), Call("conv", 1))
    assert convolution.where == "conv"
    assert mean.where == "the network itself"
    assert convolution.inputs[0] == graph.input
    assert relu.inputs == convolution.outputs
    assert graph.output == mean.outputs[0]
    assert [graph.values[v].shape for v in (*convolution.outputs, graph.output)] == [(1, 4, 6, 6), (1, 4)]
    call = graph.calls[Call("conv", 1)]
    assert (call.inputs, call.outputs, call.single) == ((graph.input,), convolution.outputs, True)
    assert graph.consumers(graph.input) == [convolution]
    assert graph.producer(graph.input) is None


def test_an_in_place_operation_makes_a_new_value() -> None:
    graph = traced(lambda y: y.relu_())
    convolution, relu, mean = graph.nodes
    assert relu.inputs == convolution.outputs
    assert relu.outputs != convolution.outputs
    assert mean.inputs == relu.outputs
    assert graph.calls[Call("conv", 1)].outputs == convolution.outputs


def test_the_image_given_is_not_changed() -> None:
    image = torch.rand(1, 3, 6, 6)
    before = image.clone()

    class Shifts(Net):
        def forward(self, x: Tensor) -> Tensor:
            x -= 0.5
            return super().forward(x)

    graph = trace(Shifts(lambda y: y), image)
    assert torch.equal(image, before)
    assert ops(graph) == ["sub_", "convolution", "mean"]


def first(result: Tensor, _: Tensor) -> Tensor:
    """Its first argument; both are worked out before, from left to right."""
    return result


def halves(y: Tensor, use: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    return use(*y.chunk(2, 1))


VIEWS: dict[str, tuple[Callable[[Tensor], Tensor], list[str]]] = {
    "a view reads what was written to its base": (
        lambda y: first(y.flatten(2), y.relu_()).unflatten(2, (6, 6)),
        ["convolution", "relu_", "view", "view", "mean"],
    ),
    "a base reads what was written through a view of all of it": (
        lambda y: first(y, y.view(1, 2, 2, 6, 6).relu_()),
        ["convolution", "view", "relu_", "view", "mean"],
    ),
    "a transposed view": (
        lambda y: first(y, y.transpose(2, 3).relu_()),
        ["convolution", "transpose", "relu_", "transpose", "mean"],
    ),
    "a permuted view": (
        lambda y: first(y, y.permute(0, 2, 3, 1).relu_()),
        ["convolution", "permute", "relu_", "permute", "mean"],
    ),
    "a detached twin": (lambda y: first(y, y.detach().relu_()), ["convolution", "detach", "relu_", "mean"]),
    "halves do not touch each other": (
        lambda y: halves(y, lambda a, b: torch.cat([a.relu_(), b], 1)),
        ["convolution", "split", "relu_", "cat", "mean"],
    ),
    "a base that is read after a half was written": (
        lambda y: halves(y, lambda a, b: first(y, a.relu_())),
        ["convolution", "split", "relu_", "write_through_view", "mean"],
    ),
    "two halves after their base was written": (
        lambda y: halves(y, lambda a, b: first(torch.cat([y.relu_() * 0, b, a], 1), y)),
        ["convolution", "relu_", "split", "split", "mul", "cat", "mean"],
    ),
    "shape changed in place": (
        lambda y: y.unsqueeze_(1).squeeze_(1),
        ["convolution", "unsqueeze_", "squeeze_", "mean"],
    ),
}


@pytest.mark.parametrize("name", VIEWS)
def test_memory_that_is_shared(name: str) -> None:
    function, expected = VIEWS[name]
    assert ops(traced(function)) == expected


def test_an_alias_that_no_operation_made_is_followed() -> None:
    graph = traced(lambda y: first(y, y.data.relu_()))
    assert "relu_" in ops(graph)
    assert graph.output in graph.reached(graph.input, 0, len(graph.nodes))


def test_a_write_that_cannot_be_followed_is_named() -> None:
    graph = traced(VIEWS["a base that is read after a half was written"][0])
    assert PARTIAL_WRITE in [node.op for node in graph.nodes]
    whole = graph.reached(graph.input, 0, len(graph.nodes))
    assert graph.output in whole


def test_a_linear_layer_is_one_node_in_every_layout() -> None:
    linear = nn.Linear(4, 4)
    graph = traced(lambda y: linear(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
    assert ops(graph) == ["convolution", "permute", "linear", "permute", "mean"]


def test_calls_are_counted() -> None:
    net = Net(lambda y: net.act(net.act(y)))
    graph = trace(net, torch.rand(1, 3, 6, 6))
    assert [str(call) for call in graph.calls if call.module] == ["conv", "act", "act@2"]


def test_consumers_are_those_on_the_way_to_the_logits() -> None:
    graph = traced(lambda y: (y.sigmoid(), y.relu())[1])
    value = graph.calls[Call("conv", 1)].outputs[0]
    assert [node.op for node in graph.consumers(value)] == ["aten.relu"]


def hooks(module: nn.Module) -> list[int]:
    return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules()]


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_left_as_it_was(fails: bool) -> None:
    def function(y: Tensor) -> Tensor:
        if fails:
            raise RuntimeError("on purpose")
        return y

    net = Net(function).train()
    net.frozen.eval()
    net.conv.register_forward_hook(lambda *_: None)
    before, modes = hooks(net), [m.training for m in net.modules()]
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    if fails:
        with pytest.raises(NetworkError, match="on purpose"):
            trace(net, torch.rand(1, 3, 6, 6))
    else:
        trace(net, torch.rand(1, 3, 6, 6))
    assert hooks(net) == before
    assert [m.training for m in net.modules()] == modes
    assert torch.is_grad_enabled()
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    assert not torch.overrides._get_current_function_mode_stack()
    assert not torch.utils._python_dispatch._get_current_dispatch_mode_stack()
    assert F.linear(torch.ones(1, 2), torch.ones(1, 2)).item() == 2


def test_running_out_of_the_module_by_interrupt_leaves_no_hook() -> None:
    def function(y: Tensor) -> Tensor:
        raise KeyboardInterrupt

    net = Net(function)
    with pytest.raises(KeyboardInterrupt):
        trace(net, torch.rand(1, 3, 6, 6))
    assert not any(hooks(net))
