"""The response sample of a sealed atlas, a layer at a time, and what was measured of its images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import safetensors.numpy

from atlas.arrays import Doubles, Floats, Ints
from atlas.errors import FolderError
from atlas.images import properties
from atlas.store import layout
from atlas.store.codes import matrix
from atlas.store.sealed import Sealed


@dataclass(frozen=True)
class Responses:
    """Responses (images, channels) of a layer; `image_ids` ascend."""

    image_ids: Ints
    maxima: Floats
    minima: Floats


def of_layer(sealed: Sealed, layer: str) -> Responses:
    """The responses of all neurons of a layer. Raises `FolderError`."""
    table = sealed.file("responses", sealed.layers.index(layer))
    if not len(table) or table.column("layer")[0].as_py() != layer:
        raise FolderError(f"{sealed.location}: expected responses of layer {layer}, found another layer; build again")
    table = table.sort_by("image_id")
    high, low = (np.asarray(matrix(table.column(side)), np.float32) for side in ("max", "min"))
    return Responses(np.asarray(table.column("image_id").to_numpy()), high, low)


def images(sealed: Sealed) -> pa.Table:
    """The rows of `images` that are in the response sample, image_id ascending."""
    first = next(iter(sealed.files("responses", ["image_id"])), None)
    ids = pa.array(np.sort(first.column("image_id").to_numpy()) if first is not None else [], pa.int64())
    table = sealed.table("images").sort_by("image_id")
    known = table.column("image_id").to_numpy()
    return table.take(pa.array(np.searchsorted(known, ids.to_numpy())))


def measured(sealed: Sealed, image_ids: Ints) -> dict[str, Doubles]:
    """Properties by name of images of the sample, nan where one is undefined or was not measured."""
    try:
        held = safetensors.numpy.load(sealed.bytes(layout.SAMPLE))
        ids, values = held["image_id"], held["properties"]
    except (KeyError, ValueError, safetensors.SafetensorError) as error:
        raise FolderError(f"{sealed.location}/{layout.SAMPLE}: cannot be read ({error}); build again") from None
    order = np.argsort(ids, kind="stable")
    found = np.full((len(image_ids), len(properties.NAMES)), np.nan)
    if len(ids):
        place = order[np.minimum(np.searchsorted(ids[order], image_ids), len(ids) - 1)]
        there = ids[place] == image_ids
        found[there] = values[place[there]]
    return {name: found[:, at] for at, name in enumerate(properties.NAMES)}
