"""One frozen dataclass of what a build is asked for; the command line, the TOML file and Python share its names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import partial
from typing import Any

from atlas import options
from atlas.errors import SettingsError
from atlas.explain.kinds import DEFAULT, PROJECTIONS
from atlas.options import option
from atlas.types import SIDES

LARGEST_CHUNK = 1024
CHUNKS = 16
"""Chunks that `--chunk-size auto` aims at, where there are images enough: so many workers have something to do."""

_images = partial(option, stage="images")
_network = partial(option, stage="network")
_scan = partial(option, stage="scan")
_harvest = partial(option, stage="harvest")
_analyse = partial(option, stage="analyse")
_parts = partial(option, stage="parts", operational=True)
_running = partial(option, stage="running")


@dataclass(frozen=True)
class Settings:
    """What `neuron-atlas build` takes. Sizes in pixels. Raises `SettingsError` for a value outside its range."""

    images: tuple[str, ...] = _images(
        MISSING, "folder, *.tar shards or Parquet file, local or s3://; one or more", several=True
    )
    network: str = _network(MISSING, "torchvision name, timm:NAME, or FILE.py:FACTORY")
    out: str = _running(MISSING, "folder of the atlas, local or s3://", operational=True)
    weights: str | None = _network(None, "safetensors or a weights-only state dict; DEFAULT asks torchvision or timm")
    layers: tuple[str, ...] = _network(("auto",), "auto (every convolution, linear layer, residual block), or names")
    exclude: tuple[str, ...] = _network((), "layers to leave out; * matches any text")
    code_layer: str | None = _network(None, "layer whose input is the code; default the one that gives the logits")
    output: str | None = _network(None, "which output holds the logits, by name or place, where there are several")
    no_classes: bool = _network(
        False, "the network gives features: no prediction, no accuracy, no class profile; the code is its output"
    )
    channels: int | None = _network(
        None, "channels of the input, 3 or 1 (grey); default the network's own", low=1, high=3
    )
    class_names: str | None = _images(None, "TSV: folder or number, readable name; its order is the class index")
    label_column: str | None = _images(
        None, "column of classes in Parquet files, or a sample's file ending or .json key in shards; default label, cls"
    )
    image_column: str | None = _images(
        None, "column of images in Parquet files, or a sample's file ending in shards; default image"
    )
    limit: int | None = _images(None, "only the first N images listed", low=1, high=2**62)
    resize: int | None = _images(
        None, "shorter side after resizing; default from the weights entry, else 256", low=1, high=8192
    )
    crop: int | None = _images(
        None, "side of the central square the network sees; default likewise, else 224", low=1, high=8192
    )
    crop_mode: str | None = _images(
        None,
        "what is resized: center, the shorter side; squash, both sides; border, the longer side; default likewise",
        choices=("center", "squash", "border"),
    )
    mean: tuple[float, ...] | None = _images(None, "mean of each channel, of 0 to 1; default likewise, else ImageNet's")
    std: tuple[float, ...] | None = _images(None, "standard deviation of each channel; default likewise")
    interpolation: str | None = _images(
        None,
        "nearest, bilinear, bicubic or lanczos; default likewise, else bilinear",
        choices=("nearest", "bilinear", "bicubic", "lanczos"),
    )
    decode: str = _images("cpu", "cpu (Pillow), or gpu (nvJPEG, for JPEG images where CUDA is)", choices=("cpu", "gpu"))
    k: int = _scan(9, "examples a neuron and side", low=1, high=1000)
    neurons: str = _harvest(
        "all", "all, or how many of each layer have examples and pictures; the rest keep their numbers"
    )
    sides: tuple[str, ...] = _scan(SIDES, "max, min, spread", choices=SIDES)
    sample: int = _scan(4096, "images of the response sample", low=10, high=1_000_000)
    thumbnails: int = _scan(128, "longest side of a thumbnail; 0 for none", low=0, high=1024)
    chunk_size: str = _scan(
        "auto",
        "images of a chunk: the least work that is done, committed, and redone; auto follows from their number",
        auto=True,
        low=1,
        high=1_000_000,
    )
    batch_size: int = _scan(16, "images a call of the network; part of the result's last bits", low=1, high=65536)
    threads: int = _scan(1, "threads of a worker's network; part of the result's last bits", low=1, high=1024)
    device: str = _scan("auto", "auto, cpu or cuda", choices=("auto", "cpu", "cuda"))
    dtype: str = _scan("float32", "float32, bfloat16 or float16", choices=("float32", "bfloat16", "float16"))
    picture_size: int = _harvest(224, "longest side of a crop and of a projection", low=8, high=4096)
    projections: tuple[str, ...] = _harvest(
        DEFAULT, "kinds of projection, or none: " + ", ".join(PROJECTIONS), choices=PROJECTIONS
    )
    projection_format: str = _harvest(
        "lossless",
        "lossless, or compact: at least 35 dB, in less than half the bytes",
        choices=("lossless", "compact"),
    )
    projection_sides: tuple[str, ...] = _harvest(("max",), "sides whose examples are projected", choices=SIDES)
    evidence: int = _harvest(3, "examples a neuron whose pictures are put to the test", low=0, high=1000)
    map_layers: tuple[str, ...] = _analyse((), "layers whose responses are mapped by PCA")
    with_parts: tuple[str, ...] = _parts((), "parts to add when it is sealed; add --list says which", name="with")
    occlusion: int = _parts(0, "examples a neuron with an occlusion map: the part occlusion", low=0, high=1000)
    seed: int = _running(0, "seed of all that is random", low=0, high=2**63 - 1)
    workers: str = _running(
        "auto", "scanning actors; auto is one a core, or one a GPU", auto=True, low=1, high=1024, operational=True
    )
    decode_threads: str = _running("auto", "decoding threads a worker", auto=True, low=1, high=1024, operational=True)
    decoders: str = _running(
        "auto",
        "CPUs anywhere in the cluster that decode; auto is all beside GPU workers, else none; 0 is each worker itself",
        auto=True,
        low=0,
        high=1_000_000,
        operational=True,
    )
    in_flight_mb: int = _running(
        512, "decoded images waiting for the network, at most, a worker (MB)", low=16, high=1_000_000, operational=True
    )
    retries: int = _running(3, "how often a chunk that fails is tried again", low=0, high=100, operational=True)
    address: str | None = _running(None, "address of a Ray cluster; without it an embedded one", operational=True)

    def __post_init__(self) -> None:
        options.check(self)
        _check(self)

    @property
    def neurons_a_layer(self) -> int | None:
        """How many neurons of each layer have examples; None for all."""
        return None if self.neurons == "all" else int(self.neurons)

    def identity(self) -> dict[str, Any]:
        """The settings that the contents of an atlas depend on, as plain JSON values."""
        return options.identity(self)

    def differences(self, other: dict[str, Any]) -> list[str]:
        """Names of settings in which `other`, an earlier `identity()`, differs."""
        mine = self.identity()
        return sorted(name for name in mine.keys() | other.keys() if mine.get(name) != other.get(name))


OPERATIONAL = tuple(f.name for f in fields(Settings) if f.metadata["operational"] and f.name != "out")
"""Settings that never change what is built: only how, and what is made afterwards."""
PLACES = ("network", "weights", "images", "class_names")
"""Settings that say where something lies: its contents count instead."""
RUNNING = tuple(f.name for f in fields(Settings) if f.name in OPERATIONAL and f.metadata["stage"] == "running")
"""Settings that say how work is shared out."""


def chunk_for(count: int, batch_size: int) -> int:
    """Images of a chunk where nobody says: a sixteenth of all, in whole batches, at most `LARGEST_CHUNK`.

    It depends on the number of images and the batch alone, never on the workers.
    """
    wanted = min(-(-count // CHUNKS), LARGEST_CHUNK)
    batches = -(-wanted // batch_size)
    return max(min(batches, LARGEST_CHUNK // batch_size), 1) * batch_size


def from_mapping(values: Mapping[str, Any]) -> Settings:
    """Settings from plain values (a TOML file, JSON, the command line). Raises `SettingsError` naming the key."""
    return options.made(Settings, values)


def _check(settings: Settings) -> None:
    """What one option says of another."""
    asked = settings.neurons
    if asked != "all" and not (asked.isascii() and asked.isdigit() and 1 <= int(asked) <= 1_000_000):
        raise SettingsError(f"--neurons {asked}: expected all, or a number from 1 to 1000000")
    if settings.decode == "gpu" and settings.decoders not in ("auto", "0"):
        raise SettingsError(f"--decoders {settings.decoders}: with --decode gpu each worker decodes by itself")
    for name in ("mean", "std"):
        value = getattr(settings, name)
        if value is not None and len(value) != (settings.channels or 3):
            expected = "one number" if settings.channels == 1 else "three numbers, one a channel (R,G,B)"
            raise SettingsError(f"--{name} {value}: expected {expected}")
    if settings.std is not None and min(settings.std) <= 0:
        raise SettingsError(f"--std {settings.std}: expected numbers above 0")
    if settings.no_classes and settings.code_layer:
        raise SettingsError(f"--code-layer {settings.code_layer}: with --no-classes the code is the network's output")
    if settings.channels == 2:
        raise SettingsError("--channels 2: expected 3, or 1 for grey")
    if settings.chunk_size != "auto" and int(settings.chunk_size) % settings.batch_size:
        raise SettingsError(
            f"--chunk-size {settings.chunk_size}: expected a multiple of --batch-size {settings.batch_size}"
        )
    if not settings.images:
        raise SettingsError("--images: expected at least one folder, *.tar shard or Parquet file")
