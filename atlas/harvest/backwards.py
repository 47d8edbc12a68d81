"""Pictures and evidence of a unit's examples: each layer's are projected together, drawn, packed, put to the test."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from atlas.harvest import draw, evidence
from atlas.harvest.aligned import Geometry, Images, geometry
from atlas.harvest.crops import picture_shape
from atlas.harvest.found import Found
from atlas.harvest.projections import Example, Projected, project_examples, proven, refusal
from atlas.harvest.rules import RULES
from atlas.store.pictures import PackWriter, missing
from atlas.types import Layer

AHEAD = 64
"""Examples that may wait to be drawn: bounded memory."""
EMPTY = "nothing reaches the image: the way back is closed by the rectifiers"
_WEAK = {
    False: "the response is not above 0: nothing to draw back",
    True: "the response is not below 0: nothing to draw back",
}


@dataclass(frozen=True)
class Asked:
    """Which pictures are wanted. Ranks below `evidence` are put to the test; `longest` side of a picture in pixels."""

    kinds: tuple[str, ...]
    sides: tuple[str, ...]
    evidence: int
    longest: int
    batch_size: int
    seed: int


@dataclass
class Backwards:
    """Draws examples back into their images. `normalise`: pixels (N, H, W, 3) to the network's input, on its device."""

    module: nn.Module
    normalise: Callable[[NDArray[Any]], Tensor]
    asked: Asked
    _layers: dict[int, tuple[Geometry, str | None]] = field(default_factory=dict)

    def add(
        self, found: Found, pixels: NDArray[np.uint8], image_ids: NDArray[np.int64], pack: PackWriter, pool: Executor
    ) -> None:
        """Fills projections and evidence of `found`, and says why where there are none; the pool draws.

        `pixels` (images, H, W, 3) and `image_ids` are of the unit's images.
        """
        by_layer = self._wanted(found)
        images = Images(pixels, self.normalise)
        for number in sorted(by_layer):
            marked = self._pictures(found, number, by_layer[number], images, image_ids, pack, pool)
            self._evidence(found, number, marked, images)

    def _wanted(self, found: Found) -> dict[int, list[int]]:
        """Rows to draw, by layer; the others of the sides asked for say why not."""
        by_layer: dict[int, list[int]] = defaultdict(list)
        sides, responses = found.side, found.response
        for row in range(len(found)):
            lowest = bool(found.lowest[row])
            if not self.asked.kinds or sides[row] not in self.asked.sides:
                continue
            if responses[row] * (-1 if lowest else 1) > 0:
                by_layer[int(found.number[row])].append(row)
            else:
                self._without(found, row, self.asked.kinds, _WEAK[lowest])
        return by_layer

    @staticmethod
    def _without(found: Found, row: int, kinds: Sequence[str], why: str) -> None:
        for kind in (*kinds, "gradient_max") if "gradient" in kinds else kinds:
            found.pictures[kind][row] = missing(why)

    def _prepared(self, layer: Layer, images: Images) -> tuple[Geometry, str | None]:
        """The crops of a layer, and why deconvnet and guided are refused: found on noise, so the network's alone."""
        if layer.index not in self._layers:
            shape = (1, images.height, images.width, 3)
            noise = np.random.default_rng(0).integers(0, 256, shape).astype(images.pixels.dtype)
            inputs = images.normalise(noise)
            crops = proven(self.module, layer, geometry(layer, images.height, images.width), inputs)
            bent = any(not RULES[kind].linear for kind in self.asked.kinds)
            self._layers[layer.index] = (crops, refusal(self.module, layer, inputs) if bent else None)
        return self._layers[layer.index]

    def _pictures(
        self, found: Found, number: int, rows: list[int], images: Images, image_ids: NDArray[np.int64],
        pack: PackWriter, pool: Executor,
    ) -> dict[int, evidence.Marked]:  # fmt: skip
        """Draws a layer's `rows`; gives what the pictures of those that are tested mark, by row."""
        layer = found.layers[number]
        crops, refused = self._prepared(layer, images)
        kinds = [kind for kind in self.asked.kinds if refused is None or RULES[kind].linear]
        if refused is not None:
            for row in rows:
                self._without(found, row, [kind for kind in self.asked.kinds if kind not in kinds], refused)
        examples = [_example(found, row) for row in rows]
        tested, marked = self._tested(found, rows), {}
        size = picture_shape(layer.field, self.asked.longest)
        waiting: deque[tuple[int, Future[dict[str, draw.Drawn | None]]]] = deque()
        for each in project_examples(self.module, layer, crops, images, examples, kinds, self.asked.batch_size):
            row, example = rows[each.index], examples[each.index]
            if row in tested:
                token = f"{layer.name}/{example.channel}/{image_ids[example.image]}/{example.sign}"
                marked[row] = evidence.mark(each, example, images.height, images.width, token)
            waiting.append((row, pool.submit(_drawn, each, size)))
            if len(waiting) > AHEAD:
                _pack(found, *waiting.popleft(), pack)
        for row, future in waiting:
            _pack(found, row, future, pack)
        return marked

    def _evidence(self, found: Found, number: int, marked: dict[int, evidence.Marked], images: Images) -> None:
        layer, order = found.layers[number], sorted(marked)
        crops, _ = self._prepared(layer, images)
        results = evidence.test(
            self.module, layer, crops, images, [marked[row] for row in order], self.asked.batch_size, self.asked.seed
        )
        for row, result in zip(order, results, strict=True):
            found.evidence[row] = result or None

    def _tested(self, found: Found, rows: list[int]) -> set[int]:
        """Rows whose pictures are put to the test: the strongest of a side; a spread has no strongest."""
        sides, ranks = found.side, found.winners.column("rank").to_numpy()
        return {row for row in rows if sides[row] != "spread" and ranks[row] < self.asked.evidence}


def _drawn(each: Projected, size: tuple[int, int]) -> dict[str, draw.Drawn | None]:
    pictures = {kind: draw.signed(values, size) for kind, values in each.maps.items()}
    if "gradient" in each.maps:
        pictures["gradient_max"] = draw.magnitude(each.maps["gradient"], size)
    return pictures


def _pack(found: Found, row: int, future: Future[dict[str, draw.Drawn | None]], pack: PackWriter) -> None:
    seed = -1.0 if found.lowest[row] else 1.0
    for kind, drawn in future.result().items():
        if drawn is None:
            found.pictures[kind][row] = missing(EMPTY)
        else:
            member = found.member(kind, row, draw.ENDING)
            found.pictures[kind][row] = pack.add(member, drawn.body, seed=seed, scale=drawn.scale)


def _example(found: Found, row: int) -> Example:
    sign = -1 if found.lowest[row] else 1
    return Example(int(found.image[row]), int(found.channel[row]), int(found.y[row]), int(found.x[row]), sign)
