"""Backward rules: what a rectifier does to the signal that goes back from a neuron to the image.

Deconvnet, guided backpropagation and the gradient differ only in how they pass a rectifier backwards; everything else
(transposed convolutions, max-pooling switches, batch norm as the affine map it is, sums, concatenations) is what
differentiation does anyway. So the network runs forward once, with its rectifiers replaced by `_Rectify`, whose
backward asks the rule that is active at that moment: one forward serves every rule.

Rectifiers are met where they are called, by a `TorchFunctionMode`, so modules, functions, methods, in-place forms and
one module used many times are all governed. What else bends the signal is found in the autograd graph and refused.

Where several inputs of a max pool are equal, the first in the window's reading order (row by row) is the switch, in
both memory layouts: that is what torch does, and what a crop keeps, as alignment keeps the windows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from atlas.errors import NetworkError
from atlas.explain.transposed import convolve


@dataclass(frozen=True)
class Rectified:
    """What a rectifier remembers of itself for the way back, elementwise.

    `value`: its output, whose place between the bounds is that of its input. `slope`: the factor below 0 (0 for relu;
    leaky, PReLU), and then `above`, where the input was above 0. `passes`: where torch's own derivative is 1, if that
    is not strictly between the bounds (`clamp` passes on its bounds).
    """

    value: Tensor
    high: float | None
    slope: float | Tensor
    above: Tensor | None
    passes: Tensor | None

    def inside(self, signal: Tensor) -> Tensor:
        """The signal where the input was strictly between the bounds; elsewhere times the slope."""
        # Fused operations: multiplying by a boolean mask costs ten times as much.
        if self.above is not None:
            return torch.where(self.above, signal, signal * self.slope)
        if self.high is None:
            return torch.ops.aten.threshold_backward(signal, self.value, 0)  # type: ignore[no-any-return]
        return torch.ops.aten.hardtanh_backward(signal, self.value, 0, self.high)  # type: ignore[no-any-return]

    def derivative(self, signal: Tensor) -> Tensor:
        """The signal times torch's own derivative."""
        return self.inside(signal) if self.passes is None else torch.where(self.passes, signal, 0)

    def rectify(self, signal: Tensor) -> Tensor:
        """The rectifier applied to the signal: its negative part times the slope; not capped."""
        return signal.clamp(min=0) if self.above is None else torch.where(signal > 0, signal, signal * self.slope)


@dataclass(frozen=True)
class Rule:
    """One way back through rectifiers: `backward(signal, rectified)` gives the signal below, of the same shape.

    `linear` says that the rule is plain differentiation: then it is defined for every differentiable operation.
    """

    name: str
    source: str
    backward: Callable[[Tensor, Rectified], Tensor]
    linear: bool = False


def _deconvnet(signal: Tensor, rectified: Rectified) -> Tensor:
    return rectified.rectify(signal)


def _guided(signal: Tensor, rectified: Rectified) -> Tensor:
    return rectified.inside(rectified.rectify(signal))


def _gradient(signal: Tensor, rectified: Rectified) -> Tensor:
    return rectified.derivative(signal)


RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule(
            "deconvnet",
            "Zeiler & Fergus 2014, Visualizing and understanding convolutional networks, section 2.1: the rectifier is "
            "applied to the signal, whatever its input was. relu6 and hardtanh(0, ·) clip the signal at 0 only; leaky "
            "and PReLU apply their own rectifier to the signal, f(s), which is the paper's at slope 0",
            _deconvnet,
        ),
        Rule(
            "guided",
            "Springenberg et al. 2015, Striving for simplicity, section 3.4: the signal passes where it is above 0 and "
            "the input was strictly inside the rectifier's linear part; leaky and PReLU: f'(x) · f(s), which is the "
            "paper's at slope 0",
            _guided,
        ),
        Rule(
            "gradient",
            "Simonyan et al. 2014, Deep inside convolutional networks, section 3: the derivative itself",
            _gradient,
            linear=True,
        ),
    )
}
"""Every kind of projection; a new kind is a row."""


