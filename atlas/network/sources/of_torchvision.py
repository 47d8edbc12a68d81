"""torchvision's classifiers, by name."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
import warnings
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from atlas.errors import NetworkError
from atlas.images.decode import Preprocessing

_schemas: list[torch.library.Library] = []


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


def read(name: str) -> bytes | None:
    """Nothing travels: the name is enough. Raises `NetworkError` for an unknown one."""
    models = import_torchvision().models
    known = models.list_models(module=models)
    if name not in known:
        close = get_close_matches(name, known, 3)
        hint = f"; did you mean {', '.join(close)}?" if close else "; or timm:NAME, or FILE.py:FACTORY for your own"
        raise NetworkError(f"--network {name}: unknown; expected a torchvision classifier{hint}")
    return None


def make(name: str, body: bytes | None, channels: int | None) -> tuple[nn.Module, str]:
    """The network with random weights, and the digest of the file that defines it."""
    read(name)
    if channels not in (None, 3):
        raise NetworkError(f"--channels {channels}: torchvision's {name} takes 3; use timm:NAME, or a file of your own")
    builder = import_torchvision().models.get_model_builder(name)
    # Googlenet and Inception warn about slow initial weights, which are about to be overwritten.
    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    source = Path(inspect.getfile(builder)).read_bytes()
    return builder(weights=None, **extra), hashlib.sha256(source).hexdigest()


def default_state(name: str, body: bytes | None, channels: int | None) -> dict[str, Tensor]:
    """torchvision's own weights, downloaded. Raises `NetworkError`."""
    entry = import_torchvision().models.get_model_weights(name).DEFAULT
    try:
        return dict(entry.get_state_dict(progress=False, check_hash=True))
    except OSError as error:
        raise NetworkError(
            f"--weights DEFAULT: the weights of {name} cannot be downloaded ({error}); give a file instead"
        ) from None


def preprocessing(name: str, body: bytes | None) -> Preprocessing | None:
    """That of the default weights entry; None where there is none."""
    entry = import_torchvision().models.get_model_weights(name)
    default = getattr(entry, "DEFAULT", None)
    p = None if default is None else default.transforms()
    if p is None or type(p).__name__ != "ImageClassification":
        return None
    return Preprocessing(
        int(p.resize_size[0]), int(p.crop_size[0]), tuple(p.mean), tuple(p.std), str(p.interpolation.value)
    )


def labels(name: str, body: bytes | None) -> tuple[str, ...] | None:
    return None
