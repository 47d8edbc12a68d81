"""Pictures of classes: what raises a class's logit (Simonyan et al. 2014), and what raises its probability.

The logit asks what the class looks like to the network; the probability also rises by what lowers the other classes
(Nguyen et al. 2015), and its pictures differ: that difference is the lesson. The canvas is the whole input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from atlas.arrays import Doubles
from atlas.explain.backward import as_in_a_run
from atlas.visualize import files
from atlas.visualize.ascend import Recipe, ascend, generator
from atlas.visualize.canvas import MARGIN
from atlas.visualize.neurons import Normalised, Subject
from atlas.visualize.objectives import OBJECTIVES, Goal, Goals
from atlas.visualize.parametrisations import Space

FORMS = {"l2": "l2_penalty", "fourier": "fourier", "maco": "maco"}
"""The parametrisation by which a class's picture of a method is made: `l2` from the zero image, with a penalty."""

Logits = Callable[[Any], Tensor]
"""The logits (N, classes) in a network's output; a tensor is the logits itself."""


@dataclass(frozen=True)
class ClassPicture:
    """A stored picture of a class. `logit`, `probability`, `rank` (0: the prediction) from the file, read again."""

    class_id: int
    method: str
    objective: str
    repeat: int
    body: bytes
    logit: float
    probability: float
    rank: int


def itself(output: Any) -> Tensor:
    """The logits of a network whose output is one tensor."""
    assert isinstance(output, Tensor)
    return output.flatten(1)


def draw_classes(
    subject: Subject, side: tuple[int, int], classes: Sequence[int], repeats: int, method: str, objective: str,
    steps: int, rows: int, seed: int, logits: Logits = itself,
) -> list[ClassPicture]:  # fmt: skip
    """Pictures of `classes` on inputs of `side` (height, width), `rows` at a time. Raises `ValueError` as `ascend`.

    `objective`: `logit` or `probability`. From the zero image there is one picture, so `l2` has repeat 0 alone.
    """
    wanted = [(c, repeat) for c in classes for repeat in range(1 if method == "l2" else repeats)]
    jitter = 0.0 if method == "l2" else max(side) / MARGIN
    recipe = Recipe(FORMS[method], steps, jitter, rows)
    p = next(subject.module.parameters())
    space = Space(*side, subject.spectrum, subject.mean, subject.std, subject.device, p.dtype)
    found: list[ClassPicture] = []
    with as_in_a_run(subject.module):
        for start in range(0, len(wanted), rows):
            group = wanted[start : start + rows]
            filled = [*group, *(group[0] for _ in range(rows - len(group)))]
            goals = Goals.of([Goal(c) for c, _ in filled], subject.device)

            def raised(inputs: Tensor, goals: Goals = goals) -> Tensor:
                return OBJECTIVES[objective](logits(subject.module(inputs)), goals)

            generators = [generator(seed, method, objective, "class", c, repeat) for c, repeat in group]
            bodies = [files.encode(picture) for picture in ascend(space, raised, generators, recipe).pixels]
            stored = np.stack([files.decode(body, subject.spectrum.channels) for body in bodies])
            scores = score(subject.module, subject.inputs(stored, rows), logits)[: len(group)]
            for (c, repeat), body, row in zip(group, bodies, scores, strict=True):
                found.append(_picture(c, method, objective, repeat, body, row))
    return found


def _picture(class_id: int, method: str, objective: str, repeat: int, body: bytes, scores: Doubles) -> ClassPicture:
    away = np.exp(scores - scores.max())
    rank = int((scores > scores[class_id]).sum())
    return ClassPicture(
        class_id, method, objective, repeat, body, float(scores[class_id]), float(away[class_id] / away.sum()), rank
    )


@torch.no_grad()
def score(module: nn.Module, inputs: Tensor, logits: Logits = itself) -> Doubles:
    """The logits (N, classes) of a batch."""
    with as_in_a_run(module):
        return logits(module(inputs)).double().cpu().numpy()


def judged(
    judge: nn.Module, normalise: Normalised, pictures: Sequence[NDArray[np.uint8]], rows: int, logits: Logits = itself,
) -> list[NDArray[np.float64]]:  # fmt: skip
    """What another network scores of stored pictures (h, w, C) of one size: (classes,) each."""
    found: list[NDArray[np.float64]] = []
    for start in range(0, len(pictures), rows):
        part = np.stack(pictures[start : start + rows])
        filled = np.concatenate([part, np.repeat(part[:1], rows - len(part), 0)])
        found.extend(score(judge, normalise(filled), logits)[: len(part)])
    return found
