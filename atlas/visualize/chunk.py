"""Some neurons of a layer: their pictures, the numbers of each, and the features that the layer's comparison needs.

What compares neurons with each other (`choice`, `agreement`) needs the whole layer, and is done once all chunks are
there, from the features kept here (`atlas.visualize.layer`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from atlas.arrays import Doubles, Floats
from atlas.explain.backward import rows_for
from atlas.explain.sanity import randomised
from atlas.types import Layer
from atlas.visualize import files
from atlas.visualize.ascend import Recipe
from atlas.visualize.canvas import Canvas
from atlas.visualize.features import features, judge_of, up_to
from atlas.visualize.natural import Natural
from atlas.visualize.neurons import Subject, Wanted, attained, draw, respond
from atlas.visualize.path import path
from atlas.visualize.settings import VisualizationSettings

UNREACHED = "no step of the ascent had a gradient: nothing in the input changes its response"
SHUFFLED = "visualizations"
"""Names the permutation of the weights for `choice_shuffled`."""


@dataclass(frozen=True)
class Drawn:
    """A stored picture and its numbers. `values` (channels,): the layer's at the canvas's position."""

    wanted: Wanted
    method: str
    body: bytes
    response: float
    attained: float | None
    path: float | None
    values: Doubles
    features: Floats


@dataclass(frozen=True)
class Neuron:
    """All of a neuron's pictures, and the features (D,) or (n, D) in the judging layer of what they are compared with.

    `shuffled`: of the picture made on shuffled weights. None where the neuron has no such pictures.
    """

    channel: int
    pictures: Sequence[Drawn]
    natural: Floats | None
    held_out: Floats | None
    shuffled: Floats | None
    why: str | None = None


def chunk_size(settings: VisualizationSettings) -> int:
    """Neurons of a chunk: as many as fill one call of the network."""
    return max(1, settings.rows // (len(settings.directions) * settings.repeats))


def wanted_of(channels: Sequence[int], settings: VisualizationSettings) -> list[Wanted]:
    """The pictures of some neurons, neuron by neuron."""
    return [
        Wanted(c, sign, repeat) for c in channels for sign in settings.directions for repeat in range(settings.repeats)
    ]


def recipe(method: str, canvas: Canvas, settings: VisualizationSettings, count: int) -> Recipe:
    """How pictures of a method are made; a call has `settings.rows` rows, or half as often as they still fit."""
    jitter = 0.0 if method == "l2" else canvas.jitter
    return Recipe(method, settings.steps, jitter, rows_for(min(count, settings.rows), settings.rows))


def work(
    subject: Subject, layers: Sequence[Layer], layer: Layer, canvas: Canvas, channels: Sequence[int],
    natural: Mapping[int, Natural], settings: VisualizationSettings,
) -> list[Neuron]:  # fmt: skip
    """The neurons `channels` of `layer`, one of `layers` from input to output; `natural` by channel.

    Where the network gives no gradient the neurons have no pictures and say why. The network is left as it was.
    """
    wanted, judge = wanted_of(channels, settings), judge_of(layer, layers)
    drawn: dict[int, list[Drawn]] = {channel: [] for channel in channels}
    unreached: set[int] = set()
    try:
        for method in settings.methods:
            made = draw(subject, layer, canvas, wanted, recipe(method, canvas, settings, len(wanted)), settings.seed)
            unreached |= {w.channel for w, reached in zip(wanted, made.reached, strict=True) if not reached}
            for each in _measured(subject, layers, layer, canvas, wanted, method, made.pixels, natural, settings):
                drawn[each.wanted.channel].append(each)
        controls = _controls(subject, layer, canvas, channels, settings)
    except ValueError as error:
        return [Neuron(channel, [], None, None, None, str(error)) for channel in channels]
    shuffled = features(subject, [judge], controls, settings.rows)[0] if len(controls) else None
    found = []
    for row, channel in enumerate(channels):
        if channel in unreached:
            found.append(Neuron(channel, [], None, None, None, UNREACHED))
            continue
        theirs = natural.get(channel)
        kept = [_kept(subject, judge, each, settings) for each in (theirs.strongest, theirs.held_out)] if theirs else []
        nine, held_out = kept or (None, None)
        middle = nine.mean(0) if nine is not None else None
        found.append(Neuron(channel, drawn[channel], middle, held_out, shuffled[row] if shuffled is not None else None))
    return found


def _kept(subject: Subject, judge: Layer, pixels: NDArray[np.uint8], settings: VisualizationSettings) -> Floats | None:
    return features(subject, [judge], pixels, settings.rows)[0] if len(pixels) else None


def _measured(
    subject: Subject, layers: Sequence[Layer], layer: Layer, canvas: Canvas, wanted: Sequence[Wanted], method: str,
    made: NDArray[np.uint8], natural: Mapping[int, Natural], settings: VisualizationSettings,
) -> list[Drawn]:  # fmt: skip
    """Each picture as a file, and what its own pixels, read back, give."""
    bodies = [files.encode(picture) for picture in made]
    stored = np.stack([files.decode(body, made.shape[3]) for body in bodies])
    values = respond(subject, layer, canvas, stored, settings.rows)
    judged = features(subject, [judge_of(layer, layers)], stored, settings.rows)[0]
    paths = _paths(subject, up_to(layer, layers), stored, wanted, natural, settings)
    out = []
    for row, each in enumerate(wanted):
        response, theirs = float(values[row, each.channel]), natural.get(each.channel)
        share = attained(response, each.sign, theirs.largest, theirs.smallest) if theirs else None
        out.append(Drawn(each, method, bodies[row], response, share, paths[row], values[row], judged[row]))
    return out


def _paths(
    subject: Subject, layers: Sequence[Layer], stored: NDArray[np.uint8], wanted: Sequence[Wanted],
    natural: Mapping[int, Natural], settings: VisualizationSettings,
) -> list[float | None]:  # fmt: skip
    """Of pictures of sign +; the natural ones are the strongest of side `max`."""
    found: list[float | None] = [None] * len(wanted)
    for channel in dict.fromkeys(each.channel for each in wanted):
        rows = [row for row, each in enumerate(wanted) if each.channel == channel and each.sign > 0]
        theirs = natural.get(channel)
        if theirs is None or not rows or not len(theirs.random) or len(theirs.strongest) < 2:
            continue
        groups = (stored[rows], theirs.strongest, theirs.random)
        seen = features(subject, layers, np.concatenate(groups), settings.rows)
        means = [each[:, : each.shape[1] // 2] for each in seen]
        first, second = len(rows), len(rows) + len(theirs.strongest)
        values = path([m[:first] for m in means], [m[first:second] for m in means], [m[second:] for m in means])
        for row, value in zip(rows, values, strict=True):
            found[row] = value
    return found


def _controls(
    subject: Subject, layer: Layer, canvas: Canvas, channels: Sequence[int], settings: VisualizationSettings
) -> NDArray[np.uint8]:
    """A picture a neuron, of sign +, made on shuffled weights by the first method: what pictures say of no network."""
    if 1 not in settings.directions:
        return np.zeros((0, canvas.height, canvas.width, subject.spectrum.channels), np.uint8)
    wanted = [Wanted(channel, 1, 0) for channel in channels]
    how = recipe(settings.methods[0], canvas, settings, len(wanted))
    with randomised(subject.module, _parameters(subject.module), settings.seed, SHUFFLED):
        return draw(subject, layer, canvas, wanted, how, settings.seed).pixels


def _parameters(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_parameters()]
