"""Loading a network from any of its sources, with weights that cannot run code."""

from __future__ import annotations

import hashlib
import os
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from atlas.errors import NetworkError
from atlas.images.decode import Preprocessing
from atlas.network.outputs import answer_with_one_output
from atlas.network.sources import source_of
from atlas.network.sources.of_torchvision import import_torchvision as import_torchvision
from atlas.store.files import Folder

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_STARTS = (b"PK\x03\x04", b"\x80")
"""First bytes of what torch.save writes: a zip file, or once a pickle."""


@dataclass(frozen=True)
class Ask:
    """What is asked of a network beside its name: input channels (None: its own), which output, whether of classes."""

    channels: int | None = None
    output: str | None = None
    classes: bool = True


@dataclass(frozen=True)
class NetworkSource:
    """All that is needed to make the network again on another machine: no path of this one matters."""

    name: str
    code: bytes | None  # the user's file, or timm's configuration; None for a torchvision network
    weights: bytes  # safetensors
    weights_name: str
    ask: Ask = Ask()


@dataclass(frozen=True)
class Network:
    """A network ready to be run: in eval mode, without gradients of parameters, and where it came from."""

    module: nn.Module
    name: str
    source_digest: str
    weights_digest: str
    preprocessing: Preprocessing
    labels: tuple[str, ...] | None = None


def load(name: str, weights: str | None, ask: Ask = Ask()) -> Network:
    """The network `name` with `weights`: `build(fetch(name, weights))`. Raises `NetworkError` in one line."""
    return build(fetch(name, weights, ask))


def fetch(name: str, weights: str | None, ask: Ask = Ask()) -> NetworkSource:
    """Reads a network's code and weights. Raises `NetworkError`.

    `name`: see `atlas.network.sources`; `weights`: a safetensors file, a state dict that
    `torch.load(weights_only=True)` reads, local or in a bucket, or DEFAULT (those of torchvision or timm).
    """
    if weights is None:
        raise NetworkError(
            f"no weights for network {name!r}: expected --weights FILE.safetensors, a state dict, or DEFAULT"
        )
    source = source_of(name).load()
    code = source.read(name)
    state = source.default_state(name, code, ask.channels) if weights == "DEFAULT" else read_state(weights)
    _check_finite(state, weights)
    body = save_safetensors({key: value.detach().contiguous().clone() for key, value in state.items()})
    return NetworkSource(name, code, body, weights, ask)


def build(source: NetworkSource) -> Network:
    """The network with its weights loaded strictly. Raises `NetworkError` where they do not fit each other."""
    rows, ask = source_of(source.name).load(), source.ask
    module, source_digest = rows.make(source.name, source.code, ask.channels)
    state = load_safetensors(source.weights)
    _load_state(module, state, source.name, source.weights_name)
    module.eval().requires_grad_(False)
    answer_with_one_output(module, ask.output, ask.classes)
    preprocessing = _preprocessing(rows.preprocessing(source.name, source.code), ask.channels)
    return Network(
        module, source.name, source_digest, digest_of(state), preprocessing, rows.labels(source.name, source.code)
    )


def bare(name: str, ask: Ask = Ask()) -> nn.Module:
    """The network `name` with whatever weights it is made with: enough for its layers and fields."""
    source = source_of(name).load()
    module: nn.Module = source.make(name, source.read(name), ask.channels)[0].eval().requires_grad_(False)
    answer_with_one_output(module, ask.output, ask.classes)
    return module


def default_preprocessing(name: str | None, channels: int | None = None) -> Preprocessing:
    """The preprocessing that a network comes with, else ImageNet's usual one."""
    source = None if name is None else source_of(name).load()
    found = None if source is None or name is None else source.preprocessing(name, source.read(name))
    return _preprocessing(found, channels)


def _preprocessing(found: Preprocessing | None, channels: int | None) -> Preprocessing:
    found = found or Preprocessing(256, 224, IMAGENET_MEAN, IMAGENET_STD, "bilinear")
    return found if channels is None else found.of_channels(channels)


def read_state(path: str) -> dict[str, Tensor]:
    """Tensors by name, from a safetensors file or a weights-only state dict. Raises `NetworkError`."""
    parent, _, name = path.replace(os.sep, "/").rpartition("/")
    try:
        body = Folder(parent or ("/" if path.startswith("/") else ".")).get(name)
    except (OSError, ValueError) as error:
        raise NetworkError(
            f"--weights {path}: cannot be read ({error}); expected a safetensors file or a state dict"
        ) from None
    if path.endswith(".safetensors"):
        try:
            return dict(load_safetensors(body))
        except SafetensorError as error:
            raise NetworkError(f"--weights {path}: not a sound safetensors file ({error})") from None
    return _unwrapped(_unpickled(body, path), path)


def _unpickled(body: bytes, path: str) -> Any:
    import io

    if not body:
        raise NetworkError(f"--weights {path}: the file is empty; expected safetensors or a state dict")
    refused = f"--weights {path}: not a state dict; expected what torch.save(module.state_dict()) or safetensors writes"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on pickle's protocols: what counts is said below
            return torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not body.startswith(_STARTS):
            raise NetworkError(refused) from None
        reason = str(error).splitlines()[0] if str(error) else "unsupported content"
        raise NetworkError(
            f"--weights {path}: refused, it holds more than tensors and could run code ({reason[:120]}); "
            "save module.state_dict() alone, best as safetensors"
        ) from None
    except Exception as error:  # torch's reader says of foreign bytes whatever it stumbles over
        reason = next(iter(str(error).splitlines()), "")[:120]
        raise NetworkError(f"{refused} ({type(error).__name__}: {reason})") from None


def _unwrapped(loaded: Any, path: str) -> dict[str, Tensor]:
    """The state dict inside a training checkpoint, without the prefix that `DataParallel` adds."""
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not all(isinstance(v, Tensor) for v in loaded.values()) or not loaded:
        raise NetworkError(f"--weights {path}: expected a state dict (names to tensors), found {type(loaded).__name__}")
    if all(str(name).startswith("module.") for name in loaded):
        return {str(name).removeprefix("module."): value for name, value in loaded.items()}
    return {str(name): value for name, value in loaded.items()}


def _check_finite(state: Mapping[str, Tensor], weights: str) -> None:
    for name, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise NetworkError(f"--weights {weights}: {name} holds NaN or infinity; expected finite numbers")


def _load_state(module: nn.Module, state: dict[str, Tensor], name: str, weights: str) -> None:
    own = module.state_dict()
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    extra = [k for k in state if k not in own]
    shapes = [k for k in own if k in state and own[k].shape != state[k].shape]
    # Training-only branches (googlenet's and inception's auxiliary heads) never run in eval mode.
    missing = [k for k in missing if not k.startswith(("aux1.", "aux2.", "AuxLogits."))]
    wrong = [f"lacks {missing[0]}"] if missing else []
    wrong += [f"has {extra[0]}, which the network lacks"] if extra else []
    wrong += [f"{k} is {tuple(state[k].shape)}, expected {tuple(own[k].shape)}" for k in shapes[:1]]
    if wrong:
        count = len(missing) + len(extra) + len(shapes)
        raise NetworkError(
            f"--weights {weights}: not the weights of {name}: {'; '.join(wrong)} ({count} of {len(own)} tensors differ)"
        )
    module.load_state_dict(state, strict=False)


def digest_of(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values of a state dict, in the order of names."""
    hasher = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        hasher.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        hasher.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()
