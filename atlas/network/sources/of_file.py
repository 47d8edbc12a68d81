"""A user's own file with a function that makes the network."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from atlas.errors import NetworkError
from atlas.images.decode import Preprocessing
from atlas.network.sources.guest import guest
from atlas.network.sources.of_torchvision import import_torchvision


class _TorchvisionError(NetworkError):
    """torchvision was imported beside a torch build for which its C++ operators do not load."""


def read(name: str, flag: str = "--network") -> bytes:
    """The file. Raises `NetworkError` where there is none."""
    path = name.rpartition(":")[0]
    try:
        return Path(path).read_bytes()
    except OSError:
        raise NetworkError(f"{flag} {name}: no file {path!r}; expected FILE.py:FACTORY") from None


def make(name: str, body: bytes | None, channels: int | None) -> tuple[nn.Module, str]:
    """What the file's function gives, and the digest of the file. Raises `NetworkError` in one line."""
    assert body is not None
    made, digest = run(name, body, "--network")
    if not isinstance(made, nn.Module):
        factory = name.rpartition(":")[2]
        raise NetworkError(f"--network {name}: {factory}() gave a {type(made).__name__}, expected a torch.nn.Module")
    return made, digest


def run(name: str, body: bytes, flag: str) -> tuple[Any, str]:
    """Whatever the file's function gives, and the digest of the file. Raises `NetworkError` in one line."""
    try:
        made = _made(name, body, flag)
    except _TorchvisionError:
        import_torchvision()  # some module imports it, and it needs help to be imported
        made = _made(name, body, flag)
    return made, hashlib.sha256(body).hexdigest()


def _made(name: str, body: bytes, flag: str) -> Any:
    """What the function gives. Raises `NetworkError`."""
    path, _, factory = name.rpartition(":")
    # A name that no other module has, so that a user's file never shadows a library.
    module_name = f"_neuron_atlas_{flag.strip('-')}_{hashlib.sha256(body).hexdigest()[:12]}"
    user = ModuleType(module_name)
    user.__file__ = path
    sys.modules[module_name] = user
    try:
        with guest(f"{flag} {name}", f"importing {path}"):
            exec(compile(body, path, "exec"), user.__dict__)
    except NetworkError:
        raise
    except Exception as error:
        raise _raised(f"{flag} {name}", f"importing {path}", error, "; mend the file") from None
    make = getattr(user, factory, None)
    if not callable(make):
        there = ", ".join(n for n, v in vars(user).items() if getattr(v, "__module__", None) == module_name)
        raise NetworkError(f"{flag} {name}: {path} has no function {factory!r}; it has {there or 'none'}")
    try:
        with guest(f"{flag} {name}", f"{factory}()"):
            return make()
    except NetworkError:
        raise
    except Exception as error:
        raise _raised(f"{flag} {name}", f"{factory}()", error) from None


def _raised(asked: str, what: str, error: Exception, cure: str = "") -> NetworkError:
    kind = _TorchvisionError if "operator torchvision::" in str(error) else NetworkError
    return kind(f"{asked}: {what} raised {type(error).__name__}: {error}{cure}")


def default_state(name: str, body: bytes | None, channels: int | None) -> dict[str, Tensor]:
    raise NetworkError("--weights DEFAULT: only torchvision and timm networks have default weights; give a file")


def preprocessing(name: str, body: bytes | None) -> Preprocessing | None:
    return None


def labels(name: str, body: bytes | None) -> tuple[str, ...] | None:
    return None
