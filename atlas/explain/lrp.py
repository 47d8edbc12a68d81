"""Layer-wise relevance propagation: how much of a neuron's response each input value accounts for.

The response is handed back layer by layer, each layer sharing out what it is given among its inputs. What goes back
here is not the relevance R of a value x but c = R / x, so that wherever an operation is linear in its input the way
back is its derivative, and shares of a value that is read twice add up by themselves; at the input R = x · c. Rules:

linear, convolution   ε-rule (Bach et al. 2015, equation 58): R_i = Σ_j x_i w_ij / (z_j + ε sign z_j) · R_j, biases keep
                      their share; in c: the derivative of z, times z / (z + ε sign z)
elementwise function  identity rule (Achtibat et al. 2024, AttnLRP, equation 9): R_in = R_out; in c: times f(x) / x,
                      and times f'(0) at x = 0 where f(0) = 0
product of two        uniform rule (AttnLRP, proposition 3.2): half to each factor; a matrix product of two signals
signals               likewise, with ε (proposition 3.3)
softmax               Taylor expansion at x (AttnLRP, proposition 3.1): in c its derivative
layer, group and      the deviation is a constant, the rest linear (AttnLRP, proposition 3.4); so is any divisor
instance norm
sum, mean, pooling,   linear: shares in proportion, without ε; a maximum hands all to the winner
batch norm, views

Deviations: one ε rule for all convolutions (no αβ or γ), ε absolute. What has none of these rules is differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from atlas.explain.stop import StopAt
from atlas.network.functions import opened
from atlas.network.recorder import values_at
from atlas.types import Layer

EPSILON = 1e-6
"""Keeps a share finite where what is shared out is near 0, in units of the layer's output."""


class _Factor(torch.autograd.Function):
    """The value as it is; what goes back is multiplied by `factor`."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, factor: Tensor | float) -> Tensor:
        ctx.factor = factor
        ctx.mark_dirty(value)  # a view made in here could not be rectified in place later
        return value

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> tuple[Tensor, None]:
        return signals[0] * ctx.factor, None


class _Elementwise(torch.autograd.Function):
    """An elementwise function f whose way back is f(x) / x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        value = function(x.detach().clone())
        ctx.ratio = _ratio(x.detach(), value, function)
        return value

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> tuple[Tensor, None]:
        return signals[0] * ctx.ratio, None


