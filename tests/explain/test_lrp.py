"""Relevance against hand cases, a slow version from the papers, zennit, and what must be conserved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atlas.explain.lrp import EPSILON, Relevances, draw
from atlas.network.layers import find_layers
from atlas.network.load import import_torchvision
from tests.explain import naive_lrp as naive

pytestmark = pytest.mark.usefixtures("one_thread")


def head_of(module: nn.Module, x: Tensor) -> Any:
    return find_layers(module, *x.shape[2:], channels=x.shape[1])[-1]


def library(
    module: nn.Module, x: Tensor, channel: int, epsilon: float = EPSILON, sign: int = 1
) -> tuple[float, Tensor]:
    zero = torch.zeros(len(x), dtype=torch.long)
    seeds = torch.full((len(x),), sign)
    values, found = draw(module, head_of(module, x), x, (zero + channel, zero, zero), seeds, epsilon)
    return float(values[0]), found


def drawn(module: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval().requires_grad_(False)
    for parameter in module.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.5)
    return module


def image(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


# Hand cases


def govern(function: Any, x: Tensor, epsilon: float = 0.0) -> Tensor:
    """Relevance of `x` for the sum of what a function gives: each output holds itself."""
    leaf = x.clone().requires_grad_(True)
    with Relevances(epsilon):
        out = function(leaf.clone())
    (back,) = torch.autograd.grad(out, leaf, torch.ones_like(out))
    return leaf.detach() * back


def test_a_linear_layer_shares_in_proportion_and_the_bias_keeps_its_share() -> None:
    x, w = torch.tensor([1.0, 2.0]), torch.tensor([[3.0, -1.0]])
    assert govern(lambda v: F.linear(v, w), x).tolist() == [3.0, -2.0]  # z = 1, all of it handed back
    biased = govern(lambda v: F.linear(v, w, torch.tensor([1.0])), x)
    assert biased.tolist() == [3.0, -2.0]  # z = 2; R = 2 · x w / z
    stabilised = govern(lambda v: F.linear(v, w), x, epsilon=1.0)
    assert stabilised.tolist() == [1.5, -1.0]  # z / (z + 1) = 1/2


def test_an_elementwise_function_hands_all_on() -> None:
    x = torch.tensor([-2.0, 0.5, 3.0])
    written = (lambda v: v.relu_(), lambda v: F.leaky_relu(v, 0.1, True), lambda v: F.silu(v, inplace=True))
    for function in (
        F.gelu,
        F.silu,
        torch.tanh,
        F.hardswish,
        torch.sigmoid,
        F.relu,
        torch.relu,
        lambda v: v**2,
        *written,
    ):
        torch.testing.assert_close(govern(function, x), function(x.clone()))


def test_at_zero_the_slope_beside_it_counts() -> None:
    leaf = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    with Relevances():
        out = F.gelu(leaf * 1)
    assert float(torch.autograd.grad(out.sum(), leaf)[0]) == pytest.approx(0.5, abs=1e-6)


def test_factors_halve_and_a_divisor_takes_nothing() -> None:
    x = torch.tensor([2.0, 3.0])
    product = govern(lambda v: v[0] * v[1], x)
    assert product.tolist() == [3.0, 3.0]
    assert govern(lambda v: v[0] / v[1], x).tolist() == pytest.approx([2 / 3, 0.0])
    assert govern(lambda v: 1 / v[1:], x).tolist() == pytest.approx([0.0, 1 / 3])
    assert govern(lambda v: v * 4, x).tolist() == [8.0, 12.0]


def test_sums_share_in_proportion_and_a_maximum_goes_to_its_winner() -> None:
    x = torch.tensor([[[[1.0, 4.0], [2.0, 3.0]]]])
    assert govern(lambda v: F.max_pool2d(v, 2), x).flatten().tolist() == [0, 4, 0, 0]
    assert govern(lambda v: v.mean((2, 3)), x).flatten().tolist() == [0.25, 1.0, 0.5, 0.75]
    assert govern(lambda v: F.relu(v) + v, x).flatten().tolist() == [2, 8, 4, 6]


def test_what_is_written_in_place_stays_written() -> None:
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    with Relevances():
        y = x * 1
        y.relu_()
        z = y * 1
        z.mul_(y)
    assert y.tolist() == [0, 2]
    assert z.tolist() == [0, 4]


# The slow version


class Relu(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.act, self.head = nn.ReLU(inplace=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.act(self.a(x)), 2)
        x = self.act(self.b(x)) + x
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize("epsilon", [1e-6, 0.1])
def test_a_relu_network_against_the_slow_version(epsilon: float) -> None:
    net, x = drawn(Relu()), image(1, 3, 6, 6)
    a = net.a(x)
    ra = F.relu(a)
    pooled = F.max_pool2d(ra, 2)
    b = net.b(pooled)
    rb = F.relu(b)
    total = rb + pooled
    mean = total.mean((2, 3))
    logits = net.head(mean)
    for channel in range(3):
        r = torch.zeros_like(logits)
        r[0, channel] = logits[0, channel]
        r = naive.epsilon_rule(net.head, mean, r, epsilon)
        r = naive.epsilon_rule(lambda v: v.mean((2, 3)), total, r, 0.0)
        left, right = naive.sum_rule([rb, pooled], r)
        left = naive.epsilon_rule(net.b, pooled, naive.identity_rule(b, left), epsilon)
        r = naive.max_pool_rule(ra, 2, left + right)
        want = naive.epsilon_rule(net.a, x, naive.identity_rule(a, r), epsilon)
        value, got = library(net, x, channel, epsilon)
        assert value == pytest.approx(float(logits[0, channel]), rel=1e-12)
        assert float((got - want).abs().max()) <= 1e-9 * max(1.0, float(want.abs().max()))


class Gelu(nn.Module):
    """As ConvNeXt: depthwise, norm over channels, two linear layers, a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.dw, self.norm = nn.Conv2d(3, 3, 3, padding=1, groups=3), nn.LayerNorm(3)
        self.up, self.down, self.head = nn.Linear(3, 5), nn.Linear(5, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dw(x).permute(0, 2, 3, 1))
        y = self.down(F.gelu(self.up(y))).permute(0, 3, 1, 2)
        y = y * y.mean((2, 3), keepdim=True).sigmoid()
        return self.head((x + y).mean((2, 3)))


