"""One frozen dataclass of what a build is asked for; the command line, the TOML file and Python share its names."""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from atlas.errors import SettingsError
from atlas.types import PROJECTIONS, SIDES


def _option(default: Any, help: str, *, operational: bool = False) -> Any:
    """A setting with its help; `operational` ones never change the contents of an atlas."""
    metadata = {"help": help, "operational": operational}
    if default is MISSING:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """What `neuron-atlas build` takes. Sizes in pixels. Raises `SettingsError` for a value outside its range."""

    images: tuple[str, ...] = _option(MISSING, "folder, *.tar shards or Parquet file, local or s3://; one or more")
    network: str = _option(MISSING, "torchvision name, or FILE.py:FACTORY")
    out: str = _option(MISSING, "folder of the atlas, local or s3://", operational=True)
    weights: str | None = _option(None, "safetensors or a weights-only state dict; DEFAULT asks torchvision")
    layers: tuple[str, ...] = _option(("auto",), "auto (every convolution, linear layer, residual block), or names")
    exclude: tuple[str, ...] = _option((), "layers to leave out; * matches any text")
    k: int = _option(9, "examples a neuron and side")
    sides: tuple[str, ...] = _option(SIDES, "max, min, spread")
    sample: int = _option(4096, "images of the response sample")
    resize: int | None = _option(None, "shorter side after resizing; default from the weights entry, else 256")
    crop: int | None = _option(None, "side of the central square the network sees; default likewise, else 224")
    mean: tuple[float, ...] | None = _option(None, "mean of each channel, of 0 to 1; default likewise, else ImageNet's")
    std: tuple[float, ...] | None = _option(None, "standard deviation of each channel; default likewise")
    interpolation: str | None = _option(None, "nearest, bilinear, bicubic or lanczos; default likewise, else bilinear")
    class_names: str | None = _option(None, "TSV: folder or number, readable name; its order is the class index")
    code_layer: str | None = _option(None, "layer whose input is the code; default the one that gives the logits")
    map_layers: tuple[str, ...] = _option((), "layers whose responses are mapped by PCA")
    projections: tuple[str, ...] = _option(PROJECTIONS, "kinds of projection")
    projection_sides: tuple[str, ...] = _option(("max",), "sides whose examples are projected")
    evidence: int = _option(3, "examples a neuron whose pictures are put to the test")
    occlusion: int = _option(0, "examples a neuron with an occlusion map")
    thumbnails: int = _option(128, "longest side of a thumbnail; 0 for none")
    picture_size: int = _option(224, "longest side of a crop and of a projection")
    batch_size: int = _option(16, "images a call of the network; part of the result's last bits")
    unit_size: int = _option(1024, "images of a unit: the least work that is done, committed, and redone")
    threads: int = _option(1, "threads of a worker's network; part of the result's last bits")
    device: str = _option("auto", "auto, cpu or cuda")
    dtype: str = _option("float32", "float32, bfloat16 or float16")
    decode: str = _option("cpu", "cpu (Pillow), or gpu (nvJPEG, for JPEG images where CUDA is)")
    limit: int | None = _option(None, "only the first N images listed")
    seed: int = _option(0, "seed of all that is random")
    workers: str = _option("auto", "scanning actors; auto is one a core, or one a GPU", operational=True)
    decode_threads: str = _option("auto", "decoding threads a worker", operational=True)
    decoders: str = _option(
        "auto", "CPUs anywhere in the cluster that decode; auto is all beside GPU workers, else none", operational=True
    )
    in_flight_mb: int = _option(512, "decoded images waiting for the network, at most, a worker (MB)", operational=True)
    retries: int = _option(3, "how often a unit that fails is tried again", operational=True)
    address: str | None = _option(None, "address of a Ray cluster; without it an embedded one", operational=True)

    def __post_init__(self) -> None:
        _check(self)

    def identity(self) -> dict[str, Any]:
        """The settings that the contents of an atlas depend on, as plain JSON values."""
        kept = {f.name for f in fields(self) if not f.metadata["operational"]}
        return {name: _plain(value) for name, value in asdict(self).items() if name in kept}

    def differences(self, other: dict[str, Any]) -> list[str]:
        """Names of settings in which `other`, an earlier `identity()`, differs."""
        mine = self.identity()
        return sorted(name for name in mine.keys() | other.keys() if mine.get(name) != other.get(name))


OPERATIONAL = tuple(f.name for f in fields(Settings) if f.metadata["operational"] and f.name != "out")
"""Settings that never change what is built, only how."""


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


