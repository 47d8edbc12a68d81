"""A layer's pictures beside each other, once all its neurons are there: choice and agreement of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlas.arrays import Doubles, Floats
from atlas.visualize.ascend import generator
from atlas.visualize.chunk import Drawn, Neuron
from atlas.visualize.worth import agreement, choice, scaled


@dataclass(frozen=True)
class Worth:
    """What one picture is worth beside the others of its layer; None where it could not be put to the test."""

    choice: float | None = None
    choice_natural: float | None = None
    choice_other: float | None = None
    choice_shuffled: float | None = None
    agreement: float | None = None


def judge(neurons: Sequence[Neuron], layer: str, seed: int) -> dict[tuple[int, str, int, int], Worth]:
    """By (channel, method, sign, repeat). `choice` and its three companions are of pictures of sign +."""
    pictures = [drawn for neuron in neurons for drawn in neuron.pictures]
    agreed = _agreements(pictures)
    chosen = _choices(neurons, layer, seed)
    out = {}
    for drawn in pictures:
        wanted = drawn.wanted
        key = (wanted.channel, drawn.method, wanted.sign, wanted.repeat)
        numbers = chosen.get(key, {})
        out[key] = Worth(**numbers, agreement=agreed.get(key))
    return out


def _agreements(pictures: Sequence[Drawn]) -> dict[tuple[int, str, int, int], float]:
    found: dict[tuple[int, str, int, int], float] = {}
    for method in dict.fromkeys(drawn.method for drawn in pictures):
        group = [drawn for drawn in pictures if drawn.method == method]
        rows = scaled([np.stack([drawn.features for drawn in group])])[0]
        owners = np.array([2 * drawn.wanted.channel + (drawn.wanted.sign < 0) for drawn in group])
        repeats = np.array([drawn.wanted.repeat for drawn in group])
        for drawn, value in zip(group, agreement(rows, owners, repeats), strict=True):
            if np.isfinite(value):
                wanted = drawn.wanted
                found[wanted.channel, method, wanted.sign, wanted.repeat] = float(value)
    return found


def _choices(neurons: Sequence[Neuron], layer: str, seed: int) -> dict[tuple[int, str, int, int], dict[str, float]]:
    """Of the neurons that have as many images held out as the most; a mean over fewer than three says nothing."""
    most = max((len(n.held_out) for n in neurons if n.held_out is not None), default=0)
    tested = [n for n in neurons if n.held_out is not None and len(n.held_out) == most and n.natural is not None]
    if len(tested) < 3 or most < 2:
        return {}
    order = generator(seed, "other", layer).permutation(len(tested))
    other = np.empty(len(tested), np.int64)
    other[order] = np.roll(order, 1)  # each neuron gets another one's nine, each nine goes to one
    held = np.stack([n.held_out for n in tested if n.held_out is not None])
    natural = np.stack([n.natural for n in tested if n.natural is not None])
    common = {"choice_natural": natural, "choice_other": natural[other]}
    if all(n.shuffled is not None for n in tested):
        common["choice_shuffled"] = np.stack([n.shuffled for n in tested if n.shuffled is not None])
    found: dict[tuple[int, str, int, int], dict[str, float]] = {}
    columns = {name: _answers(reference, held) for name, reference in common.items()}
    for method, repeat in dict.fromkeys((d.method, d.wanted.repeat) for n in tested for d in n.pictures):
        mine = [
            d for n in tested for d in n.pictures if (d.method, d.wanted.repeat, d.wanted.sign) == (method, repeat, 1)
        ]
        if len(mine) != len(tested):
            continue
        answers = {"choice": _answers(np.stack([d.features for d in mine]), held), **columns}
        for row, drawn in enumerate(mine):
            key = (drawn.wanted.channel, method, 1, repeat)
            found[key] = {name: float(column[row]) for name, column in answers.items()}
    return found


def _answers(references: Floats, held_out: Floats) -> Doubles:
    first, second = scaled([references, held_out])
    return choice(first, second)