@pytest.mark.parametrize("epsilon", [1e-6, 0.1])
def test_a_gelu_network_against_the_slow_version(epsilon: float) -> None:
    net, x = drawn(Gelu()), image(1, 3, 4, 4)
    dw = net.dw(x).permute(0, 2, 3, 1)
    norm = net.norm(dw)
    up = net.up(norm)
    act = F.gelu(up)
    down = net.down(act)
    y = down.permute(0, 3, 1, 2)
    pooled = y.mean((2, 3), keepdim=True)
    gated = y * pooled.sigmoid()
    total = x + gated
    mean = total.mean((2, 3))
    logits = net.head(mean)
    r = torch.zeros_like(logits)
    r[0, 1] = logits[0, 1]
    r = naive.epsilon_rule(net.head, mean, r, epsilon)
    r = naive.epsilon_rule(lambda v: v.mean((2, 3)), total, r, 0.0)
    skip, r = naive.sum_rule([x, gated], r)
    through = naive.epsilon_rule(lambda v: v.mean((2, 3), keepdim=True), y, (r / 2).sum((2, 3), keepdim=True), 0.0)
    r = (r / 2 + through).permute(0, 2, 3, 1)
    r = naive.epsilon_rule(net.down, act, r, epsilon)
    r = naive.epsilon_rule(net.up, norm, naive.identity_rule(up, r), epsilon)
    r = naive.layer_norm_rule(net.norm, dw, r, epsilon)
    want = skip + naive.epsilon_rule(net.dw, x, r.permute(0, 3, 1, 2), epsilon)
    _, got = library(net, x, 1, epsilon)
    assert float((got - want).abs().max()) <= 1e-9 * max(1.0, float(want.abs().max()))


