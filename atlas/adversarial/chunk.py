"""Some images attacked: each finding as a file, and what the file, read back, gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from atlas.adversarial import attack, noise
from atlas.adversarial.attack import Best, Goal
from atlas.adversarial.settings import AdversarialSettings
from atlas.arrays import Doubles
from atlas.explain.backward import as_in_a_run
from atlas.visualize import files
from atlas.visualize.ascend import generator
from atlas.visualize.classes import itself

Pixels = NDArray[np.uint8]
NOISE = 4
"""The bound of L∞, in steps of 8 bits, whose noise stands beside the attacks."""


@dataclass(frozen=True)
class Fooled:
    """The network as the attacks see it: pixels 0 to 255 on its device, `rows` a call, missing ones filled."""

    module: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rows: int
    logits: Callable[[Any], Tensor] = itself

    def tensor(self, pixels: Sequence[Pixels]) -> Tensor:
        """(rows, C, h, w), the first repeated where there are fewer."""
        p = next(self.module.parameters())
        filled = np.stack([*pixels, *[pixels[0]] * (self.rows - len(pixels))]).transpose(0, 3, 1, 2)
        return torch.from_numpy(filled.copy()).to(p.device, p.dtype)

    def score(self, pixels: Tensor) -> Tensor:
        """Logits (N, classes)."""
        mean, std = (torch.tensor(v, dtype=pixels.dtype, device=pixels.device)[:, None, None] for v in (
            self.mean, self.std))  # fmt: skip
        inputs = ((pixels / 255 - mean) / std).contiguous(memory_format=torch.channels_last)
        return self.logits(self.module(inputs))

    @torch.no_grad()
    def scores(self, pixels: Sequence[Pixels]) -> Doubles:
        """Logits (N, classes) of stored pictures (h, w, C)."""
        found = []
        for start in range(0, len(pixels), self.rows):
            part = pixels[start : start + self.rows]
            found.append(self.score(self.tensor(part))[: len(part)].double().cpu().numpy())
        return np.concatenate(found)

    def classes(self, of: Sequence[int]) -> Tensor:
        """Classes (rows,), the first repeated."""
        filled = [*of, *[of[0]] * (self.rows - len(of))]
        return torch.tensor(filled, device=next(self.module.parameters()).device)


@dataclass(frozen=True)
class Found:
    """A stored picture. `target` None: away from the image's own class. `epsilon` in values 0 to 1, or a norm."""

    row: int
    attack: str
    target: int | None
    epsilon: float | None
    smallest: bool
    body: bytes
    pixels: Pixels
    predicted: int
    probability: float
    success: bool


def _array(pixels: Tensor) -> Pixels:
    return pixels.permute(0, 2, 3, 1).round().clamp(0, 255).to(torch.uint8).cpu().numpy()


def images(
    net: Fooled, pixels: Sequence[Pixels], own: Sequence[int], targets: Sequence[int], names: Sequence[int],
    settings: AdversarialSettings,
) -> list[Found]:  # fmt: skip
    """All that is tried on some images (at most `net.rows`), whose classes are `own`. `targets`: another class each;
    `names`: image_ids, which seed the noise. The network is left as it was."""
    start, found = net.tensor(pixels), []
    with as_in_a_run(net.module):
        for targeted in (False, True) if settings.targeted else (False,):
            goal = Goal(net.classes(targets if targeted else own), targeted)
            wanted: list[int | None] = list(targets) if targeted else [None] * len(pixels)
            best: Best | None = None
            by_level = []
            for level in settings.bounds:
                best = attack.linf(net.score, goal, start, level, settings.steps, best)
                made = list(_array(best.pixels)[: len(pixels)])
                by_level.append(stored(net, "linf", made, own, wanted, [level / 255] * len(made)))
            found += _least(by_level)
            near = attack.smallest_l2(net.score, goal, start, settings.steps, settings.bisections)
            sizes = attack.norms(near.pixels, start)[: len(pixels)].double().cpu().tolist()
            small = stored(net, "l2", list(_array(near.pixels)[: len(pixels)]), own, wanted, sizes)
            found += [_marked(each, each.success) for each in small]
        for name, made, sizes in _noises(pixels, names, settings.seed):
            found += stored(net, name, made, own, [None] * len(pixels), sizes)
    return found


def _noises(
    pixels: Sequence[Pixels], names: Sequence[int], seed: int
) -> list[tuple[str, list[Pixels], list[float | None]]]:
    flat = [noise.uniform(image, NOISE, generator(seed, "uniform", i)) for image, i in zip(pixels, names, strict=True)]
    norm = NOISE / 255 * float(np.sqrt(pixels[0].size))
    bell = [noise.gaussian(image, norm, generator(seed, "gaussian", i)) for image, i in zip(pixels, names, strict=True)]
    return [("noise", flat, [NOISE / 255] * len(flat)), ("noise_l2", bell, [norm] * len(bell))]


def _least(by_level: Sequence[Sequence[Found]]) -> list[Found]:
    """All levels, the first success of each image marked as the smallest."""
    found, done = [], set()
    for level in by_level:
        for each in level:
            found.append(_marked(each, each.success and each.row not in done))
            if each.success:
                done.add(each.row)
    return found


def _marked(each: Found, smallest: bool) -> Found:
    return Found(**{**each.__dict__, "smallest": smallest})


def stored(
    net: Fooled, name: str, made: Sequence[Pixels], own: Sequence[int | None], targets: Sequence[int | None],
    sizes: Sequence[float | None],
) -> list[Found]:  # fmt: skip
    """Each picture as a file, and what the network says of the file, read back."""
    bodies = [files.encode(picture) for picture in made]
    again = [files.decode(body, made[0].shape[2]) for body in bodies]
    out = []
    for row, scores in enumerate(net.scores(again)):
        away = np.exp(scores - scores.max())
        predicted = int(scores.argmax())
        there = predicted == targets[row] if targets[row] is not None else predicted != own[row]
        probability = float(away[predicted] / away.sum())
        out.append(
            Found(row, name, targets[row], sizes[row], False, bodies[row], again[row], predicted, probability, there)
        )
    return out


def fooling(net: Fooled, shape: tuple[int, int, int], classes: Sequence[int], steps: int, seed: int) -> list[Found]:
    """Noise of `shape` (h, w, C) that is taken for each of `classes`, at most `net.rows`."""
    start = [generator(seed, "fooling", c).integers(0, 256, shape).astype(np.uint8) for c in classes]
    with as_in_a_run(net.module):
        best = attack.fooling(net.score, Goal(net.classes(classes), True), net.tensor(start), steps)
        made = list(_array(best.pixels)[: len(classes)])
        return stored(net, "fooling", made, [None] * len(classes), list(classes), [None] * len(classes))
