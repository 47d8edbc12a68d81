"""The three rules against hand-computed maps, Captum, and a slow version written from the papers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atlas.errors import NetworkError
from atlas.explain.backward import as_in_a_run, project
from atlas.explain.kinds import DEFAULT
from atlas.explain.rules import RULES, Rules
from tests.drawing import KINDS, Formed, layer_of, picture, relative

pytestmark = pytest.mark.usefixtures("one_thread")


# ---- hand-computed 4 × 4 maps


class Hand(nn.Module):
    """A rectifier between two 1 × 1 weights: h = relu(a), out = h · w, so that each rule can be worked out by eye."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 1, 1, bias=False)
        self.last = nn.Conv2d(1, 1, 4, bias=False)
        self.first.weight.data.copy_(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.first(x)))  # type: ignore[no-any-return]


_INPUT = [[1, -2, 3, 0], [-1, 2, -3, 4], [5, 6, -7, -8], [0.5, -0.5, 9, -9]]
_WEIGHT = [[1, 2, -3, 4], [5, -6, -7, 8], [-1, 1, 2, -2], [3, 4, -5, 6]]
_BY_HAND = {
    # the weight where it is positive, whatever the input was
    "deconvnet": [[1, 2, 0, 4], [5, 0, 0, 8], [0, 1, 2, 0], [3, 4, 0, 6]],
    # the weight where it is positive and the input is above 0
    "guided": [[1, 0, 0, 0], [0, 0, 0, 8], [0, 1, 0, 0], [3, 0, 0, 0]],
    # the weight where the input is above 0
    "gradient": [[1, 0, -3, 0], [0, -6, 0, 8], [-1, 1, 0, 0], [3, 0, -5, 0]],
}


@pytest.mark.parametrize("kind", KINDS)
def test_rule_by_hand(kind: str) -> None:
    net = Hand()
    net.last.weight.data.copy_(torch.tensor(_WEIGHT).view(1, 1, 4, 4))
    x = torch.zeros(1, 3, 4, 4)
    x[0, 0] = torch.tensor(_INPUT)
    got = picture(net, "last", x, (0, 0, 0))[kind]
    assert got[0, 0].tolist() == _BY_HAND[kind]
    assert not got[0, 1:].any()


def test_side_min_is_seeded_with_minus_one() -> None:
    net = Hand()
    net.last.weight.data.copy_(torch.tensor(_WEIGHT).view(1, 1, 4, 4))
    x = torch.zeros(1, 3, 4, 4)
    x[0, 0] = torch.tensor(_INPUT)
    got = picture(net, "last", x, (0, 0, 0), seed=-1.0)
    assert got["deconvnet"][0, 0].tolist() == [[0, 0, 3, 0], [0, 6, 7, 0], [1, 0, 0, 2], [0, 0, 5, 0]]
    assert torch.equal(got["gradient"], -picture(net, "last", x, (0, 0, 0))["gradient"])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_first_of_equal_inputs_is_the_switch(layout: torch.memory_format) -> None:
    class Pool(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
            self.out = nn.Conv2d(3, 1, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.pool(x))  # type: ignore[no-any-return]

    net = Pool()
    nn.init.ones_(net.out.weight)
    x = torch.zeros(1, 3, 6, 6).contiguous(memory_format=layout)
    for y, left, expected in ((0, 0, (0, 0)), (1, 2, (2, 4)), (2, 1, (4, 2))):
        got = picture(net, "out", x, (0, y, left))["deconvnet"]
        assert got[0, 0].nonzero().tolist() == [list(expected)]
        assert got.sum() == 3


# ---- every form of a rectifier


def _inplace_function(x: Tensor) -> Tensor:
    F.relu(x, inplace=True)
    return x


_FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "F.relu": F.relu,
    "torch.relu": torch.relu,
    "Tensor.relu": lambda x: x.relu(),
    "relu_": lambda x: x.relu_(),
    "torch.relu_": torch.relu_,
    "F.relu inplace": lambda x: F.relu(x, inplace=True),
    "in place, result unused": _inplace_function,
    "nn.ReLU": nn.ReLU(),
    "nn.ReLU inplace": nn.ReLU(inplace=True),
    "clamp": lambda x: x.clamp(min=0),
    "clamp_": lambda x: x.clamp_(0),
    "clamp_min": lambda x: torch.clamp_min(x, 0),
    "clip": lambda x: torch.clip(x, min=0.0),
    "threshold": lambda x: F.threshold(x, 0, 0),
    "nn.Threshold": nn.Threshold(0, 0, inplace=True),
    "hardtanh": nn.Hardtanh(0, 1e9),
    "keyword": lambda x: F.relu(input=x),
}
_CAPPED: dict[str, Callable[[Tensor], Tensor]] = {
    "F.relu6": F.relu6,
    "nn.ReLU6": nn.ReLU6(),
    "nn.ReLU6 inplace": nn.ReLU6(inplace=True),
    "hardtanh": lambda x: F.hardtanh(x, 0.0, 6.0),
    "hardtanh_": lambda x: F.hardtanh_(x, 0.0, 6.0),
    "clamp": lambda x: x.clamp(0, 6),
    "clamp_": lambda x: torch.clamp_(x, 0.0, 6.0),
}


