"""The network of a job: its source, its preprocessing, its layers. Bad input ends here, with nothing written."""

from __future__ import annotations

from dataclasses import dataclass, replace

from atlas.errors import NetworkError
from atlas.images.decode import Preprocessing
from atlas.network import layers, load, nvjpeg
from atlas.network.graph import trace
from atlas.network.load import NetworkSource
from atlas.network.session import Session, open_session
from atlas.network.sources.guest import guest
from atlas.settings import Settings
from atlas.types import Layer


@dataclass(frozen=True)
class NetworkPlan:
    """A network as workers get it. `about`: its name, and the digests of its source and of its weights."""

    source: NetworkSource
    preprocessing: Preprocessing
    layers: tuple[Layer, ...]
    code: tuple[str, int]
    about: dict[str, str]
    outputs: int | None = None
    """How many classes it tells apart; None with `--no-classes`."""
    labels: tuple[str, ...] = ()
    """What it calls its classes, where it says so."""

    @property
    def neurons(self) -> int:
        return sum(layer.channels for layer in self.layers)

    def session(self, settings: Settings) -> Session:
        """The network on this machine's device, as the settings say. Raises `InputError`."""
        return open_session(
            self.source,
            self.layers,
            self.code,
            self.preprocessing,
            batch_size=settings.batch_size,
            device=settings.device,
            dtype=settings.dtype,
            threads=settings.threads,
            decoding=settings.decode,
        )


def plan_network(settings: Settings) -> NetworkPlan:
    """Loads the network and finds its layers. Raises `InputError`."""
    if not settings.address:  # on a cluster the workers find out
        nvjpeg.check(settings.device, settings.decode)
    ask = load.Ask(settings.channels, settings.output, not settings.no_classes)
    source = load.fetch(settings.network, settings.weights, ask)
    loaded = load.build(source)
    preprocessing = resolve_preprocessing(settings, loaded.preprocessing)
    crop = preprocessing.crop
    with guest(f"--network {settings.network}", "its forward pass"):
        graph = trace(loaded.module, layers.example(loaded.module, crop, crop, preprocessing.channels))
    chosen = layers.layers_of(graph, settings.layers, settings.exclude)
    code = layers.OUTPUT if settings.no_classes else layers.code_source(graph, settings.code_layer)
    for name in settings.map_layers:
        if name not in {layer.name for layer in chosen}:
            raise NetworkError(f"--map-layers {name}: not among the layers of this build; see neuron-atlas layers")
    about = {
        "network": loaded.name.rpartition("/")[2],
        "source_digest": loaded.source_digest,
        "weights_digest": loaded.weights_digest,
    }
    outputs = None if settings.no_classes else int(graph.values[graph.output].shape[1])
    names = () if settings.no_classes else loaded.labels or ()
    return NetworkPlan(source, preprocessing, tuple(chosen), (code.module, code.call), about, outputs, names)


def resolve_preprocessing(settings: Settings, default: Preprocessing) -> Preprocessing:
    """The network's own preprocessing where the settings say nothing."""
    given = {
        name: getattr(settings, name)
        for name in ("resize", "crop", "mean", "std", "interpolation", "crop_mode")
        if getattr(settings, name) is not None
    }
    return replace(default, **given)
