"""The projections of a chunk's examples and their evidence, layer by layer, drawn on the box of the crop."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import nn

from atlas.arrays import Ints
from atlas.explain import draw, masking
from atlas.explain.aligned import Images
from atlas.explain.backward import Example, Projected, project_examples
from atlas.explain.crops import picture_shape
from atlas.explain.draw import Drawn
from atlas.explain.kinds import BY_NAME
from atlas.explain.prepared import Prepared, prepare
from atlas.harvest.examples import Found
from atlas.store.pictures import PackWriter, missing

_DRAW = {"signed": draw.signed, "magnitude": draw.magnitude}
MAX = "gradient_max"
"""Simonyan's map, drawn beside `gradient`."""
_AHEAD = 64
"""Examples whose pictures may be encoded while the network goes on."""


@dataclass(frozen=True)
class ProjectionSettings:
    """Which examples are projected, how, and of how many a neuron the pictures are put to the test."""

    kinds: tuple[str, ...]
    sides: tuple[str, ...]
    evidence: int
    longest: int
    batch_size: int
    seed: int
    format: str = "lossless"
    """One of `draw.FORMATS`."""

    @property
    def shown(self) -> tuple[str, ...]:
        """The kinds of picture, in the order of their columns."""
        return shown(self.kinds)


class Encoding(NamedTuple):
    """How the pictures of a layer become bytes: width and height, and the encoder."""

    size: draw.Size
    encode: draw.Encoder


def shown(kinds: Sequence[str]) -> tuple[str, ...]:
    """The pictures of some kinds of projection: `gradient` is drawn twice."""
    return (*kinds, MAX) if "gradient" in kinds else tuple(kinds)


def project_found(
    module: nn.Module,
    found: Found,
    images: Images,
    settings: ProjectionSettings,
    pack: PackWriter,
    pool: ThreadPoolExecutor,
    known: dict[int, Prepared] | None = None,
) -> None:
    """Draws the examples into the pack and tests the strongest; where a picture cannot be, the row says why.

    `known` keeps what was prepared a layer, by its number, from one chunk to the next.
    """
    rows, known = _drawable(found, settings), {} if known is None else known
    sides = found.side
    found.done = len(found) - len(rows)
    for number, layer in enumerate(found.layers):
        of_layer = rows[found.number[rows] == number]
        if not len(of_layer):
            continue
        if number not in known:
            known[number] = prepare(module, layer, images, settings.kinds)
        where, kinds = known[number].crops, known[number].kinds(settings.kinds)
        for kind in settings.kinds:
            _refuse(found, of_layer, known[number].why_not(kind), shown([kind]) if kind not in kinds else ())
        examples = [_example(found, row) for row in of_layer.tolist()]
        projected = project_examples(module, layer, where, images, examples, kinds, settings.batch_size)
        marked: dict[int, masking.Marked] = {}
        encoding = Encoding(picture_shape(layer.field, settings.longest), draw.FORMATS[settings.format])
        for each, pictures in _drawn(projected, encoding, shown(kinds), pool):
            row = int(of_layer[each.index])
            example = examples[each.index]
            for kind, drawn in pictures.items():
                found.explain(kind, row, _stored(pack, found.member(kind, row, _ending(drawn)), drawn, example.sign))
            if found.rank[row] < settings.evidence and sides[row] != "spread":  # a spread has no strongest
                token = found.member("evidence", row, "mask")
                reference = float(found.reference[row])
                marked[row] = masking.mark(each, example, reference, images.height, images.width, token)
            else:
                found.done += 1
        tested = masking.test(
            module, layer, where, images, list(marked.values()), settings.batch_size, settings.seed, found.count
        )
        for row, answer in zip(marked, tested, strict=True):
            found.evidence[row] = answer


def _refuse(found: Found, rows: Ints, why: str | None, kinds: Sequence[str]) -> None:
    for kind in kinds:
        for row in rows.tolist():
            found.explain(kind, row, missing(why or ""))


def _drawable(found: Found, settings: ProjectionSettings) -> Ints:
    """Rows of the examples that are drawn; one that is not driven has nothing to show."""
    wanted = np.array([side in settings.sides for side in found.side], bool)
    for kind in settings.shown:
        found.explanations.setdefault(kind, {})  # in this order
    for row in np.flatnonzero(wanted & ~found.driven).tolist():
        for kind in settings.shown:
            found.explain(kind, row, missing(found.why_not(row)))
    return np.flatnonzero(wanted & found.driven) if settings.kinds else np.zeros(0, np.int64)


def _example(found: Found, row: int) -> Example:
    """The example as the projections take it; a smallest response is seeded with -1."""
    sign = -1 if found.lowest[row] else 1
    return Example(int(found.image[row]), int(found.channel[row]), int(found.y[row]), int(found.x[row]), sign)


def _drawn(
    projected: Iterable[Projected], encoding: Encoding, shown: Sequence[str], pool: ThreadPoolExecutor
) -> Iterator[tuple[Projected, dict[str, Drawn | None]]]:
    """Each projected example with its pictures, encoded by the pool while the network goes on."""
    waiting: deque[tuple[Projected, Future[dict[str, Drawn | None]]]] = deque()
    for each in projected:
        waiting.append((each, pool.submit(_encode, each, encoding, shown)))
        if len(waiting) > _AHEAD:
            first, future = waiting.popleft()
            yield first, future.result()
    for each, future in waiting:
        yield each, future.result()


def _encode(each: Projected, encoding: Encoding, shown: Sequence[str]) -> dict[str, Drawn | None]:
    return {kind: _DRAW[BY_NAME[kind].scale](each.maps[BY_NAME[kind].beside or kind], *encoding) for kind in shown}


def _ending(drawn: Drawn | None) -> str:
    return draw.ENDING if drawn is None else drawn.ending


def _stored(pack: PackWriter, member: str, drawn: Drawn | None, sign: int) -> dict[str, object]:
    if drawn is None:
        return missing("the signal is 0 everywhere: nothing of it reaches the image")
    return pack.add(member, drawn.body, seed=float(sign), scale=drawn.scale)