@pytest.mark.parametrize(("forms", "twin"), [(_FORMS, "F.relu"), (_CAPPED, "F.relu6")])
def test_every_form_of_a_rectifier_is_governed(forms: dict[str, Callable[[Tensor], Tensor]], twin: str) -> None:
    x = torch.randn(1, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2
    expected = picture(Formed(forms[twin]), "c", x, (1, 3, 4))
    assert not torch.equal(expected["deconvnet"], expected["gradient"])
    for name, form in forms.items():
        net = Formed(form)
        got = picture(net, "c", x, (1, 3, 4))
        for kind in KINDS:
            assert torch.equal(got[kind], expected[kind]), (name, kind)


def test_capped_rectifier_by_rule() -> None:
    x = torch.tensor([-1.0, 1.0, 7.0, -1.0, 1.0, 7.0]).requires_grad_()
    signal = torch.tensor([2.0, 2.0, 2.0, -2.0, -2.0, -2.0])
    with Rules(nn.Identity(), True) as rules:
        y = F.relu6(x)
    expected = {"deconvnet": [2, 2, 2, 0, 0, 0], "guided": [0, 2, 0, 0, 0, 0], "gradient": [0, 2, 0, 0, -2, 0]}
    for kind in KINDS:
        rules.rule = RULES[kind]
        assert torch.autograd.grad(y, x, signal, retain_graph=True)[0].tolist() == expected[kind]


@pytest.mark.parametrize("form", [nn.LeakyReLU(0.5), nn.LeakyReLU(0.5, inplace=True), nn.PReLU(init=0.5)])
def test_leaky_rectifier_by_rule(form: nn.Module) -> None:
    x = torch.tensor([[-4.0, 4.0, -4.0, 4.0]]).requires_grad_()
    signal = torch.tensor([[2.0, 2.0, -2.0, -2.0]])
    with Rules(form, True) as rules:
        y = form(x.clone())
    assert y.tolist() == [[-2, 4, -2, 4]]
    expected = {"deconvnet": [2, 2, -1, -1], "guided": [1, 2, -0.5, -1], "gradient": [1, 2, -1, -2]}
    for kind in KINDS:
        rules.rule = RULES[kind]
        assert torch.autograd.grad(y, x, signal, retain_graph=True)[0].tolist() == [expected[kind]]


def test_prelu_with_a_slope_a_channel() -> None:
    form = nn.PReLU(2)
    form.weight.data.copy_(torch.tensor([0.0, 0.5]))
    x = torch.full((1, 2, 1, 1), -1.0).requires_grad_()
    with Rules(form, True) as rules:
        y = form(x)
    rules.rule = RULES["guided"]
    assert torch.autograd.grad(y, x, torch.ones_like(y))[0].flatten().tolist() == [0.0, 0.5]


def test_an_operation_in_place_after_a_rectifier_corrupts_nothing() -> None:
    """`y += …` on what a rectifier gave: differentiation that kept the value would be wrong, or refuse."""
    x = torch.randn(1, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2
    expected = picture(Formed(lambda y: F.relu(y) - 0.5), "c", x, (1, 3, 4))
    for form in (F.relu, nn.ReLU(inplace=True)):
        got = picture(Formed(lambda y, form=form: form(y).sub_(0.5)), "c", x, (1, 3, 4))  # type: ignore[misc]
        assert all(torch.equal(got[kind], expected[kind]) for kind in KINDS)


@pytest.mark.parametrize("overwrites", [False, True])
def test_one_forward_serves_all_kinds(overwrites: bool) -> None:
    """Only an operation in place on what a rectifier gave asks for a second one."""
    net = Formed(lambda y: F.relu(y, inplace=True).sub_(0.5) if overwrites else F.relu(y, inplace=True))
    calls: list[None] = []
    net.register_forward_pre_hook(lambda m, i: calls.append(None))
    picture(net, "c", torch.randn(1, 3, 12, 12, dtype=torch.float64), (1, 3, 4))
    assert len(calls) == (2 if overwrites else 1)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(7, 2, 0), (11, 4, 2), (3, 2, 1), ((3, 5), (2, 3), (0, 2)), (2, 3, 1)]
)
def test_way_back_through_the_first_convolution(kernel: Any, stride: Any, padding: Any) -> None:
    torch.manual_seed(0)
    for height, width in ((23, 24), (17, 31)):
        net = nn.Conv2d(3, 8, kernel, stride, padding).double()
        x = torch.randn(2, 3, height, width, dtype=torch.float64, requires_grad=True)
        signal = torch.randn_like(net(x))
        expected = torch.autograd.grad(net(x), x, signal)[0]
        with as_in_a_run(net), Rules(net, True):
            got = torch.autograd.grad(net(x), x, signal)[0]
        assert got.shape == x.shape
        assert relative(got, expected) <= 1e-14


