"""An atlas with its network, ready to be asked: opened from the folder and from what the flags say of the originals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.network.session import Session
from atlas.read.catalog import Atlas
from atlas.store.sealed import Sealed
from atlas.types import Layer
from jobs import originals
from jobs.planning.network import plan_network
from probe.protocol import Identity, identity

if TYPE_CHECKING:
    from atlas.images.manifest import Manifest
    from atlas.settings import Settings


@dataclass(frozen=True, eq=False)
class Subject:
    """What is asked: an atlas, its network, and its images where they were given."""

    atlas: Atlas
    settings: Settings
    session: Session
    manifest: Manifest | None

    @property
    def name(self) -> str:
        return self.atlas.name

    @property
    def identity(self) -> Identity:
        return identity(self.atlas.about)

    @property
    def classes(self) -> bool:
        """Whether the network's output is logits of classes."""
        return not self.atlas.about["settings"].get("no_classes")

    def layer(self, name: str) -> Layer:
        """A layer. Raises `NotFoundError`."""
        return self.session.layers[self.atlas.store.layers.index(name)]

    def layers(self, names: tuple[str, ...]) -> list[Layer]:
        """Those layers, in the network's order; all without names. Raises `NotFoundError`."""
        if not names:
            return list(self.session.layers)
        wanted = {self.atlas.store.layers.index(name) for name in names}
        return [layer for number, layer in enumerate(self.session.layers) if number in wanted]

    def values(self, neurons: tuple[tuple[str, int], ...], to: str) -> dict[str, dict[int, float]]:
        """What stands in place of each neuron: 0, or the mean of its map over all images. Raises `NotFoundError`."""
        found: dict[str, dict[int, float]] = {}
        for layer, channel in neurons:
            number = self.atlas.store.layers.number(layer, channel)
            mean = float(self.atlas.store.neurons.numbers["map_mean"][number])
            found.setdefault(layer, {})[channel] = mean if to == "mean" and np.isfinite(mean) else 0.0
        return found

    def numbers(self, layer: Layer) -> Any:
        """Numbers (channels,) of a layer's neurons."""
        first = self.atlas.store.layers.first[self.atlas.store.layers.index(layer.name)]
        return np.arange(first, first + layer.channels)


def open_subject(location: str, given: Mapping[str, Any], threads: int = 1) -> Subject:
    """Opens an atlas and loads its network. `given`: where the originals lie now, as for `add`; images need not.

    Every call of the network has one image, whoever asks beside. Raises `SettingsError` naming what is another one,
    `FolderError` for a folder that is no sound atlas.
    """
    sealed = Sealed(location)
    needs = ("network", "images") if given.get("images") else ("network",)
    settings = originals.settings_for(sealed, location, given, needs)
    network = plan_network(settings)
    originals.check_network(sealed, network.about, asdict(network.preprocessing))
    manifest = None
    if given.get("images"):
        from atlas.images.manifest import list_images

        manifest = list_images(settings.images, settings.class_names, settings.limit)
        originals.check_images(sealed, manifest)
    atlas = Atlas(location)
    atlas.prepare()
    settings = replace(settings, batch_size=1, chunk_size="auto", threads=threads)
    return Subject(atlas, settings, network.session(settings), manifest)
