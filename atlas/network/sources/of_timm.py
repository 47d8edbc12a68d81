"""Networks by any name timm takes, with its `pretrained_cfg`: an optional dependency (`neuron-atlas[timm]`).

What travels to another machine is the configuration as JSON: architecture, arguments, `pretrained_cfg`; never a path.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import math
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from atlas.errors import NetworkError
from atlas.images.decode import Preprocessing
from atlas.network.sources.of_torchvision import import_torchvision

_PLACES = ("url", "file", "hf_hub_id", "hf_hub_filename", "source", "custom_load", "state_dict")
"""Entries of a `pretrained_cfg` that say where weights lie."""


def read(name: str) -> bytes:
    """The configuration of a network, as JSON. Raises `NetworkError` for an unknown name or a folder without one."""
    timm, wanted = _timm(name), name.removeprefix("timm:")
    where, _, rest = wanted.partition(":")
    hub = importlib.import_module("timm.models._hub")
    try:
        if where == "local-dir":
            found, architecture, arguments = hub.load_model_config_from_path(rest)
        elif where in ("hf-hub", "hf_hub"):
            found, architecture, arguments = hub.load_model_config_from_hf(rest)
        else:
            _check_known(timm, name, wanted)
            entry = importlib.import_module("timm.models").get_pretrained_cfg(wanted)
            found, architecture, arguments = (entry.to_dict() if entry is not None else {}), wanted, {}
    except NetworkError:
        raise
    except Exception as error:  # timm's and the hub's own kinds are many
        raise NetworkError(f"--network {name}: timm cannot find it ({_line(error)}); see timm.list_models()") from None
    told = {key: value for key, value in found.items() if key not in _PLACES}
    config = {"architecture": architecture, "model_args": arguments or {}, "pretrained_cfg": told}
    return json.dumps(config, sort_keys=True, default=list).encode()


def _check_known(timm: ModuleType, name: str, wanted: str) -> None:
    architecture = wanted.partition(".")[0]
    if timm.is_model(architecture):
        return
    close = get_close_matches(architecture, timm.list_models(), 3)
    hint = f"did you mean {', '.join(close)}?" if close else "see timm.list_models()"
    raise NetworkError(f"--network {name}: timm has no architecture {architecture!r}; {hint}")


def make(name: str, body: bytes | None, channels: int | None) -> tuple[nn.Module, str]:
    """The network with random weights, and the digest of its configuration and of the file that defines it."""
    assert body is not None
    timm, config = _timm(name), json.loads(body)
    extra = {} if channels is None else {"in_chans": channels}
    try:
        made = timm.create_model(
            config["architecture"],
            pretrained=False,
            pretrained_cfg=config["pretrained_cfg"] or None,
            **{**config["model_args"], **extra},
        )
        entry = importlib.import_module("timm.models").model_entrypoint(config["architecture"].partition(".")[0])
    except Exception as error:
        raise NetworkError(f"--network {name}: timm cannot make it ({_line(error)})") from None
    code = Path(inspect.getfile(inspect.unwrap(entry))).read_bytes()
    return made, hashlib.sha256(body + code).hexdigest()


def default_state(name: str, body: bytes | None, channels: int | None) -> dict[str, Tensor]:
    """The weights that timm loads for the name, adapted as timm does. Raises `NetworkError`."""
    timm = _timm(name)
    extra = {} if channels is None else {"in_chans": channels}
    try:
        made = timm.create_model(name.removeprefix("timm:"), pretrained=True, **extra)
    except Exception as error:
        raise NetworkError(
            f"--weights DEFAULT: timm cannot load the weights of {name} ({_line(error)}); give a file instead"
        ) from None
    return dict(made.state_dict())


def preprocessing(name: str, body: bytes | None) -> Preprocessing | None:
    """As `timm.data.resolve_data_config` has it. Raises `NetworkError` for an input that is not square."""
    assert body is not None
    import_torchvision()
    resolve = importlib.import_module("timm.data").resolve_data_config
    config = resolve({}, pretrained_cfg=json.loads(body)["pretrained_cfg"] or {"crop_pct": None})
    channels, height, width = config["input_size"]
    if height != width:
        raise NetworkError(f"--network {name}: its input is {height} x {width}; only square inputs are cut")
    return Preprocessing(
        resize=math.floor(height / config["crop_pct"]),
        crop=int(height),
        mean=tuple(map(float, config["mean"])),
        std=tuple(map(float, config["std"])),
        interpolation={"random": "bilinear"}.get(config["interpolation"], config["interpolation"]),
        crop_mode=config["crop_mode"],
        channels=int(channels),
    )


def labels(name: str, body: bytes | None) -> tuple[str, ...] | None:
    """Names of the classes, in their order, where the configuration has them."""
    assert body is not None
    found = json.loads(body)["pretrained_cfg"].get("label_names")
    if isinstance(found, Mapping):
        found = [found[key] for key in sorted(found, key=int)]
    return tuple(map(str, found)) if found else None


def _timm(name: str) -> ModuleType:
    import_torchvision()  # first, as it may need help to be imported at all
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise NetworkError(
            f"--network {name}: timm is not installed ({error}); pip install 'neuron-atlas[timm]'"
        ) from None


def _line(error: Exception) -> str:
    text: Any = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"
