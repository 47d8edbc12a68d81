"""What is true of a layer whatever the images: the crops that its pictures need, and which kinds are defined for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from atlas.explain.aligned import Geometry, Images, geometry
from atlas.explain.backward import drawer, proven, refusal
from atlas.explain.rules import RULES
from atlas.explain.stop import as_in_a_run
from atlas.types import Layer


@dataclass(frozen=True)
class Prepared:
    """What is true of a layer whatever the images: its crops, and why some kinds are not defined for it."""

    crops: Geometry
    refused: Mapping[str, str] = field(default_factory=dict)

    def why_not(self, kind: str) -> str | None:
        """Why a kind is not defined for the network up to this layer, or None."""
        return self.refused.get(kind)

    def kinds(self, asked: Sequence[str]) -> tuple[str, ...]:
        """Those of `asked` that are defined for the network up to this layer."""
        return tuple(kind for kind in asked if kind not in self.refused)


def prepare(module: nn.Module, layer: Layer, images: Images, kinds: Sequence[str]) -> Prepared:
    """Tried on noise of the size of `images`, so it depends on the network alone."""
    noise = np.random.default_rng(0).integers(0, 256, (1, *images.pixels.shape[1:]))
    inputs = images.normalise(noise.astype(images.pixels.dtype))
    crops = proven(module, layer, geometry(layer, images.height, images.width), inputs)
    strict = [kind for kind in kinds if kind in RULES and not RULES[kind].linear]
    bent = refusal(module, layer, inputs) if strict else None
    with as_in_a_run(module):
        why = {kind: drawer(kind).why_not(module, layer, inputs) for kind in kinds if kind not in RULES}
    return Prepared(crops, {kind: said for kind, said in {**dict.fromkeys(strict, bent), **why}.items() if said})
