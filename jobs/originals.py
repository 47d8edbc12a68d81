"""Where the network, the weights and the images of a sealed atlas lie now, and whether they are still the same.

An atlas may come from a stranger, so it never names what runs or is read here: files are only ever taken from flags.
A name that torchvision or timm knows may come from the atlas, and so may their default weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from atlas.errors import ImageError, SettingsError
from atlas.images.manifest import Manifest, read_images
from atlas.network.sources import may_come_from_an_atlas
from atlas.settings import OPERATIONAL, PLACES, RUNNING, Settings, from_mapping
from atlas.store.sealed import Sealed

COMPARED = 32
"""Images whose bytes are compared before anything starts; workers compare each one that they read."""


class NotGivenError(SettingsError):
    """Nobody says where an original lies now."""


def is_public(network: str) -> bool:
    """Whether a name says nothing of this machine: one of torchvision, or of timm without a folder to load from."""
    return may_come_from_an_atlas(network)


def settings_for(
    sealed: Sealed, out: str, given: Mapping[str, Any], needs: tuple[str, ...] = ("network", "images")
) -> Settings:
    """The settings of the atlas with the places of today. `given`: flags, None where one is not given.

    Raises `SettingsError` naming the flag that is missing.
    """
    known = {f.name for f in fields(Settings)}
    apart = {*PLACES, "out", "with_parts", "occlusion", *OPERATIONAL}
    saved = sealed.about["settings"]
    kept = {name: value for name, value in saved.items() if name in known - apart and value is not None}
    places = {name: given.get(name) for name in PLACES} | {"images": tuple(given.get("images") or ())}
    if "network" in needs:
        places |= _network(sealed, saved, given)
    if "images" in needs:
        if not places["images"]:
            raise NotGivenError(f"{sealed.location}: say where its images lie now, with --images SRC [SRC …]")
        if saved.get("class_names") and not places["class_names"]:
            raise NotGivenError(f"{sealed.location}: was built with class names; give the file with --class-names")
    absent = {"network": places["network"] or "none", "images": places["images"] or ("none",)}
    operational = {name: given[name] for name in RUNNING if given.get(name) is not None}
    return from_mapping({**kept, **places, **absent, **operational, "out": out})


def _network(sealed: Sealed, saved: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    network, weights = given.get("network"), given.get("weights")
    public = is_public(str(saved.get("network", ":")))
    if network is None:
        if not public:
            raise NotGivenError(
                f"{sealed.location}: its network is code, which only runs from where you say: "
                "give --network FILE.py:FACTORY"
            )
        network = saved["network"]
    if weights is None:
        if saved.get("weights") != "DEFAULT" or not is_public(network):
            raise NotGivenError(f"{sealed.location}: say where its weights lie now, with --weights FILE")
        weights = "DEFAULT"
    return {"network": network, "weights": weights}


def network_names(sealed: Sealed) -> tuple[str, ...]:
    """What the network calls its classes, where the atlas's classes are those."""
    data = sealed.about["data"]
    return tuple(data["classes"]) if data.get("named_by") == "network" else ()


def check_network(sealed: Sealed, about: Mapping[str, str], preprocessing: Mapping[str, Any]) -> None:
    """Compares a network with the atlas's. Raises `SettingsError` naming what is another one."""
    before = sealed.about["settings"]["identity"]
    for name, flag in (("source_digest", "--network"), ("weights_digest", "--weights")):
        if before.get(name) != about[name]:
            raise SettingsError(
                f"{flag}: not the one that {sealed.location} was built from ({name} {about[name][:12]}, "
                f"expected {str(before.get(name))[:12]})"
            )
    for name, value in preprocessing.items():
        plain = list(value) if isinstance(value, tuple) else value
        if before.get(f"preprocessing_{name}", plain) != plain:
            raise SettingsError(f"{sealed.location}: was built with another {name}; mend the network's own defaults")


def check_images(sealed: Sealed, manifest: Manifest) -> None:
    """Compares images with the atlas's: their names and classes, and the bytes of some.

    Raises `SettingsError` naming the image that is another one.
    """
    data = sealed.about["data"]
    if manifest.digest != data["manifest_digest"]:
        raise SettingsError(
            f"--images: not those that {sealed.location} was built from ({len(manifest.table):,} images of "
            f"{len(manifest.classes)} classes, expected {data['count']:,} of {len(data['classes'])}, by the same names)"
        )
    known = contents(sealed)
    some = sorted(np.random.default_rng(0).permutation(known.ids)[:COMPARED].tolist())
    for image_id, body in read_images(manifest.table.take(pa.array(some, pa.int64()))):
        if isinstance(body, ImageError):
            raise SettingsError(f"--images: image {image_id} cannot be read ({body}); restore it")
        if hashlib.sha256(body).digest() != known.get(image_id):
            key = manifest.table.column("key")[image_id].as_py()
            raise SettingsError(f"--images: {key} is not the one that {sealed.location} was built from; restore it")


@dataclass(frozen=True)
class Contents:
    """SHA-256 of the stored bytes of the images `ids` (N,), which ascend."""

    ids: NDArray[np.int64]
    digests: pa.ChunkedArray

    def get(self, image_id: int) -> bytes | None:
        """An image's digest; None for one that the atlas does not have."""
        row = int(np.searchsorted(self.ids, image_id))
        there = row < len(self.ids) and self.ids[row] == image_id
        return bytes(self.digests[row].as_py()) if there else None


def contents(sealed: Sealed) -> Contents:
    """The digests of all images of an atlas."""
    rows = sealed.table("images", ["image_id", "content"])
    return Contents(rows.column("image_id").to_numpy(), rows.column("content"))
