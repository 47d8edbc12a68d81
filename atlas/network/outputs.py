"""What a network returns, as one tensor: logits, or with `--no-classes` features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from atlas.errors import NetworkError


def outputs_of(result: Any) -> dict[str, Any]:
    """The parts of a tuple (by place), a dict, or an output object (by name)."""
    if isinstance(result, Mapping):
        return {str(key): value for key, value in result.items()}
    if isinstance(result, list | tuple):
        named = zip(getattr(result, "_fields", ()), result, strict=False)
        return {**{str(place): value for place, value in enumerate(result)}, **dict(named)}
    return {key: value for key, value in getattr(result, "__dict__", {}).items() if not key.startswith("_")}


def one_output(result: Any, key: str | None = None, classes: bool = True) -> Tensor:
    """The logits (N, classes) among what a network returned, or its features (N, K) where it has no classes.

    `key`: which of several outputs, by name or place. Without it, the only tensor (N, K); features may also be a map
    (N, C, h, w) or tokens (N, T, C), of which the mean over the positions is taken. Raises `NetworkError`.
    """
    if isinstance(result, Tensor) and key is None:
        return _shaped(result, classes)
    there = {} if isinstance(result, Tensor) else outputs_of(result)
    if key is not None:
        if not isinstance(there.get(key), Tensor):
            raise NetworkError(f"--output {key}: the network returns {_described(result)}; expected one of these")
        return _shaped(there[key], classes)
    tensors = {name: value for name, value in there.items() if isinstance(value, Tensor)}
    wanted = {name: value for name, value in tensors.items() if value.dim() == 2} or (tensors if not classes else {})
    if len({id(value) for value in wanted.values()}) != 1:
        what = "the logits" if classes else "the features"
        raise NetworkError(f"network: returns {_described(result)}; say which is {what} with --output")
    return _shaped(next(iter(wanted.values())), classes)


def _shaped(value: Tensor, classes: bool) -> Tensor:
    if classes or value.dim() == 2:
        return value
    if value.dim() not in (3, 4):
        raise NetworkError(
            f"network: returns features {tuple(value.shape)}; expected (N, K), (N, T, C) or (N, C, h, w)"
        )
    return value.mean(1) if value.dim() == 3 else value.mean((2, 3))


def _described(result: Any) -> str:
    if isinstance(result, Tensor):
        return f"one tensor {tuple(result.shape)}"
    there = outputs_of(result)
    words = [f"{name} {tuple(v.shape) if isinstance(v, Tensor) else type(v).__name__}" for name, v in there.items()]
    return ", ".join(words) or f"a {type(result).__name__}"


def answer_with_one_output(module: nn.Module, key: str | None = None, classes: bool = True) -> None:
    """From now on the network answers with one tensor: its first hook, which stays, as its own last operation would."""
    module.register_forward_hook(lambda _module, _arguments, result: one_output(result, key, classes))
