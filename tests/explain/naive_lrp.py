"""Layer-wise relevance propagation as the papers write it: relevances, share by share, from dense matrices."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def sign(z: Tensor) -> Tensor:
    return torch.where(z < 0, -1.0, 1.0).to(z)


def linear_map(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """A (affine) function's matrix (outputs, inputs), column by column, and its constant."""
    zero = function(torch.zeros_like(x)).flatten()
    columns = []
    for i in range(x.numel()):
        unit = torch.zeros(x.numel(), dtype=x.dtype)
        unit[i] = 1
        columns.append(function(unit.view_as(x)).flatten() - zero)
    return torch.stack(columns, 1), zero


def epsilon_rule(function: Callable[[Tensor], Tensor], x: Tensor, relevance: Tensor, epsilon: float) -> Tensor:
    """R_i = Σ_j x_i w_ji / (z_j + ε sign z_j) R_j (Bach et al. 2015, equation 58)."""
    matrix, constant = linear_map(function, x)
    given, z, r = x.flatten(), matrix @ x.flatten() + constant, relevance.flatten()
    out = torch.zeros_like(given)
    for j in range(len(z)):
        if r[j] != 0:
            out += given * matrix[j] / (z[j] + epsilon * sign(z[j])) * r[j]
    return out.view_as(x)


def identity_rule(x: Tensor, relevance: Tensor) -> Tensor:
    return relevance


def uniform_matmul(a: Tensor, b: Tensor, relevance: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """R_ji = Σ_p a_ji b_ip / (2 o_jp + ε) R_jp, and the same for b (AttnLRP, proposition 3.3)."""
    o = a @ b
    ra, rb = torch.zeros_like(a), torch.zeros_like(b)
    for j in range(a.shape[0]):
        for p in range(b.shape[1]):
            share = relevance[j, p] / (2 * o[j, p] + epsilon * sign(o[j, p]))
            for i in range(a.shape[1]):
                ra[j, i] += a[j, i] * b[i, p] * share
                rb[i, p] += a[j, i] * b[i, p] * share
    return ra, rb


def softmax_rule(x: Tensor, relevance: Tensor) -> Tensor:
    """R_i = x_i (R_i − s_i Σ_j R_j) over the last dimension (AttnLRP, proposition 3.1)."""
    s = x.softmax(-1)
    return x * (relevance - s * relevance.sum(-1, keepdim=True))


def sum_rule(parts: list[Tensor], relevance: Tensor) -> list[Tensor]:
    """Shares in proportion; where the sum is 0 nothing is to be shared out."""
    total = sum(parts[1:], parts[0])
    return [torch.where(total == 0, 0, part / torch.where(total == 0, 1, total) * relevance) for part in parts]


def layer_norm_rule(norm: nn.LayerNorm, x: Tensor, relevance: Tensor, epsilon: float) -> Tensor:
    """The deviation is a constant (AttnLRP, proposition 3.4); what is left is linear."""
    deviation = (x.var(-1, unbiased=False, keepdim=True) + norm.eps).sqrt()

    def frozen(v: Tensor) -> Tensor:
        return (v - v.mean(-1, keepdim=True)) / deviation * norm.weight + norm.bias

    return epsilon_rule(frozen, x, relevance, epsilon)


def max_pool_rule(x: Tensor, size: int, relevance: Tensor) -> Tensor:
    """The winner takes all; (1, C, H, W)."""
    out = torch.zeros_like(x)
    for c in range(x.shape[1]):
        for y in range(relevance.shape[2]):
            for w in range(relevance.shape[3]):
                window = x[0, c, y * size : (y + 1) * size, w * size : (w + 1) * size]
                dy, dx = divmod(int(window.flatten().argmax()), window.shape[1])
                out[0, c, y * size + dy, w * size + dx] += relevance[0, c, y, w]
    return out