class _Rectify(torch.autograd.Function):
    """A rectifier whose backward is the rule that `active` holds at that moment."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, form: _Form, active: Rules) -> Tensor:
        above = x > 0 if form.sloped else None
        passes = x >= 0 if form.closed else None
        if passes is not None and form.high is not None:
            passes &= x <= form.high
        if form.inplace:
            ctx.mark_dirty(x)
            value = x.copy_(form.value(x)) if form.sloped else x.clamp_(0, form.high)
        else:
            value = form.value(x)
        ctx.rectified = Rectified(active.remember(value), form.high, form.slope, above, passes)
        ctx.active = active
        return value

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> tuple[Tensor, None, None]:
        return ctx.active.rule.backward(signals[0], ctx.rectified), None, None


@dataclass(frozen=True)
class _Form:
    """A call of a rectifier: its cap, slope below 0, in place or not, and whether its derivative is 1 on the bounds."""

    high: float | None = None
    slope: float | Tensor = 0.0
    inplace: bool = False
    closed: bool = False

    @property
    def sloped(self) -> bool:
        return not (isinstance(self.slope, float) and self.slope == 0.0)

    def value(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, x * self.slope) if self.sloped else x.clamp(0, self.high)


def _relu(x: Tensor, inplace: bool = False) -> _Form:
    return _Form(inplace=inplace)


def _relu6(x: Tensor, inplace: bool = False) -> _Form:
    return _Form(high=6.0, inplace=inplace)


def _hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> _Form | None:
    return _Form(high=float(max_val), inplace=inplace) if min_val == 0 and max_val > 0 else None


def _clamp(x: Tensor, min: Any = None, max: Any = None, inplace: bool = False) -> _Form | None:
    if isinstance(min, int | float) and min == 0 and (max is None or (isinstance(max, int | float) and max > 0)):
        return _Form(high=None if max is None else float(max), inplace=inplace, closed=True)
    return None


def _clamp_min(x: Tensor, min: Any, inplace: bool = False) -> _Form | None:
    return _clamp(x, min, None, inplace)


def _threshold(x: Tensor, threshold: float, value: float, inplace: bool = False) -> _Form | None:
    return _Form(inplace=inplace) if threshold == 0 and value == 0 else None


def _leaky(x: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> _Form:
    return _Form(slope=float(negative_slope), inplace=inplace)


def _prelu(x: Tensor, weight: Tensor) -> _Form:
    shape = [1, -1, *[1] * (x.ndim - 2)] if weight.numel() > 1 and x.ndim > 1 else [1] * x.ndim
    return _Form(slope=weight.detach().reshape(shape))


def _rrelu(
    x: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False
) -> _Form | None:
    return None if training else _Form(slope=(lower + upper) / 2, inplace=inplace)


def _inplace(read: Callable[..., _Form | None]) -> Callable[..., _Form | None]:
    return lambda *args, **kwargs: read(*args, **kwargs, inplace=True)


def _table() -> dict[Any, Callable[..., _Form | None]]:
    table: dict[Any, Callable[..., _Form | None]] = {
        F.relu: _relu,
        F.relu6: _relu6,
        F.hardtanh: _hardtanh,
        F.hardtanh_: _inplace(_hardtanh),
        F.threshold: _threshold,
        F.leaky_relu: _leaky,
        F.leaky_relu_: _inplace(_leaky),
        F.prelu: _prelu,
        F.rrelu: _rrelu,
        F.rrelu_: _inplace(_rrelu),
    }
    forms: tuple[tuple[str, Callable[..., _Form | None]], ...] = (
        ("relu", _relu), ("clamp", _clamp), ("clip", _clamp), ("clamp_min", _clamp_min), ("threshold", _threshold),
        ("prelu", _prelu),
    )  # fmt: skip
    for name, read in forms:
        for where in (torch, Tensor, F):
            for function, reader in ((name, read), (f"{name}_", _inplace(read))):
                found = getattr(where, function, None)
                if found is not None:
                    table.setdefault(found, reader)
    return table


_RECTIFIERS = _table()

_LINEAR_NODES = """
    AccumulateGrad Add Addbmm Addmm Alias AdaptiveAvgPool2D AsStrided AvgPool1D AvgPool2D Baddbmm Bmm Cat Clone
    ConstantPadNd Contiguous ConvDepthwise2D Convolution ConvolutionOverrideable Copy CopyBackwards CopySlices
    CudnnBatchNorm CudnnConvolution Cumsum Div Einsum Expand Flip Gather Im2Col Index IndexSelect Linear Mean
    MiopenBatchNorm MkldnnConvolution MkldnnLinear Mm Mul Mv NativeBatchNorm Neg Permute PixelShuffle PixelUnshuffle
    ReflectionPad2D Repeat ReplicationPad2D Reshape ReshapeAlias Roll SafeSplit Select Slice SlowConv2D Split
    SplitWithSizes Squeeze Stack Sub Sum T ThnnConv2D ToCopy Transpose Unbind Unfold Unsafe UnsafeSplit UnsafeView
    Unsqueeze UpsampleBicubic2D UpsampleBilinear2D UpsampleNearest2D UpsampleNearestExact2D View
    AdaptiveMaxPool2D Amax Max MaxPool2D MaxPool2DWithIndices _ConvolutionBackward _RectifyBackward
