"""Holding a network's gates: what they say of one image is said again while another one is run.

A gate sees the whole input (`operations`), so that a layer behind one answers to pixels outside the field of its local
paths. With its gates held it must not: that is how the field of such a layer is put to the test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from atlas.network.operations import THROUGH

_PRODUCTS = ("aten::mul", "aten::mul_", "aten::div", "aten::div_")
_Kept = list[tuple[Tensor, ...]]


class Gates(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context for one forward pass, without inference mode. With an empty `kept` it takes down what the gates say;
    `again()` is a context for another pass of that shape, in which they say the same.

    Held are the factors that are one number a channel, and the means and variances over positions.
    """

    def __init__(self, kept: _Kept) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._kept, self._hold, self._count = kept, bool(kept), 0
        self._uniform = WeakTensorKeyDictionary()  # those that were spread over all positions

    def again(self) -> Gates:
        """For another pass of the same shape: the gates say what they said in this one."""
        return Gates(self._kept)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = str(func._schema.name), kwargs or {}
        if name in _PRODUCTS:
            place = self._gate(args, name)
            if place is not None:
                (factor,) = self._held(lambda: (args[place],))
                args = (*args[:place], factor, *args[place + 1 :])
        result = func(*args, **kwargs)
        if name in _NORMS and _over_positions(name, args):
            mean, scale = self._held(lambda: result[1:3])
            result = (_normalised(args, result[0], mean, scale), mean, scale) if self._hold else result
        self._spread(name, args, result)
        return result

    def _held(self, now: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        self._count += 1
        if not self._hold:
            self._kept.append(tuple(each.clone() for each in now()))
        return self._kept[self._count - 1]

    def _gate(self, args: Any, name: str) -> int | None:
        """The operand that is the same at all positions of the other one, a map; None without one."""
        if len(args) < 2 or not all(isinstance(each, Tensor) for each in args[:2]):
            return None
        for place in (1, 0) if "mul" in name else (1,):
            if name.endswith("_") and place == 0:
                continue
            gate, maps = args[place], args[1 - place]
            if maps.dim() >= 3 and (_same(gate, maps) or gate in self._uniform):
                return place
        return None

    def _spread(self, name: str, args: Any, result: Any) -> None:
        base = name.removeprefix("aten::").removesuffix("_")
        given = [each for each in args if isinstance(each, Tensor)]
        if not isinstance(result, Tensor) or not given:
            return
        single = base.startswith("upsample") and tuple(given[0].shape[-2:]) == (1, 1)
        if single or (base in THROUGH and all(each in self._uniform or each.numel() == 1 for each in given)):
            self._uniform[result] = True


def _same(gate: Tensor, maps: Tensor) -> bool:
    """Whether a tensor is one number along each of two dimensions of maps, beside images and channels."""
    missing = maps.dim() - gate.dim()
    shape, stride = (1,) * missing + tuple(gate.shape), (0,) * missing + gate.stride()
    along = [d for d in range(1, maps.dim()) if maps.shape[d] > 1 and (shape[d] == 1 or stride[d] == 0)]
    return len(along) >= min(2, maps.dim() - 2)


_NORMS = ("aten::native_group_norm", "aten::native_layer_norm", "aten::native_batch_norm")


def _over_positions(name: str, args: Any) -> bool:
    if name == "aten::native_layer_norm":
        return len(args[1]) > 1
    return name == "aten::native_group_norm" or args[5] is True


def _normalised(args: Any, like: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """A map normalised by a mean and a scale that are not its own. `args`: of the operation (map, …, weight, bias)."""
    x = args[0]
    if isinstance(args[1], list | tuple):  # of a layer norm: (map, normalised shape, weight, bias)
        found, weight, bias = (x - mean) * scale, args[2], args[3]
    elif mean.dim() == 2:  # of a group norm: (N, groups)
        apart = x.reshape(len(x), mean.shape[1], -1)
        found = ((apart - mean[..., None]) * scale[..., None]).reshape(x.shape)
        weight, bias = (_by_channel(each, x) for each in args[1:3])
    else:
        found = (x - _by_channel(mean, x)) * _by_channel(scale, x)
        weight, bias = (_by_channel(each, x) for each in args[1:3])
    found = found if weight is None else found * weight
    found = found if bias is None else found + bias
    return torch.as_strided(found.contiguous(), found.shape, found.contiguous().stride()).to(like.dtype)


def _by_channel(values: Tensor | None, x: Tensor) -> Any:
    return None if values is None else values.reshape(1, -1, *(1,) * (x.dim() - 2))
