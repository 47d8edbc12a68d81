"""What is true of a layer whatever the images: the crops that its pictures need, and which kinds are defined for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from atlas.explain import gradcam
from atlas.explain.aligned import Geometry, Images, geometry
from atlas.explain.backward import proven, refusal
from atlas.explain.rules import RULES
from atlas.explain.stop import as_in_a_run
from atlas.types import Layer


@dataclass(frozen=True)
class Prepared:
    """What is true of a layer whatever the images: its crops, and which kinds are not defined for it.

    `refused`: why deconvnet and guided are not, or None. `mapless`: why gradcam is not, or None.
    """

    crops: Geometry
    refused: str | None
    mapless: str | None = None

    def why_not(self, kind: str) -> str | None:
        """Why a kind is not defined for the network up to this layer, or None."""
        if kind in RULES:
            return None if RULES[kind].linear else self.refused
        return self.mapless if kind == "gradcam" else None

    def kinds(self, asked: Sequence[str]) -> tuple[str, ...]:
        """Those of `asked` that are defined for the network up to this layer."""
        return tuple(kind for kind in asked if self.why_not(kind) is None)


def prepare(module: nn.Module, layer: Layer, images: Images, kinds: Sequence[str]) -> Prepared:
    """Tried on noise of the size of `images`, so it depends on the network alone."""
    noise = np.random.default_rng(0).integers(0, 256, (1, *images.pixels.shape[1:]))
    inputs = images.normalise(noise.astype(images.pixels.dtype))
    crops = proven(module, layer, geometry(layer, images.height, images.width), inputs)
    strict = any(not RULES[kind].linear for kind in kinds if kind in RULES)
    with as_in_a_run(module):
        mapless = "gradcam" in kinds and gradcam.source_of(module, layer, inputs) is None
    return Prepared(crops, refusal(module, layer, inputs) if strict else None, gradcam.WHY_NONE if mapless else None)
