"""The occlusion maps of a chunk's strongest examples, drawn on the box of the crop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from atlas.arrays import Ints
from atlas.explain import draw
from atlas.explain.aligned import Images
from atlas.explain.backward import Example
from atlas.explain.crops import picture_shape
from atlas.explain.occlusion import WHY_NOTHING, draw_falls, falls, occlusion_maps
from atlas.explain.prepared import Prepared, prepare
from atlas.explain.rules import RULES
from atlas.harvest.examples import Found
from atlas.store.pictures import PackWriter, missing


@dataclass(frozen=True)
class OcclusionSettings:
    """How many of the strongest examples a neuron get a map, and on which sides."""

    examples: int
    sides: tuple[str, ...]
    longest: int
    batch_size: int


def occlude_found(
    module: nn.Module,
    found: Found,
    images: Images,
    settings: OcclusionSettings,
    pack: PackWriter,
    known: dict[int, Prepared] | None = None,
) -> None:
    """Draws the occlusion maps of a chunk's examples into the pack; where none can be, the row says why.

    `known` keeps what was prepared a layer, by its number; `atlas.harvest.drawn.project_found` fills the same.
    """
    rows, known = _drawable(found, settings), {} if known is None else known
    for number, layer in enumerate(found.layers):
        of_layer = rows[found.number[rows] == number].tolist()
        if not of_layer:
            continue
        if number not in known:
            known[number] = prepare(module, layer, images, tuple(RULES))
        shape = picture_shape(layer.field, settings.longest)
        examples = [
            Example(
                int(found.image[row]), int(found.channel[row]), int(found.y[row]), int(found.x[row]), _sign(found, row)
            )
            for row in of_layer
        ]
        for each in occlusion_maps(module, layer, known[number].crops, images, examples, settings.batch_size):
            row = of_layer[each.index]
            values = falls(each, _sign(found, row), images.height, images.width)
            drawn = draw_falls(values, each.response, shape)
            picture = (
                missing(WHY_NOTHING)
                if drawn is None
                else pack.add(found.member("occlusion", row, draw.ENDING), drawn.body, scale=drawn.scale)
            )
            found.explain("occlusion", row, picture)


def _sign(found: Found, row: int) -> int:
    return -1 if found.lowest[row] else 1


def _drawable(found: Found, settings: OcclusionSettings) -> Ints:
    """Rows of the strongest examples; one that is not driven has nothing that could be hidden."""
    sided = np.array([side in settings.sides and side != "spread" for side in found.side], bool)  # no order of strength
    wanted = sided & (found.rank < settings.examples)
    for row in np.flatnonzero(wanted & ~found.driven).tolist():
        found.explain("occlusion", row, missing(found.why_not(row)))
    return np.flatnonzero(wanted & found.driven)
