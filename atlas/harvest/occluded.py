"""The occlusion maps of a layer's strongest examples, drawn on the box of the crop (Zeiler & Fergus 2014)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from atlas.explain import draw
from atlas.explain.aligned import Images
from atlas.explain.backward import Example
from atlas.explain.crops import picture_shape
from atlas.explain.occlusion import WHY_NOTHING, draw_falls, falls, occlusion_maps
from atlas.explain.prepared import Prepared
from atlas.harvest.examples import why_not
from atlas.network.session import Session
from atlas.store.pictures import PackWriter, Picture, missing
from atlas.tables.occlusion import OCCLUSION
from atlas.types import Layer

Row = Mapping[str, Any]
"""A row of `examples`, with `reference`: what the neuron's response is measured from on that side."""


def occlude(
    session: Session,
    layer: Layer,
    prepared: Prepared,
    rows: Sequence[Row],
    images: Images,
    places: Mapping[int, int],
    longest: int,
    pack: PackWriter,
) -> pa.Table:
    """Draws the maps of a layer's examples into the pack; where none can be, the row says why.

    `images` are the network's inputs, `places` the row of each image_id among them. Gives the table `occlusion`.
    """
    pictures: dict[int, Picture] = {}
    driven = []
    for number, row in enumerate(rows):
        if is_driven(row):
            driven.append(number)
        else:
            pictures[number] = missing(why_not(row["response"], row["reference"], lowest=row["side"] == "min"))
    examples = [_example(rows[number], places) for number in driven]
    maps = _maps(session, layer, prepared, images, examples, longest)
    for number, drawn in zip(driven, maps, strict=True):
        member = f"occlusion-{layer.index:03d}-{rows[number]['channel']:05d}-{rows[number]['side']}"
        name = f"{member}-{rows[number]['rank']:02d}.{draw.ENDING}"
        found = missing(WHY_NOTHING) if drawn is None else pack.add(name, drawn.body, scale=drawn.scale)
        pictures[number] = found
    names = ("layer", "channel", "side", "rank")
    named = [{**{name: row[name] for name in names}, "picture": pictures[i]} for i, row in enumerate(rows)]
    return pa.Table.from_pylist(named, schema=OCCLUSION.columns)


def is_driven(row: Row) -> bool:
    """Whether an example has something that could be hidden: a response beyond its reference."""
    beyond = row["response"] - row["reference"]
    return bool(beyond < 0 if row["side"] == "min" else beyond > 0)


def _example(row: Row, places: Mapping[int, int]) -> Example:
    sign = -1 if row["side"] == "min" else 1
    return Example(places[row["image_id"]], row["channel"], row["y"], row["x"], sign)


def _maps(
    session: Session, layer: Layer, prepared: Prepared, images: Images, examples: Sequence[Example], longest: int
) -> Iterator[draw.Drawn | None]:
    """Each example's map as a picture; None where nothing that is hidden changes the response."""
    shape = picture_shape(layer.field, longest)
    for each in occlusion_maps(session.module, layer, prepared.crops, images, examples, session.batch_size):
        values = falls(each, examples[each.index].sign, images.height, images.width)
        yield draw_falls(values, each.response, shape)
