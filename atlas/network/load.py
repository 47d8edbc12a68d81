"""Loading a network: a torchvision name or a user's own factory, with weights that cannot run code."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import pickle
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from atlas.errors import NetworkError
from atlas.images.decode import Preprocessing
from atlas.store.files import Folder

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_schemas: list[torch.library.Library] = []


@dataclass(frozen=True)
class NetworkSource:
    """All that is needed to make the network again on another machine: no path of this one matters."""

    name: str
    code: bytes | None  # the user's file; None for a torchvision network
    weights: bytes  # safetensors
    weights_name: str


@dataclass(frozen=True)
class Network:
    """A network ready to be run: in eval mode, without gradients of parameters, and where it came from."""

    module: nn.Module
    name: str
    source_digest: str
    weights_digest: str
    preprocessing: Preprocessing


def import_torchvision() -> ModuleType:
    """torchvision, also beside a torch build for which its C++ operators do not load.

    The networks use none of these operators; declaring the schemas of two is enough for the import.
    """
    if "torchvision" not in sys.modules and not _schemas:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                importlib.import_module("torchvision")
            except RuntimeError:
                for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
                    del sys.modules[name]
                library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
                for name in ("nms", "qnms"):
                    signature = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                    library.define(signature)  # type: ignore[no-untyped-call]
                _schemas.append(library)
    return importlib.import_module("torchvision")


def load(name: str, weights: str | None) -> Network:
    """The network `name` with `weights`: `build(fetch(name, weights))`. Raises `NetworkError` in one line."""
    return build(fetch(name, weights))


def fetch(name: str, weights: str | None) -> NetworkSource:
    """Reads a network's code and weights. Raises `NetworkError`.

    `name` is a torchvision classifier or `FILE.py:FACTORY`; `weights` a safetensors file, a state dict that
    `torch.load(weights_only=True)` reads, local or in a bucket, or DEFAULT (torchvision's own, downloaded).
    """
    if weights is None:
        raise NetworkError(
            f"no weights for network {name!r}: expected --weights FILE.safetensors, a state dict, or DEFAULT"
        )
    own = ":" in name
    code = _read_code(name) if own else None
    if weights == "DEFAULT":
        if own:
            raise NetworkError("--weights DEFAULT: only torchvision networks have default weights; give a file")
        _check_known(name)
        state = _default_state(name)
    else:
        state = read_state(weights)
    _check_finite(state, weights)
    body = save_safetensors({key: value.detach().contiguous().clone() for key, value in state.items()})
    return NetworkSource(name, code, body, weights)


def build(source: NetworkSource) -> Network:
    """The network with its weights loaded strictly. Raises `NetworkError` where they do not fit each other."""
    if source.code is None:
        module, source_digest = _from_torchvision(source.name)
        preprocessing = default_preprocessing(source.name)
    else:
        module, source_digest = _from_code(source.name, source.code), hashlib.sha256(source.code).hexdigest()
        preprocessing = default_preprocessing(None)
    state = load_safetensors(source.weights)
    _load_state(module, state, source.name, source.weights_name)
    module.eval().requires_grad_(False)
    return Network(module, source.name, source_digest, digest_of(state), preprocessing)


def bare(name: str) -> nn.Module:
    """The network `name` with whatever weights it is made with: enough for its layers and fields."""
    module = _from_code(name, _read_code(name)) if ":" in name else _from_torchvision(name)[0]
    return module.eval().requires_grad_(False)


def default_preprocessing(name: str | None) -> Preprocessing:
    """Preprocessing of torchvision's default weights entry of `name`, else ImageNet's usual one."""
    fallback = Preprocessing(256, 224, IMAGENET_MEAN, IMAGENET_STD, "bilinear")
    if name is None:
        return fallback
    entry = import_torchvision().models.get_model_weights(name)
    default = getattr(entry, "DEFAULT", None)
    if default is None:
        return fallback
    p = default.transforms()
    if type(p).__name__ != "ImageClassification":
        return fallback
    return Preprocessing(
        int(p.resize_size[0]), int(p.crop_size[0]), tuple(p.mean), tuple(p.std), str(p.interpolation.value)
    )


def _check_known(name: str) -> None:
    models = import_torchvision().models
    known = models.list_models(module=models)
    if name not in known:
        close = get_close_matches(name, known, 3)
        hint = f"; did you mean {', '.join(close)}?" if close else "; or FILE.py:FACTORY for your own"
        raise NetworkError(f"--network {name}: unknown; expected a torchvision classifier{hint}")


def _from_torchvision(name: str) -> tuple[nn.Module, str]:
    _check_known(name)
    builder = import_torchvision().models.get_model_builder(name)
    # Googlenet and Inception warn about slow initial weights, which are about to be overwritten.
    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    source = Path(inspect.getfile(builder)).read_bytes()
    return builder(weights=None, **extra), hashlib.sha256(source).hexdigest()


def _default_state(name: str) -> dict[str, Tensor]:
    entry = import_torchvision().models.get_model_weights(name).DEFAULT
    try:
        return dict(entry.get_state_dict(progress=False, check_hash=True))
    except OSError as error:
        raise NetworkError(
            f"--weights DEFAULT: the weights of {name} cannot be downloaded ({error}); give a file instead"
        ) from None


def _read_code(name: str) -> bytes:
    path = name.rpartition(":")[0]
    try:
        return Path(path).read_bytes()
    except OSError:
        raise NetworkError(f"--network {name}: no file {path!r}; expected FILE.py:FACTORY") from None


def _from_code(name: str, code: bytes) -> nn.Module:
    path, _, factory = name.rpartition(":")
    # A name that no other module has, so that a user's file never shadows a library.
    module_name = f"_neuron_atlas_network_{hashlib.sha256(code).hexdigest()[:12]}"
    user = ModuleType(module_name)
    user.__file__ = path
    sys.modules[module_name] = user
    try:
        exec(compile(code, path, "exec"), user.__dict__)
    except Exception as error:
        raise NetworkError(
            f"--network {name}: importing {path} raised {type(error).__name__}: {error}; mend the file"
        ) from None
    make = getattr(user, factory, None)
    if not callable(make):
        there = ", ".join(n for n, v in vars(user).items() if getattr(v, "__module__", None) == module_name)
        raise NetworkError(f"--network {name}: {path} has no function {factory!r}; it has {there or 'none'}")
    try:
        made = make()
    except Exception as error:
        raise NetworkError(f"--network {name}: {factory}() raised {type(error).__name__}: {error}") from None
    if not isinstance(made, nn.Module):
        raise NetworkError(f"--network {name}: {factory}() gave a {type(made).__name__}, expected a torch.nn.Module")
    return made


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

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on pickle's protocols: what counts is said below
            return torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0] if str(error) else "unsupported content"
        raise NetworkError(
            f"--weights {path}: refused, it holds more than tensors and could run code ({reason[:120]}); "
            "save module.state_dict() alone, best as safetensors"
        ) from None
    except (RuntimeError, EOFError, ValueError, OSError, KeyError) as error:
        raise NetworkError(f"--weights {path}: not a state dict ({str(error).splitlines()[0][:120]})") from None


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
