"""A neuron's picture on one image, drawn when it is asked for, with its evidence measured on the spot.

From the same rooms as the harvest's. One difference: a call of the network has one image here, and as many as the
build's batch says there, so last bits differ, and with them now and then a switch of a pool or a rectifier.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from atlas.arrays import Floats
from atlas.errors import InputError, NotFoundError
from atlas.explain import draw, masking, occlusion
from atlas.explain.aligned import Images
from atlas.explain.backward import Example, project_examples
from atlas.explain.crops import picture_shape
from atlas.explain.kinds import BY_NAME, SHOWN
from atlas.explain.prepared import Prepared, prepare
from atlas.harvest.drawn import _DRAW
from atlas.harvest.examples import why_not
from atlas.network.recorder import flat_of, positions_of
from atlas.read.examples import Example as Stored
from atlas.types import SIDES, Layer
from probe.forward import Ablation, forward, silenced
from probe.protocol import number
from probe.subjects import Subject

MAP, MAPS = "map", "maps"
KINDS = (*SHOWN, MAP, MAPS)
SMALLEST_MAP = 128
"""Longest side of a response map as a picture, at least."""


@dataclass(frozen=True)
class Picture:
    """An image file, and what is said of it."""

    body: bytes
    media: str
    said: Mapping[str, float | int | str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """Of which neuron and on what a picture is. `at` (y, x) where the position is known; `rank` as in `examples`."""

    layer: Layer
    channel: int
    kind: str
    side: str = "max"
    rank: int = 0
    at: tuple[int, int] | None = None


def picture(subject: Subject, pixels: NDArray[np.uint8], wanted: Wanted, ablation: Ablation | None = None) -> Picture:
    """Draws it. Raises `InputError` where the kind is not defined there, or there is nothing to draw."""
    if wanted.kind not in KINDS:
        raise InputError(f"kind={wanted.kind[:50]!r}: expected one of {', '.join(KINDS)}")
    maps = maps_on(subject, pixels, wanted.layer, ablation)  # (C, h, w)
    if wanted.kind == MAPS:
        return _all_maps(wanted.layer, maps)
    if wanted.kind == MAP:
        return _one_map(wanted, maps[wanted.channel])
    y, x, response = _position(wanted, maps[wanted.channel])
    reference = _reference(subject, wanted)
    if (response >= reference) if wanted.side == "min" else (response <= reference):
        raise InputError(why_not(response, reference, lowest=wanted.side == "min"))
    example = Example(0, wanted.channel, y, x, -1 if wanted.side == "min" else 1)
    said = {"response": response, "y": y, "x": x, "reference": reference}
    layers = [subject.layer(name) for name in ablation or {}]
    with silenced(subject.session.module, layers, ablation or {}):
        if wanted.kind == "occlusion":
            return _occluded(subject, pixels, wanted, example, said)
        return _projected(subject, pixels, wanted, example, said)


def maps_on(subject: Subject, pixels: NDArray[np.uint8], layer: Layer, ablation: Ablation | None = None) -> Floats:
    """A layer's maps (C, h, w) on what the network sees of an image."""
    taken: list[Floats] = []

    def take(which: Layer, maps: Tensor) -> None:
        if which.name == layer.name:
            taken.append(maps[0].float().cpu().numpy().copy())

    others = [subject.layer(name) for name in ablation or {} if name != layer.name]
    inputs = subject.session.call(pixels[None], [0])
    forward(subject.session.module, inputs, [layer, *others], take, ablation=ablation)
    return taken[0]


def _position(wanted: Wanted, own: Floats) -> tuple[int, int, float]:
    flat = own.reshape(-1)
    if wanted.at is not None:
        at = int(flat_of(wanted.layer, *wanted.at, own.shape[-1]))
        return *wanted.at, float(flat[at])
    best = int((-flat if wanted.side == "min" else flat).argmax())
    y, x = positions_of(wanted.layer, np.array([best]))
    return int(y[0]), int(x[0]), float(flat[best])


def _reference(subject: Subject, wanted: Wanted) -> float:
    number = subject.atlas.store.layers.number(wanted.layer.name, wanted.channel)
    found = float(
        subject.atlas.store.neurons.numbers["reference_min" if wanted.side == "min" else "reference_max"][number]
    )
    return 0.0 if math.isnan(found) else found


