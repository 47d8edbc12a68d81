"""Examples run again from the original files: the response, its place, its field and its crop."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

import atlas
from atlas.errors import FolderError, ImageError
from atlas.explain import crops
from atlas.harvest.positions import TOLERANCE
from atlas.images import decode
from atlas.images.manifest import read_images
from atlas.network.gates import Gates
from atlas.network.recorder import Recorder, flat_of
from atlas.network.session import Session
from atlas.store import layout
from atlas.store.files import Folder
from atlas.store.sealed import Sealed
from atlas.types import Box, Layer
from jobs import originals
from jobs.planning.data import listed
from jobs.planning.network import plan_network


@dataclass
class Replay:
    """Largest differences over N examples, as shares of the size of the response."""

    examples: int
    response: float = 0.0
    outside: float = 0.0
    """Change of the response when all that lies outside the field is noise, and gates say what they said: the field is
    right if there is none."""
    moved: int = 0
    """Examples whose position is no longer the largest (or smallest) of the map."""
    crops: int = 0
    """Examples whose crop, cut again, has other bytes."""

    @property
    def ok(self) -> bool:
        return max(self.response, self.outside) <= TOLERANCE and not self.moved and not self.crops

    def __str__(self) -> str:
        return (
            f"replay: {self.examples} examples from the original files; largest difference of a response "
            f"{self.response:.2g} of its size, {self.outside:.2g} when all outside the field is noise; "
            f"{self.moved} positions moved, {self.crops} crops differ"
        )


@dataclass
class Replayed:
    """Rows of a part made again from the originals. `largest`: largest difference of each figure; `wrong`: what is."""

    rows: int
    largest: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.wrong

    def __str__(self) -> str:
        figures = ", ".join(f"{name} {value:.2g}" for name, value in self.largest.items()) or "nothing differs"
        said = f"replay: {self.rows} rows made again; largest differences: {figures}"
        return "\n  ".join([said, *self.wrong])


def replay(location: str, count: int, **given: Any) -> Replay:
    """Runs `count` examples, chosen by the atlas's seed, again. `given`: where the originals lie now, as for `add`.

    Raises `NotGivenError` where one is not said, `SettingsError` where one is another one, `FolderError` where an image
    is gone.
    """
    opened = atlas.open(location)
    sealed = Sealed(location)
    settings = originals.settings_for(sealed, location, given)
    network = plan_network(settings)
    originals.check_network(sealed, network.about, asdict(network.preprocessing))
    manifest = listed(settings, originals.network_names(sealed))
    originals.check_images(sealed, manifest)
    examples = _chosen(opened, count, settings.seed)
    again = _Again(network.session(settings), settings.picture_size)
    result = Replay(len(examples))
    ids = pa.array(sorted({e["image_id"] for e in examples}))
    rows = manifest.table.filter(pc.is_in(manifest.table.column("image_id"), value_set=ids))
    bodies = dict(read_images(rows))
    for example in examples:
        body = bodies[example["image_id"]]
        if isinstance(body, ImageError):
            raise FolderError(f"image {example['image_id']} cannot be read again ({body})")
        again.compare(example, body, _picture(opened.folder, example["crop"]), result)
    return result


def _picture(folder: Folder, picture: dict[str, Any]) -> bytes:
    return folder.range(layout.pack_path(picture["pack"]), picture["offset"], picture["length"])


def _chosen(opened: Any, count: int, seed: int) -> list[dict[str, Any]]:
    table = opened.query("SELECT * FROM examples").to_arrow_table()
    rows = np.random.default_rng(seed).permutation(len(table))[:count]
    chosen: list[dict[str, Any]] = table.take(pa.array(np.sort(rows))).to_pylist()
    return chosen


class _Again:
    """A network, ready to run single examples in their slots."""

    def __init__(self, session: Session, picture_size: int) -> None:
        self.session, self.picture_size = session, picture_size

    def compare(self, example: dict[str, Any], body: bytes, crop: bytes, result: Replay) -> None:
        """Adds one example's differences to `result`."""
        session = self.session
        layer = session.layer(example["layer"])
        image = decode.decode(body)
        pixels = decode.to_input(image, session.preprocessing)  # (H, W, 3)
        slot = example["image_id"] % session.batch_size
        response = example["response"]
        size = max(abs(response), 1e-3)
        gates = Gates([]) if layer.field.gated else nullcontext()
        found = self._map(layer, example["channel"], pixels, slot, gates)
        at = int(flat_of(layer, example["y"], example["x"], found.shape[1]))
        here = float(found.flat[at])
        best = float(found.min() if example["side"] == "min" else found.max())
        result.response = max(result.response, abs(here - response) / size)
        result.moved += best != here
        box = layer.field.box(example["y"], example["x"])
        if layer.field.gated or not layer.field.global_field:  # else nothing lies outside
            again = gates.again() if isinstance(gates, Gates) else gates  # a gate sees more than the box that is cut
            noisy = self._map(layer, example["channel"], _noise_outside(pixels, box), slot, again)
            result.outside = max(result.outside, abs(float(noisy.flat[at]) - here) / size)
        place = decode.place(image.width, image.height, session.preprocessing)
        shape = crops.picture_shape(layer.field, self.picture_size)
        result.crops += crops.encode(crops.cut(image, place.to_stored(box), shape, session.fill)) != crop

    def _map(
        self, layer: Layer, channel: int, pixels: NDArray[np.uint8], slot: int, gates: AbstractContextManager[Any]
    ) -> NDArray[np.float32]:
        """The neuron's feature map (H, W)."""
        taken: list[Tensor] = []
        with (
            torch.no_grad(),
            gates,
            Recorder(
                self.session.module,
                [layer],
                lambda _, output: taken.append(output[slot, channel].float().cpu().clone()),
                stop=True,
            ) as recorder,
        ):
            recorder.run(self.session.call(pixels[None], [slot]))
        return np.asarray(taken[0].numpy())


def _noise_outside(pixels: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """The pixels (H, W, 3) with all that lies outside the box replaced by noise."""
    noise = np.random.default_rng(0).integers(0, 256, pixels.shape, np.uint8)
    top, bottom = max(int(box.top), 0), max(int(box.bottom), 0)
    left, right = max(int(box.left), 0), max(int(box.right), 0)
    noise[top:bottom, left:right] = pixels[top:bottom, left:right]
    return noise
