"""All ways to find the class of an image, of a batch of images at a time: maps, masks, and boxes by level."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from atlas.explain.backward import as_in_a_run, rows_for
from atlas.explain.occlusion import CELLS, Layout
from atlas.explain.sanity import randomised
from atlas.localize import cut as grabcut
from atlas.localize.boxes import LEVELS, Mask, at_levels, box_of, centre, largest
from atlas.localize.saliency import Scored, saliency, score_of, scores, smooth
from atlas.network.graph import trace
from atlas.network.layers import example
from atlas.types import Box

Map = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Located:
    """What one method says of one image. `boxes`: in input pixels, one a level, or one. `values` (h, w): the map behind
    them; `mask` (h, w): the largest component. `why`: why there is no box, or what was done about ties."""

    method: str
    boxes: Sequence[Box | None]
    values: Map | None = None
    mask: Mask | None = None
    why: str | None = None


class Locator:
    """A network, and a copy of it with all parameter tensors permuted, ready to say where classes are.

    `shape` (C, H, W) of its input. The network is left as it was.
    """

    def __init__(self, module: nn.Module, shape: tuple[int, int, int], seed: int) -> None:
        channels, self.height, self.width = shape
        self.module, self.seed = module, seed
        self.score = score_of(trace(module, example(module, self.height, self.width, channels)))
        self.other = copy.deepcopy(module)
        self._stack = ExitStack()
        names = [name for name, _ in self.other.named_parameters()]
        self._stack.enter_context(randomised(self.other, names, seed, "all"))

    def maps(self, inputs: Tensor, true: Tensor, known: Tensor) -> tuple[Scored, Map]:
        """Saliency of the predicted and of the `true` classes (N,), and that of the shuffled network (N, H, W).

        The latter is asked of the true class where it is `known` (N,), else of the predicted one.
        """
        scored = saliency(self.module, self.score, inputs, [None, true])
        predicted = torch.from_numpy(scored.logits.argmax(1))
        asked = torch.where(known, true, predicted)
        return scored, saliency(self.other, self.score, inputs, [asked]).maps[0]

    def of_class(self, values: Map, cam: Map | None, pixels: NDArray[np.uint8], token: object) -> Iterator[Located]:
        """What a class's saliency (h, w) says, by colours and by itself; its activation map where there is one."""
        yield self._cut("saliency_grabcut", values, pixels, token)
        yield Located("saliency", at_levels(smooth(values)), values)
        if cam is not None:
            yield Located("gradcam", at_levels(cam), cam)

    def controls(self, shuffled: Map, pixels: NDArray[np.uint8], token: object) -> Iterator[Located]:
        """What knows nothing of the class: the middle, and a network of shuffled weights."""
        whole = [centre(self.width, self.height, level) for level in LEVELS]
        yield Located("centre", whole)
        gaussian = grabcut.gaussian(self.height, self.width)
        yield self._cut("gaussian_grabcut", gaussian, pixels, token)
        yield self._cut("shuffled", shuffled, pixels, token)
        yield Located("shuffled_saliency", at_levels(smooth(shuffled)))

    def _cut(self, method: str, values: Map, pixels: NDArray[np.uint8], token: object) -> Located:
        found = grabcut.cut(values, pixels, grabcut.number(self.seed, method, token))
        mask = None if found.mask is None else largest(found.mask)
        why = found.why or (None if mask is not None else "the cut leaves no object") or found.note
        return Located(method, [box_of(mask)], None, mask, why)

    def occluded(self, inputs: Tensor, slot: int, class_id: int, batch_size: int) -> Iterator[Located]:
        """What hiding each square of an image takes from the class's score, and from its probability (Zeiler & Fergus
        2014, figure 7): maps of the share that is lost, below 0 where it rises."""
        layout = Layout(self.height, self.width, max(1, round(max(self.height, self.width) / CELLS)))
        hidden = [scores(self.module, self.score, batch) for batch in _hidden(inputs, slot, layout, batch_size)]
        count = 1 + layout.rows * layout.columns
        for place, method in enumerate(("occlusion", "occlusion_probability")):
            values = torch.cat([each[place] for each in hidden])[:count, class_id].double().cpu().numpy()
            if abs(values[0]) <= 1e-12:
                yield Located(method, [None] * len(LEVELS), None, None, "the score is 0")
                continue
            falls = ((values[0] - values[1:]) / abs(values[0])).reshape(layout.rows, layout.columns)
            spread = layout.spread(falls.astype(np.float32))
            yield Located(method, at_levels(smooth(np.maximum(spread, 0))), spread)


def _hidden(inputs: Tensor, slot: int, layout: Layout, batch_size: int) -> Iterator[Tensor]:
    """The image as it is, then with the square of mean colour on each cell, in calls of whole batches."""
    image, count = inputs[slot], 1 + layout.rows * layout.columns
    for start in range(0, count, batch_size):
        part = range(start, min(start + batch_size, count))
        batch = image.repeat(rows_for(len(part), batch_size), 1, 1, 1)
        for row, variant in enumerate(part):
            if variant:
                batch[row][(slice(None), *layout.hidden(variant - 1))] = 0  # the mean colour is 0, once normalised
        yield batch


def as_seen(module: nn.Module, inputs: Tensor) -> NDArray[np.int64]:
    """Predicted classes (N,)."""
    with as_in_a_run(module), torch.no_grad():
        return np.asarray(module(inputs.clone()).argmax(1).cpu().numpy())