def _ratio(x: Tensor, value: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """f(x) / x; at 0 what a step beside it gives, or 0 where that is no number of this size (f(0) is not 0)."""
    zero = x == 0
    ratio = value / torch.where(zero, 1, x)
    if bool(zero.any()):
        step = torch.tensor(torch.finfo(x.dtype).eps ** 0.5, dtype=x.dtype, device=x.device)
        beside = function(torch.where(zero, step, x)) / step
        ratio = torch.where(zero, torch.where(value == 0, beside, 0), ratio)
    return ratio


def _stable(value: Tensor, epsilon: float, share: float = 1.0) -> Tensor:
    """The value; what goes back is multiplied by share · z / (z + ε sign z), of which 0 counts as positive."""
    z = value.detach()
    away = torch.where(z < 0, z * (1 / share) - epsilon, z * (1 / share) + epsilon)
    value = value.clone() if value._is_view() else value
    return _Factor.apply(value, z / away if epsilon else share)  # type: ignore[no-untyped-call, no-any-return]


def _name(func: Any) -> str:
    """`mul` for torch.mul, Tensor.mul_, Tensor.__imul__, …"""
    name = str(getattr(func, "__name__", "")).strip("_")
    return _OPERATORS.get(name, name)


_OPERATORS = {
    **dict.fromkeys(("imul", "rmul", "multiply"), "mul"),
    **dict.fromkeys(("truediv", "itruediv", "divide", "true_divide"), "div"),
    **dict.fromkeys(("rtruediv", "rdiv"), "rdiv"),
    **dict.fromkeys(("bmm", "mm", "rmatmul", "imatmul"), "matmul"),
}
_ELEMENTWISE = frozenset(
    (
        *("relu", "relu6", "gelu", "silu", "sigmoid", "tanh", "hardswish", "hardsigmoid", "hardtanh", "mish", "elu"),
        *("selu", "celu", "softplus", "softsign", "logsigmoid", "leaky_relu", "prelu", "rrelu", "threshold", "clamp"),
        *("clip", "clamp_min", "clamp_max", "exp", "log", "log1p", "expm1", "sqrt", "rsqrt", "reciprocal", "square"),
        *("pow", "ipow", "abs", "erf", "sin", "cos", "tanhshrink", "softshrink", "hardshrink"),
    )
)
_STABLE = frozenset(("linear", "conv1d", "conv2d", "conv3d", "conv_transpose2d", "addmm"))


class Relevances(TorchFunctionMode):
    """While it is active, the way back through what is run is that of c = R / x, by the rules above.

    It governs functions where they are called, in modules and out of them; `opened` looks into PyTorch's attention.
    """

    def __init__(self, epsilon: float = EPSILON) -> None:
        super().__init__()
        self.epsilon = epsilon

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inside = opened(func)
        if inside is not None:
            with self:
                return inside(*args, **kwargs)
        if not torch.is_grad_enabled() or not any(_signal(a) for a in (*args, *kwargs.values())):
            return func(*args, **kwargs)
        args, kwargs, target = _out_of_place(func, args, kwargs)
        result = self._governed(_plain(func), _name(func), args, kwargs)
        return result if target is None else target.copy_(result)

    def _governed(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        if name in _ELEMENTWISE:
            return _elementwise(func, args, kwargs)
        if name in _STABLE:
            return _stable(func(*args, **kwargs), self.epsilon)
        if name == "mul":
            both = len(args) > 1 and _signal(args[0]) and _signal(args[1])
            value = func(*args, **kwargs)
            return _Factor.apply(value, 0.5) if both else value  # type: ignore[no-untyped-call]
        if name in ("div", "rdiv"):
            return _divided(func, name, args, kwargs)
        if name in ("matmul", "einsum"):
            given = args[1:] if name == "einsum" else args
            given = given[0] if name == "einsum" and isinstance(given[0], list | tuple) else given
            signals = sum(_signal(a) for a in given)
            value = func(*args, **kwargs)
            return _stable(value, self.epsilon, 1 / signals) if signals else value
        if name == "scaled_dot_product_attention":
            return self._attention(*args, **kwargs)
        if name in _NORMS:
            return _stable(_NORMS[name](*args, **kwargs), self.epsilon)
        return func(*args, **kwargs)

    def _attention(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
        is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
    ) -> Tensor:  # fmt: skip
        """Scaled dot products, softmax, weighted sum, each by its own rule."""
        if enable_gqa:
            key, value = (t.repeat_interleave(query.shape[-3] // t.shape[-3], -3) for t in (key, value))
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        weights = self._product(query * scale, key.transpose(-2, -1))  # (…, T, S)
        if is_causal:
            attn_mask = torch.ones(weights.shape[-2:], dtype=torch.bool, device=weights.device).tril()
        if attn_mask is not None:
            hidden = attn_mask.dtype == torch.bool
            weights = weights.masked_fill(~attn_mask, float("-inf")) if hidden else weights + attn_mask
        return self._product(weights.softmax(-1), value)

    def _product(self, left: Tensor, right: Tensor) -> Tensor:
        signals = _signal(left) + _signal(right)
        value = left @ right
        return _stable(value, self.epsilon, 1 / signals) if signals else value


def _signal(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _plain(func: Any) -> Any:
    """The function that does the same, and changes nothing in place."""
    name = str(getattr(func, "__name__", ""))
    if name.startswith("__i") and name.endswith("__"):
        return getattr(Tensor, f"__{name[3:]}")
    if name.endswith("_") and not name.endswith("__"):
        for where in (Tensor, F, torch):
            found = getattr(where, name[:-1], None)
            if found is not None:
                return found
    return func


def _out_of_place(func: Any, args: Any, kwargs: Any) -> tuple[Any, Any, Tensor | None]:
    """The arguments of the same call that changes nothing, and the tensor that is to take its result, or None."""
    governed = _name(func) in (*_ELEMENTWISE, "mul", "div")
    changes = governed and (_plain(func) is not func or kwargs.get("inplace") is True)
    if not changes and governed and func in (F.relu, F.relu6) and len(args) > 1 and args[1] is True:
        changes, args = True, args[:1]
    if not changes:
        return args, kwargs, None
    target = args[0] if args else kwargs.get("input")
    return args, {k: v for k, v in kwargs.items() if k != "inplace"}, target if _signal(target) else None


def _elementwise(func: Any, args: Any, kwargs: Any) -> Any:
    x, rest = (args[0], args[1:]) if args else (kwargs["input"], ())
    others = {k: v for k, v in kwargs.items() if k != "input"}
    if not _signal(x) or any(_signal(a) for a in (*rest, *others.values())):
        return func(*args, **kwargs)  # a bound or an exponent that is itself a signal
    return _Elementwise.apply(x, lambda t: func(t, *rest, **others))  # type: ignore[no-untyped-call]


def _divided(func: Any, name: str, args: Any, kwargs: Any) -> Any:
    """A divisor is a normaliser: a constant. One over a signal is an elementwise function of it."""
    top, below = (args[1], args[0]) if name == "rdiv" else (args[0], args[1])
    if not _signal(below):
        return func(*args, **kwargs)
    if _signal(top):
        return func(top, below.detach(), **kwargs)
    return _Elementwise.apply(below, lambda t: top / t)  # type: ignore[no-untyped-call]


def _layer_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:  # fmt: skip
    dims = tuple(range(input.ndim - len(normalized_shape), input.ndim))
    return _affine(_centred(input, dims, eps), weight, bias)


def _rms_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    dims = tuple(range(input.ndim - len(normalized_shape), input.ndim))
    eps = torch.finfo(input.dtype).eps if eps is None else eps
    return _affine(input * input.detach().square().mean(dims, keepdim=True).add(eps).rsqrt(), weight, None)


def _group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Tensor:
    grouped = input.reshape(len(input), num_groups, -1)
    shape = (1, -1, *[1] * (input.ndim - 2))
    found = _centred(grouped, (2,), eps).reshape(input.shape)
    return _affine(found, *(None if v is None else v.view(shape) for v in (weight, bias)))


def _instance_norm(
    input: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None, weight: Tensor | None = None,
    bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Tensor:  # fmt: skip
    if not use_input_stats:
        return F.instance_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    return _group_norm(input, input.shape[1], weight, bias, eps)


def _normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    size: Tensor = input.detach().norm(p, dim, keepdim=True).clamp_min(eps)
    return input / size


def _centred(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    deviation = x.detach().var(dims, unbiased=False, keepdim=True).add(eps).sqrt()
    return (x - x.mean(dims, keepdim=True)) / deviation


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


_NORMS: dict[str, Callable[..., Tensor]] = {
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "normalize": _normalize,
}


def draw(
    module: nn.Module, layer: Layer, inputs: Tensor, at: tuple[Tensor, Tensor, Tensor], seeds: Tensor,
    epsilon: float = EPSILON,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Values (N,) at `at` = channels, y, x of the layer (N,) each, and the relevance (N, 3, h, w) of `inputs`.

    `seeds` (N,): 1, or −1 for a smallest response: then what is relevant makes it smaller. Without biases, attention
    and ε the relevance of an image adds up to the value times its seed. The network is in eval mode already.
    """
    with torch.inference_mode(False), torch.enable_grad(), StopAt(module, layer) as stop:
        at, seeds = (at[0].clone(), at[1].clone(), at[2].clone()), seeds.clone()
        leaf = (inputs.clone() if inputs.is_inference() else inputs.detach()).requires_grad_(True)
        with Relevances(epsilon):
            output = stop(leaf.clone())
        values = values_at(layer, output, *at)
        (back,) = torch.autograd.grad(values, leaf, seeds.to(values), materialize_grads=True)
        return values.detach(), leaf.detach() * back


def why_not(module: nn.Module, layer: Layer, inputs: Tensor) -> str | None:
    """Relevance is defined wherever there is a derivative."""
    return None