# ---- what is refused


class Bent(nn.Module):
    def __init__(self, bend: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.block = _Block(bend)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.head(self.block(self.stem(x))), 1)


class _Block(nn.Module):
    def __init__(self, bend: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.bend = bend

    def forward(self, x: Tensor) -> Tensor:
        return self.bend(x)


_BENDS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": nn.GELU(),
    "hardswish": nn.Hardswish(),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "elu": nn.ELU(),
    "softplus": F.softplus,
    "hardtanh": lambda x: F.hardtanh(x, -1, 1),
    "mul": lambda x: x * x.mean((2, 3), keepdim=True),
    "div": lambda x: x / x.mean((2, 3), keepdim=True),
    "gt": lambda x: x * (x > 0),
    "where": lambda x: torch.where(x.detach() > 0, x, -x),
    "maximum": lambda x: torch.maximum(x, -x),
    "group_norm": nn.GroupNorm(2, 4),
    "matmul": lambda x: torch.matmul(x, x.transpose(2, 3)),
}


@pytest.mark.parametrize("operation", _BENDS)
def test_another_non_linearity_is_refused_by_name_and_gradient_still_works(operation: str) -> None:
    torch.manual_seed(0)
    net = Bent(_BENDS[operation])
    x = torch.randn(1, 3, 8, 8)
    at = (torch.tensor([[1, 1]]), torch.tensor([0]))
    with pytest.raises(NetworkError, match=rf"{operation}.* in block"):
        project(net, layer_of("head"), x, *at, ["deconvnet"], torch.ones(1))
    got = project(net, layer_of("head"), x, *at, ["gradient"], torch.ones(1))["gradient"]
    leaf = x.clone().requires_grad_()
    value = net.head(net.block(net.stem(leaf)))[0, 0, 1, 1]
    assert torch.allclose(got, torch.autograd.grad(value, leaf)[0])


def test_what_comes_after_the_layer_does_not_matter() -> None:
    net = Bent(F.silu)
    got = project(
        net, layer_of("stem"), torch.randn(1, 3, 8, 8), torch.tensor([[1, 1]]), torch.tensor([0]), KINDS, torch.ones(1)
    )
    assert got["guided"].any()


def test_a_layer_that_is_not_reached_is_refused() -> None:
    net = Hand()
    with pytest.raises(NetworkError, match="gave no tensor"):
        project(
            net, layer_of("first", 2), torch.zeros(1, 3, 4, 4), torch.tensor([[0, 0]]), torch.tensor([0]), KINDS,
            torch.ones(1),
        )  # fmt: skip


# ---- nothing remains


def _state(net: nn.Module) -> list[Any]:
    return [
        *((n, m.training, len(m._forward_hooks), len(m._backward_hooks)) for n, m in net.named_modules()),
        *((n, p.requires_grad, p.grad is None, p._version) for n, p in net.named_parameters()),
        *((n, b._version, b.clone().tolist()) for n, b in net.named_buffers()),
    ]


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_remains_on_the_network(fails: bool) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 1))
    net.train()
    net[3].requires_grad_(False)
    before = _state(net)
    x = torch.randn(2, 3, 8, 8)
    kept = x.clone()
    arguments = (x, torch.zeros(2, 2, dtype=torch.long), torch.tensor([0, 9 if fails else 1]), KINDS, torch.ones(2))
    if fails:
        with pytest.raises(IndexError):
            project(net, layer_of("3"), *arguments)
    else:
        project(net, layer_of("3"), *arguments)
    assert _state(net) == before
    assert torch.equal(x, kept)
    assert not x.requires_grad
    assert torch.overrides._get_current_function_mode_stack() == []


def test_a_network_that_writes_into_its_input_or_runs_without_gradients() -> None:
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Conv2d(3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x.sub_(0.5).relu_()
            return self.out(x)  # type: ignore[no-any-return]

    x, net = torch.ones(1, 3, 2, 2), Writes()
    with torch.inference_mode():
        got = picture(net, "out", x, (0, 0, 0))
        again = picture(net, "out", x.clone(), (0, 0, 0))
    assert torch.equal(got["guided"], again["guided"])
    assert got["guided"].any()
    assert torch.equal(x, torch.ones(1, 3, 2, 2))


def test_rules_are_the_kinds_that_can_be_asked_for() -> None:
    assert tuple(RULES) == DEFAULT
    assert all(rule.name == name and rule.source for name, rule in RULES.items())


def test_flags_are_restored_after_an_exception() -> None:
    net = nn.Linear(2, 2).train()
    seen: list[bool] = []

    def fails() -> None:
        with as_in_a_run(net):
            seen.append(net.training)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert seen == [False]
    assert net.training
    assert all(p.requires_grad for p in net.parameters())