"""
_PLAIN = frozenset(_LINEAR_NODES.split())
"""Autograd nodes that are linear in the signal, or switch by place as max pooling does, apart from one-path ones."""
_ONE_PATH = frozenset(("Mul", "Div", "Mm", "Bmm", "Addmm", "Baddbmm", "Convolution", "Einsum", "Linear", "Mv"))
"""Among them, those that are linear only while a single factor depends on the image."""
_COMPARISONS = frozenset(
    getattr(where, name)
    for where in (torch, Tensor)
    for name in ("gt", "ge", "lt", "le", "sign", "heaviside", "__gt__", "__ge__", "__lt__", "__le__")
    if hasattr(where, name)
)
"""A mask made from the signal hides a rectifier from the graph."""


class Rules(TorchFunctionMode):
    """Governs the rectifiers of a network while it runs inside `with Rules(module, strict) as rules:`.

    Set `rules.rule` before each backward pass. With `strict`, an operation that deconvnet and guided are not defined
    for raises `NetworkError`, naming the operation and its module; without, it is differentiated as usual.
    """

    def __init__(self, module: nn.Module, strict: bool, copies: bool = False) -> None:
        super().__init__()
        self.rule = RULES["gradient"]
        self.strict = strict
        self._module = module
        self._seen: set[Any] = set()
        self._copies = copies
        self._remembered: list[tuple[Tensor, int]] = []

    def remember(self, value: Tensor) -> Tensor:
        """A rectifier's output, to be looked at on the way back."""
        # Detached, as a graph that holds itself would outlive its use; the storage and its version are shared.
        kept = value.clone() if self._copies else value.detach()
        self._remembered.append((kept, kept._version))
        return kept

    def _settle(self) -> None:
        """Being in place is itself a change, and counted only when the call is over."""
        kept, _ = self._remembered[-1]
        self._remembered[-1] = (kept, kept._version)

    @property
    def overwritten(self) -> bool:
        """Whether the network has since changed what a rectifier remembers: run it again with `copies`."""
        return any(value._version > version for value, version in self._remembered)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._seen.clear()
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        read = _RECTIFIERS.get(func)
        if read is not None:
            x = args[0] if args else kwargs.get("input")
            if _wants_signal((x,)):
                form = read(*args, **kwargs) if args else read(x, **{k: v for k, v in kwargs.items() if k != "input"})
                if form is not None:
                    value = _Rectify.apply(x, form, self)  # type: ignore[no-untyped-call]
                    self._settle()
                    return value
        result = convolve(*args, **kwargs) if func is torch.conv2d and _wants_signal(args) else None
        if result is None:
            result = func(*args, **kwargs)
        if self.strict and torch.is_grad_enabled():
            self._examine(func, args, result)
        return result

    def _examine(self, func: Any, args: Any, result: Any) -> None:
        """Refuses what the call added to the graph, if it is not one of the plain operations."""
        if func in _COMPARISONS and any(isinstance(a, Tensor) and a.requires_grad for a in args):
            self._refuse(func, func.__name__)
        for each in result if isinstance(result, tuple | list) else (result,):
            node = each.grad_fn if isinstance(each, Tensor) and each.requires_grad else None
            if node is not None:
                self._walk(func, node)

    def _walk(self, func: Any, top: Any) -> None:
        todo = [top]
        while todo:
            node = todo.pop()
            if node in self._seen:
                continue
            self._seen.add(node)
            name = _operation(node)
            below = [n for n, _ in node.next_functions if n is not None]
            if name not in _PLAIN or (name in _ONE_PATH and _factors(name, node) > 1):
                self._refuse(func, name)
            todo.extend(below)

    def _refuse(self, func: Any, operation: str) -> None:
        called = getattr(func, "__name__", str(func)).strip("_")
        what = called if called.lower() == operation.lower() else f"{called} ({operation})"
        raise NetworkError(
            f"{what} in {_where(self._module)}: deconvnet and guided are defined for relu, relu6, hardtanh(0, ·), "
            "leaky and PReLU only; leave them out (--projections gradient)"
        )


def _wants_signal(args: Any) -> bool:
    return bool(args) and isinstance(args[0], Tensor) and args[0].requires_grad and torch.is_grad_enabled()


def _operation(node: Any) -> str:
    """`Mul` for a node called `MulBackward0`."""
    name = type(node).__name__
    if name in ("_RectifyBackward", "_ConvolutionBackward"):
        return name
    stem, found, rest = name.partition("Backward")
    return stem if found and (not rest or rest.isdigit()) else name


def _factors(name: str, node: Any) -> int:
    """How many factors of a product depend on the image; a divisor counts as two."""
    paths = [n is not None for n, _ in node.next_functions]
    if name == "Div":
        return 2 if len(paths) > 1 and paths[1] else 1
    if name in ("Addmm", "Baddbmm"):
        return sum(paths[1:])
    return sum(paths)


def _where(module: nn.Module) -> str:
    """Name of the innermost submodule whose code is running, found on the call stack; only asked for on a refusal."""
    names = {id(m): name for name, m in module.named_modules()}
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and id(owner) in names:
            return names[id(owner)] or type(owner).__name__
        frame = frame.f_back
    return type(module).__name__