class Vit(nn.Module):
    """One block of one head, with a class token; attention as one function."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.token = nn.Conv2d(3, 4, 2, 2), nn.Parameter(torch.zeros(1, 1, 4))
        self.norm, self.qkv, self.proj, self.head = nn.LayerNorm(4), nn.Linear(4, 12), nn.Linear(4, 4), nn.Linear(4, 2)

    def tokens(self, x: Tensor) -> Tensor:
        return torch.cat([self.token.expand(len(x), -1, -1), self.embed(x).flatten(2).transpose(1, 2)], 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(x)
        q, k, v = self.qkv(self.norm(x)).unsqueeze(1).chunk(3, -1)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).squeeze(1))
        return self.head(x[:, 0])


@pytest.mark.parametrize("epsilon", [1e-6, 0.1])
def test_a_vision_transformer_against_the_slow_version(epsilon: float) -> None:
    net, x = drawn(Vit()), image(1, 3, 4, 4)
    tokens = net.tokens(x)[0]  # (T, C)
    norm = net.norm(tokens)
    q, k, v = net.qkv(norm).chunk(3, -1)
    scores = (q / 2) @ k.T
    weights = scores.softmax(-1)
    mixed = weights @ v
    out = net.proj(mixed)
    total = tokens + out
    logits = net.head(total[:1])
    r = torch.zeros_like(logits)
    r[0, 0] = logits[0, 0]
    rt = torch.zeros_like(total)
    rt[:1] = naive.epsilon_rule(net.head, total[:1], r, epsilon)
    skip, r = naive.sum_rule([tokens, out], rt)
    r = naive.epsilon_rule(net.proj, mixed, r, epsilon)
    r_weights, r_v = naive.uniform_matmul(weights, v, r, epsilon)
    r_q, r_k = naive.uniform_matmul(q / 2, k.T, naive.softmax_rule(scores, r_weights), epsilon)
    r = naive.epsilon_rule(net.qkv, norm, torch.cat([r_q, r_k.T, r_v], -1), epsilon)
    r = skip + naive.layer_norm_rule(net.norm, tokens, r, epsilon)
    want = naive.epsilon_rule(net.embed, x, r[1:].T.reshape(1, 4, 2, 2), epsilon)
    _, got = library(net, x, 0, epsilon)
    assert float((got - want).abs().max()) <= 1e-9 * max(1.0, float(want.abs().max()))


# Peers, and what must be conserved


def test_zennit_finds_the_same_on_a_relu_network() -> None:
    rules = pytest.importorskip("zennit.rules")
    composites = pytest.importorskip("zennit.composites")
    attribution = pytest.importorskip("zennit.attribution")
    parts = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, bias=False), nn.ReLU(), nn.Flatten()]
    net, x = drawn(nn.Sequential(*parts, nn.Linear(5 * 4, 3))), image(1, 3, 10, 10)
    rule = rules.Epsilon(epsilon=1e-6)
    composite = composites.LayerMapComposite([(nn.ReLU, rules.Pass()), (nn.Conv2d, rule), (nn.Linear, rule)])
    value, got = library(net, x, 2)
    with attribution.Gradient(model=net, composite=composite) as attributor:
        _, theirs = attributor(x.clone(), lambda out: torch.eye(3, dtype=torch.float64)[[2]] * out.detach())
    assert float((got - theirs).abs().max()) <= 1e-9 * max(1.0, float(theirs.abs().max()))
    assert value != 0


def test_lxt_finds_the_same_on_a_vision_transformer() -> None:
    """Its ε is added without a sign, so it is made too small to matter; that of its layer norm is fixed, at 1e-6."""
    theirs, epsilon = pytest.importorskip("lxt.explicit.functional"), 1e-13
    net, x = drawn(Vit()), image(1, 3, 4, 4)
    tokens = net.tokens(x)[0].detach().requires_grad_(True)
    norm = theirs.layer_norm(tokens, net.norm.weight, net.norm.bias, net.norm.eps)
    q, k, v = theirs.linear_epsilon(norm, net.qkv.weight, net.qkv.bias, epsilon).chunk(3, -1)
    weights = theirs.softmax(theirs.matmul(q / 2, k.T, False, epsilon), -1)
    mixed = theirs.linear_epsilon(theirs.matmul(weights, v, False, epsilon), net.proj.weight, net.proj.bias, epsilon)
    logits = theirs.linear_epsilon(
        theirs.add2(tokens, mixed, False, epsilon)[:1], net.head.weight, net.head.bias, epsilon
    )
    (r,) = torch.autograd.grad(logits[0, 1], tokens, logits[0, 1].detach())
    want = naive.epsilon_rule(net.embed, x, r[1:].T.reshape(1, 4, 2, 2), epsilon)
    _, got = library(net, x, 1, epsilon)
    assert float((got - want).abs().max()) <= 1e-4 * float(want.abs().max())


class Free(nn.Module):
    """No bias, no attention."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, bias=False), nn.Conv2d(4, 4, 1, bias=False)
        self.norm, self.head = nn.RMSNorm(4), nn.Linear(4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.a(x))
        x = x + F.silu(self.b(F.avg_pool2d(x, 3, 1, 1)))
        x = x * x.amax((2, 3), keepdim=True).sigmoid()
        return self.head(self.norm(x.mean((2, 3))))


@pytest.mark.parametrize("sign", [1, -1])
def test_relevance_adds_up_to_the_response(sign: int) -> None:
    net, x = drawn(Free()), image(2, 3, 8, 8)
    for channel in range(3):
        value, got = library(net, x, channel, epsilon=0.0, sign=sign)
        assert float(got[0].sum()) == pytest.approx(sign * value, rel=1e-6, abs=1e-9)
        tiny = library(net, x, channel, epsilon=1e-12, sign=sign)[1]
        assert float(tiny[0].sum()) == pytest.approx(sign * value, rel=1e-6, abs=1e-6)


def test_with_attention_relevance_is_lost_as_the_readme_says() -> None:
    """AttnLRP's softmax rule and its divisors do not conserve: measured without biases, where all else does."""
    import_torchvision()
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    net = timm.create_model("vit_tiny_patch16_224", num_classes=6, img_size=64).double().eval().requires_grad_(False)
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for name, parameter in net.named_parameters():
        if name.endswith("bias") or name in ("cls_token", "pos_embed"):
            parameter.zero_()
    lost = []
    for channel in range(6):
        value, got = library(net, x, channel, epsilon=1e-12)
        lost.append(abs(float(got.sum()) - value) / abs(value))
    assert 0.2 < float(np.median(lost)) < 0.9  # about a half


def test_nothing_remains_on_the_network_and_no_mode() -> None:
    net, x = drawn(Relu()), image(1, 3, 6, 6)
    before = net(x)
    library(net, x, 0)
    assert torch.equal(net(x), before)
    assert not torch.overrides._get_current_function_mode_stack()
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in net.modules())
