"""A user's own file with a function that makes the network."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import ModuleType

from torch import Tensor, nn

from atlas.errors import NetworkError
from atlas.images.decode import Preprocessing
from atlas.network.sources.of_torchvision import import_torchvision


def read(name: str) -> bytes:
    """The file. Raises `NetworkError` where there is none."""
    path = name.rpartition(":")[0]
    try:
        return Path(path).read_bytes()
    except OSError:
        raise NetworkError(f"--network {name}: no file {path!r}; expected FILE.py:FACTORY") from None


def make(name: str, body: bytes | None, channels: int | None) -> tuple[nn.Module, str]:
    """What the file's function gives, and the digest of the file. Raises `NetworkError` in one line."""
    assert body is not None
    path, _, factory = name.rpartition(":")
    if b"torchvision" in body or b"timm" in body:
        import_torchvision()  # first, as it may need help to be imported at all
    # A name that no other module has, so that a user's file never shadows a library.
    module_name = f"_neuron_atlas_network_{hashlib.sha256(body).hexdigest()[:12]}"
    user = ModuleType(module_name)
    user.__file__ = path
    sys.modules[module_name] = user
    try:
        exec(compile(body, path, "exec"), user.__dict__)
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
    return made, hashlib.sha256(body).hexdigest()


def default_state(name: str, body: bytes | None, channels: int | None) -> dict[str, Tensor]:
    raise NetworkError("--weights DEFAULT: only torchvision and timm networks have default weights; give a file")


def preprocessing(name: str, body: bytes | None) -> Preprocessing | None:
    return None


def labels(name: str, body: bytes | None) -> tuple[str, ...] | None:
    return None
