"""Function calls that are watched in a forward pass, and how to look into one that would hide them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F

FUNCTIONS = (F.linear, torch.conv2d, F.batch_norm)
"""Functions whose results can be recorded where no module's output is what they return; counted together."""
_ATTENTION = F.multi_head_attention_forward


def opened(func: Callable[..., Any]) -> Callable[..., Any] | None:
    """A twin of PyTorch's attention function whose own calls a `TorchFunctionMode` sees; None for other functions.

    The function hands itself over to a mode as a whole, and again whenever the mode is active; the twin does not ask.
    """
    return _twin() if func is _ATTENTION else None


@cache
def _twin() -> Callable[..., Any]:
    blind = {**_ATTENTION.__globals__, "has_torch_function": lambda _: False}
    twin = FunctionType(_ATTENTION.__code__, blind, _ATTENTION.__name__, _ATTENTION.__defaults__)
    twin.__kwdefaults__ = _ATTENTION.__kwdefaults__
    return twin
