"""Receptive fields by brute force: which input pixels have a gradient at one position of a layer.

The network is made positive (weights above 0, each nonlinearity replaced by a linear or pooling stand-in that reads the
same elements), in float64, so that no path can cancel another and the gradient is above 0 exactly where a path is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from atlas.network.load import import_torchvision

IDENTITY = {
    *(
        "relu",
        "relu_",
        "relu6",
        "hardtanh",
        "silu",
        "hardswish",
        "hardsigmoid",
        "sigmoid",
        "gelu",
        "leaky_relu",
        "clamp",
    ),
    *("tanh", "elu", "threshold"),
}


def torchvision_network(name: str, device: str = "cpu", **options: Any) -> nn.Module:
    """A torchvision network whose parameters are not initialised: that takes most of the time."""
    models = import_torchvision().models
    names = [n for n in dir(nn.init) if n.endswith("_") and not n.startswith("_")]
    if name in ("googlenet", "inception_v3"):
        options = {"init_weights": False, **options}
    with ExitStack() as stack:
        for each in names:
            stack.enter_context(mock.patch.object(nn.init, each, lambda tensor, *_, **__: tensor))
        return models.get_model(name, weights=None, **options).to(device)  # "meta": shapes alone, nothing is computed


def make_positive(module: nn.Module, seed: int = 0) -> nn.Module:
    """Weights between 0.5 and 1.5, scaled so that activations neither vanish nor overflow; float64, eval mode."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval().requires_grad_(False)
    with torch.no_grad():
        for each in module.modules():
            if isinstance(each, nn.BatchNorm2d | nn.BatchNorm1d):
                each.running_mean.zero_()
                each.running_var.fill_(1)
        for parameter in module.parameters():
            values = torch.ones(parameter.shape, dtype=torch.float64)
            if parameter.dim() == 4:
                values = torch.rand(parameter.shape, generator=generator, dtype=torch.float64) + 0.5
            fan = parameter[0].numel() ** 0.5 if parameter.dim() in (2, 4) else 1.0
            parameter.copy_(values / max(fan, 1.0))
    return module


class _Linearised(TorchFunctionMode):
    """Each nonlinearity replaced by a positive linear function of the same elements."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in IDENTITY:
            return args[0] * 1.0
        if name in ("max_pool2d", "_max_pool2d", "boolean_dispatch", "fn"):
            return _sum_pool(*args, **{k: v for k, v in kwargs.items() if k != "return_indices"})
        if name == "layer_norm":
            dims = tuple(range(-len(args[1]), 0))
            return args[0] + args[0].mean(dims, keepdim=True)
        return func(*args, **kwargs)


class _Detached(TorchFunctionMode):
    """Factors that are one number a channel are 1, so that no gradient flows through them and nothing overflows; norms
    over positions are the identity."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "").strip("_").removeprefix("i").removeprefix("r")
        if name in ("group_norm", "instance_norm"):
            return args[0] * 1.0
        if name in ("mul", "multiply", "div", "truediv") and len(args) > 1 and all(isinstance(a, Tensor) for a in args):
            args = tuple(torch.ones_like(a) if _one_a_channel(a, b) else a for a, b in (args, args[::-1]))
        return func(*args, **(kwargs or {}))


def _one_a_channel(a: Tensor, b: Tensor) -> bool:
    """Whether `a` is one number at all positions of the map `b` (N, C, H, W) or (N, H, W, C)."""
    if a.dim() != 4 or b.dim() != 4:
        return False
    spread = [a.shape[d] == 1 or a.stride(d) == 0 for d in range(4)]
    return (spread[2] and spread[3] and b.shape[2:].numel() > 1) or (
        spread[1] and spread[2] and b.shape[1:3].numel() > 1
    )


@contextmanager
def detached_gates() -> Iterator[None]:
    """While it lasts no gradient flows through a gate."""
    with _Detached():
        yield


def _sum_pool(
    x: Tensor, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil: bool = False, **more: Any
) -> Tensor:
    ceil = more.get("ceil_mode", ceil)
    stride = more.get("stride", stride)
    kernel, padding, dilation = _pair(kernel), _pair(padding), _pair(dilation)
    stride = kernel if stride in (None, []) else _pair(stride)
    with torch.no_grad():
        height, width = torch._C._nn.max_pool2d_with_indices(x, kernel, stride, padding, dilation, ceil)[0].shape[2:]
    extra = max(kernel[0], kernel[1]) * max(dilation)
    wide = F.pad(x, (padding[1], padding[1] + extra, padding[0], padding[0] + extra))
    channels = x.shape[1]
    ones = torch.ones(channels, 1, *kernel, dtype=x.dtype)
    return F.conv2d(wide, ones, None, stride, 0, dilation, channels)[:, :, :height, :width]


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


@contextmanager
def outputs_of(module: nn.Module, calls: Sequence[tuple[str, int]]) -> Iterator[dict[tuple[str, int], Tensor]]:
    """The outputs of module calls in the next forward pass, by (name, number)."""
    found: dict[tuple[str, int], Tensor] = {}
    counts: dict[str, int] = {}
    modules = dict(module.named_modules())

    def hook(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def keep(_module: nn.Module, _args: Any, output: Tensor) -> None:
            counts[name] = counts.get(name, 0) + 1
            if (name, counts[name]) in calls:
                found[name, counts[name]] = output * 1.0

        return keep

    handles = [modules[name].register_forward_hook(hook(name)) for name in {name for name, _ in calls}]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def linear_outputs(module: nn.Module, calls: Sequence[tuple[str, int]], height: int, width: int) -> tuple[Tensor, dict]:
    """A random positive input (1, 3, H, W) that requires a gradient, and outputs of the linearised network."""
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(1, 3, height, width, generator=generator, dtype=torch.float64) + 0.5
    image.requires_grad_(True)
    with outputs_of(module, calls) as found, _Linearised():
        module(image)
    return image, found


def support(image: Tensor, numbers: Tensor) -> tuple[int, int, int, int]:
    """Half-open (top, bottom, left, right) of the pixels on which the sum of `numbers` depends."""
    (gradient,) = torch.autograd.grad(numbers.sum(), image, retain_graph=True)
    touched = gradient[0].abs().sum(0) > 0  # (H, W)
    rows, columns = touched.any(1).nonzero().flatten().tolist(), touched.any(0).nonzero().flatten().tolist()
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
