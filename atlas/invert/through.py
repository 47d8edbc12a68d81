"""Which layers are inverted through, and what each keeps of an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from atlas.errors import NetworkError
from atlas.explain.backward import as_in_a_run
from atlas.invert.invert import Encode
from atlas.network.recorder import Recorder
from atlas.types import Layer
from atlas.visualize.forward import ModulePlace, Place, Taps

ENDS = ("logits", "log_probabilities")
CODE = "code"
"""Names the atlas's own code: what the cells of the map are inverted from."""
STEPS = 6
"""Layers from input to output that `auto` takes, beside the two ends."""

Logits = Callable[[Any], Tensor]


def chosen(layers: Sequence[str], asked: Sequence[str], classes: bool = True) -> list[str]:
    """Names in the order of the row: those asked for, or for `auto` some of the atlas's layers, evenly, and the ends.

    Without `classes` the network gives features, and there are no ends.
    """
    if tuple(asked) != ("auto",):
        return list(dict.fromkeys(asked))
    count = min(STEPS, len(layers))
    evenly = [layers[round(i * (len(layers) - 1) / max(count - 1, 1))] for i in range(count)]
    return [*dict.fromkeys(evenly), *(ENDS if classes else ())]


def known(module: nn.Module, layers: Sequence[Layer], name: str) -> bool:
    """Whether there is such a layer, module or end."""
    return name in (*ENDS, CODE, *(layer.name for layer in layers)) or name in dict(module.named_modules())


def place_of(module: nn.Module, layers: Sequence[Layer], name: str) -> Place:
    """A layer of the atlas, or any module of the network. Raises `NetworkError`."""
    found = next((layer for layer in layers if layer.name == name), None)
    if found is not None:
        return found
    if not known(module, layers, name):
        raise NetworkError(f"--layers {name}: the network has no such module, and it is none of {', '.join(ENDS)}")
    return ModulePlace(name)


def depth_of(module: nn.Module, layers: Sequence[Layer], name: str) -> float:
    """How deep a layer lies, 0 at the input to 1 at the output: its module's place among all, as they are named."""
    if name in (*ENDS, CODE):
        return 1.0
    names = list(dict(module.named_modules()))
    return names.index(place_of(module, layers, name).module) / max(len(names) - 1, 1)


@contextmanager
def encoder(
    module: nn.Module, layers: Sequence[Layer], code: tuple[str, int], name: str, logits: Logits
) -> Iterator[Encode]:
    """What a layer, `code` or one of `ENDS` keeps of a batch (N, C, H, W), with its gradient.

    The network is left as it was. Raises `NetworkError` for a name that is none.
    """
    with as_in_a_run(module):
        if name in ENDS:
            yield lambda inputs: _end(logits(module(inputs)), name)
        elif name == CODE:
            with _Codes(module, code) as codes:
                yield codes
        else:
            with Taps(module, [place_of(module, layers, name)]) as taps:
                yield lambda inputs: taps(inputs)[0]


def _end(scores: Tensor, name: str) -> Tensor:
    return scores.log_softmax(1) if name == ENDS[1] else scores


class _Codes:
    """A context that gives codes (N, dimensions), as the scan does, with their gradients."""

    def __init__(self, module: nn.Module, code: tuple[str, int]) -> None:
        self._found: list[Tensor] = []
        self._recorder = Recorder(module, [], lambda *_: None, inputs=[code], take_input=self._take, stop=True)

    def __enter__(self) -> _Codes:
        self._recorder.__enter__()
        return self

    def __exit__(self, *about: Any) -> None:
        self._recorder.__exit__(*about)

    def _take(self, _: tuple[str, int], value: Tensor) -> None:
        self._found.append(value.mean((2, 3)))

    def __call__(self, inputs: Tensor) -> Tensor:
        self._found.clear()
        self._recorder.run(inputs)
        return self._found[-1]


class _StopError(Exception):
    """What is wanted is known."""


@torch.no_grad()
def gives_the_code(module: nn.Module, layers: Sequence[Layer], code: tuple[str, int], inputs: Tensor) -> set[str]:
    """Modules, and layers of the atlas, from whose output the code follows at once, or that come behind it.

    That a picture's code finds its original says nothing where the picture was made from the code itself: of the last
    layer before the code is read, of whatever ends after that, and of all behind. Found by running `inputs`.
    """
    ended: list[str] = []
    begun = 0

    def end(name: str) -> Callable[..., None]:
        return lambda *_: ended.append(name)

    def reads(*_: Any) -> None:
        nonlocal begun
        begun += 1
        if begun == code[1]:
            raise _StopError

    handles = [each.register_forward_hook(end(name)) for name, each in module.named_modules()]
    if code[0]:
        handles.append(module.get_submodule(code[0]).register_forward_pre_hook(reads))
    try:
        with as_in_a_run(module), suppress(_StopError):
            module(inputs)
    finally:
        for handle in handles:
            handle.remove()
    last = [i for i, name in enumerate(ended) if any(layer.module == name for layer in layers)]
    before = set(ended[: last[-1]]) if last else set()
    names = [*dict(module.named_modules()), *(layer.name for layer in layers)]
    modules = {layer.name: layer.module for layer in layers}
    return {name for name in names if modules.get(name, name) not in before} | {*ENDS, CODE}