_RANGES: dict[str, tuple[int, int]] = {
    "k": (1, 1000),
    "sample": (10, 1_000_000),
    "resize": (1, 8192),
    "crop": (1, 8192),
    "evidence": (0, 1000),
    "occlusion": (0, 1000),
    "thumbnails": (0, 1024),
    "picture_size": (8, 4096),
    "batch_size": (1, 65536),
    "unit_size": (1, 1_000_000),
    "threads": (1, 1024),
    "limit": (1, 2**62),
    "seed": (0, 2**63 - 1),
    "in_flight_mb": (16, 1_000_000),
    "retries": (0, 100),
}
_CHOICES: dict[str, tuple[str, ...]] = {
    "interpolation": ("nearest", "bilinear", "bicubic", "lanczos"),
    "sides": SIDES,
    "projection_sides": SIDES,
    "projections": PROJECTIONS,
    "device": ("auto", "cpu", "cuda"),
    "dtype": ("float32", "bfloat16", "float16"),
    "decode": ("cpu", "gpu"),
}


def _check(settings: Settings) -> None:
    for name, (low, high) in _RANGES.items():
        value = getattr(settings, name)
        if value is not None and not low <= value <= high:
            raise SettingsError(f"--{_flag(name)} {value}: expected {low} to {high}")
    for name, allowed in _CHOICES.items():
        value = getattr(settings, name)
        for each in (value if isinstance(value, tuple) else (value,)) if value is not None else ():
            if each not in allowed:
                raise SettingsError(f"--{_flag(name)} {each!r}: expected one of {', '.join(allowed)}")
    for name in ("workers", "decode_threads"):
        value = getattr(settings, name)
        if value != "auto" and not (value.isascii() and value.isdigit() and 1 <= int(value) <= 1024):
            raise SettingsError(f"--{_flag(name)} {value!r}: expected auto, or a number from 1 to 1024")
    if settings.decoders != "auto" and not (settings.decoders.isascii() and settings.decoders.isdigit()):
        raise SettingsError(f"--decoders {settings.decoders!r}: expected auto, or a number; 0 is each worker by itself")
    if settings.decode == "gpu" and settings.decoders not in ("auto", "0"):
        raise SettingsError(f"--decoders {settings.decoders}: with --decode gpu each worker decodes by itself")
    for name in ("mean", "std"):
        value = getattr(settings, name)
        if value is not None and len(value) != 3:
            raise SettingsError(f"--{name} {value}: expected three numbers, one a channel (R,G,B)")
    if settings.std is not None and min(settings.std) <= 0:
        raise SettingsError(f"--std {settings.std}: expected numbers above 0")
    if settings.unit_size % settings.batch_size:
        raise SettingsError(
            f"--unit-size {settings.unit_size}: expected a multiple of --batch-size {settings.batch_size}"
        )
    if not settings.images:
        raise SettingsError("--images: expected at least one folder, *.tar shard or Parquet file")


def _flag(name: str) -> str:
    return name.replace("_", "-")


def from_mapping(values: dict[str, Any]) -> Settings:
    """Settings from plain values (a TOML file, JSON, the command line). Raises `SettingsError` naming the key."""
    known = {f.name: f for f in fields(Settings)}
    clean: dict[str, Any] = {}
    for raw, value in values.items():
        name = raw.replace("-", "_")
        if name not in known:
            raise SettingsError(f"unknown key {raw!r}: expected one of {', '.join(sorted(known))}")
        clean[name] = _typed(name, str(known[name].type), value)
    for name, f in known.items():
        if name not in clean and f.default is MISSING:
            raise SettingsError(f"--{_flag(name)} is missing: {f.metadata['help']}")
    return Settings(**clean)


def _typed(name: str, kind: str, value: Any) -> Any:
    """`value` as the setting's type; lists become tuples, one text becomes a list of its comma-separated parts."""
    if value is None and kind.endswith("| None"):
        return None
    if kind.startswith("tuple"):
        if isinstance(value, str):
            value = [value] if name == "images" else [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, list | tuple):
            return tuple(_number(name, v) if "float" in kind else _text(name, v) for v in value)
    if kind.startswith("int") and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind.startswith("str"):
        return str(value) if name in ("workers", "decode_threads") and isinstance(value, int) else _text(name, value)
    raise SettingsError(f"--{_flag(name)} {value!r}: expected {kind}")


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise SettingsError(f"--{_flag(name)} {value!r}: expected text")
    return value


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise SettingsError(f"--{_flag(name)} {value!r}: expected a number") from None


def read_toml(path: str) -> dict[str, Any]:
    """The keys of a settings file, unchecked. Raises `SettingsError` where it cannot be read."""
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"--config {path}: expected a TOML file that can be read ({error})") from None
