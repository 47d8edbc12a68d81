"""Some inversions through one layer: the pictures as files, and what their own pixels, read back, give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atlas.arrays import Doubles
from atlas.invert.invert import Encode, Priors, error, invert
from atlas.visualize import files
from atlas.visualize.ascend import generator
from atlas.visualize.canvas import Canvas
from atlas.visualize.neurons import Subject


@dataclass(frozen=True)
class Inverse:
    """A stored inverse (h, w, C) and the file it was read from. `error_other`: to another's code."""

    body: bytes
    pixels: NDArray[np.uint8]
    error: float
    error_other: float


@torch.no_grad()
def encoded(subject: Subject, encode: Encode, pixels: Sequence[NDArray[np.uint8]], rows: int) -> Tensor:
    """What a layer keeps of pictures (N, …), `rows` a call; missing rows are filled and dropped."""
    found = []
    for start in range(0, len(pixels), rows):
        part = np.stack(pixels[start : start + rows])
        found.append(encode(subject.inputs(part, rows))[: len(part)].clone())
    return torch.cat(found)


def work(
    subject: Subject, encode: Encode, side: tuple[int, int], wanted: Tensor, others: Tensor,
    about: Sequence[tuple[object, ...]], steps: int, weights: Priors, rows: int, seed: int,
) -> list[Inverse]:  # fmt: skip
    """Inverses of `wanted` (N, …), N ≤ `rows`, as 8-bit files of `side` (height, width).

    `others` (N, …): what the layer keeps of another image, for each. `about`: what each is, which seeds its start.
    Raises `ValueError` where the network gives no gradient.
    """
    count, device = len(wanted), subject.device
    fill = torch.zeros(rows - count, dtype=torch.long)
    target = torch.cat([wanted, wanted[fill]]).to(device)
    generators = [generator(seed, "inversions", *each) for each in about]
    generators += [generator("filled") for _ in range(rows - count)]
    space = subject.space(Canvas(0, 0, *side, 0, 0, max(side), True))
    made = invert(space, encode, target, generators, steps, weights)[:count]
    bodies = [files.encode(picture) for picture in made]
    stored = [files.decode(body, made.shape[3]) for body in bodies]
    found = encoded(subject, encode, stored, rows)
    errors, apart = (error(found, each.to(device)).double().cpu().numpy() for each in (wanted, others))
    return [Inverse(*each) for each in zip(bodies, stored, map(float, errors), map(float, apart), strict=True)]


def codes(subject: Subject, encode: Encode, pixels: Sequence[NDArray[np.uint8]], rows: int) -> Doubles:
    """Codes (N, dimensions) of pictures, `encode` being that of the atlas's code."""
    return np.asarray(encoded(subject, encode, pixels, rows).double().cpu().numpy())