def _projected(
    subject: Subject, pixels: NDArray[np.uint8], wanted: Wanted, example: Example, said: dict[str, float | int]
) -> Picture:
    module, layer, kind = subject.session.module, wanted.layer, BY_NAME[wanted.kind]
    images, drawn_as = Images(pixels[None], subject.session.normalise), kind.beside or kind.name
    prepared = _prepared(subject, layer, drawn_as)
    why = prepared.why_not(drawn_as)
    if why is not None:
        raise InputError(f"kind={kind.name}: {why}")
    one = next(iter(project_examples(module, layer, prepared.crops, images, [example], [drawn_as], 1)))
    settings = subject.settings
    shape = picture_shape(layer.field, settings.picture_size)
    made = _DRAW[kind.scale](one.maps[drawn_as], shape, draw.FORMATS[settings.projection_format])
    if made is None:
        raise InputError("the signal is 0 everywhere: nothing of it reaches the image")
    evidence: Mapping[str, float] | None = None
    if kind.tested:
        token = f"evidence-{layer.index:03d}-{wanted.channel:05d}-{wanted.side}-{wanted.rank:02d}.mask"
        marked = masking.mark(one, example, said["reference"], images.height, images.width, token)
        tested = masking.test(module, layer, prepared.crops, images, [marked], settings.batch_size, settings.seed)
        evidence = tested[0].get(drawn_as)
    return Picture(made.body, _media(made), {**said, "seed": example.sign, "scale": made.scale, **(evidence or {})})


def _occluded(
    subject: Subject, pixels: NDArray[np.uint8], wanted: Wanted, example: Example, said: dict[str, float | int]
) -> Picture:
    module, layer = subject.session.module, wanted.layer
    images = Images(pixels[None], subject.session.normalise)
    crops = _prepared(subject, layer, None).crops
    found = next(iter(occlusion.occlusion_maps(module, layer, crops, images, [example], subject.session.batch_size)))
    values = occlusion.falls(found, example.sign, images.height, images.width)
    made = occlusion.draw_falls(values, found.response, picture_shape(layer.field, subject.settings.picture_size))
    if made is None:
        raise InputError(occlusion.WHY_NOTHING)
    return Picture(made.body, _media(made), {**said, "scale": made.scale})


@lru_cache(maxsize=4096)
def _prepared(subject: Subject, layer: Layer, kind: str | None) -> Prepared:
    """What is true of a layer whatever the image; it takes longer to find out than to draw a picture."""
    crop = subject.session.preprocessing
    black = np.zeros((1, crop.crop, crop.crop, crop.channels), np.uint8)
    images = Images(black, subject.session.normalise)
    return prepare(subject.session.module, layer, images, [] if kind is None else [kind])


def _media(made: draw.Drawn) -> str:
    return "image/jpeg" if made.ending == "jpg" else f"image/{made.ending}"


def _laid_out(layer: Layer, maps: Floats) -> Floats:
    """Maps (C, h, w) of an output; of tokens those of the patches, on their grid."""
    return maps if not layer.tokens else maps[:, 0, layer.prefix_tokens :].reshape(-1, layer.height, layer.width)


def _one_map(wanted: Wanted, own: Floats) -> Picture:
    """The response map: signed, around mid-grey."""
    values = _laid_out(wanted.layer, own[None])
    enlarge = max(1, math.ceil(SMALLEST_MAP / max(values.shape[1:])))
    size = values.shape[2] * enlarge, values.shape[1] * enlarge
    made = draw.signed(values, size)
    if made is None:
        raise InputError("the map is 0 everywhere")
    y, x, response = _position(wanted, own)
    return Picture(made.body, _media(made), {"response": response, "y": y, "x": x, "scale": made.scale})


def _all_maps(layer: Layer, maps: Floats) -> Picture:
    """All maps of a layer on a grid, a line apart: 0 black, one scale for all. Behind a rectifier what passes it."""
    values = _laid_out(layer, np.maximum(maps, 0) if layer.rectified else np.abs(maps))
    zeros = float((values == 0).mean())
    scale = draw.robust_scale(values)
    channels, height, width = values.shape
    columns = math.ceil(math.sqrt(channels * height / width))
    rows = math.ceil(channels / columns)
    grid = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, 3), (38, 50, 70), np.uint8)
    shades = np.rint(255 * np.minimum(values / (scale or 1.0), 1)).astype(np.uint8)
    for place, shade in enumerate(shades):
        row, column = divmod(place, columns)
        top, left = row * (height + 1), column * (width + 1)
        grid[top : top + height, left : left + width] = shade[..., None]
    enlarge = max(1, 640 // max(grid.shape[:2]))
    body = draw.encoded(grid, (grid.shape[1] * enlarge, grid.shape[0] * enlarge))
    said = {"zeros": zeros, "scale": scale, "columns": columns, "rows": rows}
    return Picture(body, f"image/{draw.ENDING}", said)


def of_example(subject: Subject, wanted: Wanted, values: Mapping[str, str]) -> tuple[Wanted, Stored]:
    """The stored example that `side` and `rank` name. Raises `NotFoundError`, `InputError`."""
    side, rank = str(values.get("side", "max")), number("rank", values.get("rank", 0), 0, 10_000)
    if side not in SIDES:
        raise InputError(f"side={side[:50]!r}: expected one of {', '.join(SIDES)}")
    of = subject.atlas.store.layers.number(wanted.layer.name, wanted.channel)
    for each in subject.atlas.store.examples.of(of):
        if (each.side, each.rank) == (side, rank):
            return replace(wanted, side=side, rank=rank, at=(each.y, each.x)), each
    raise NotFoundError(f"{wanted.layer.name} {wanted.channel}: has no example {side} {rank}")
