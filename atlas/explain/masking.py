"""Does the neuron answer to what its picture shows? Insertion and deletion (Petsiuk et al. 2018), at one share.

The fifth of the field's pixels (inside the image) that the picture marks most is kept alone, and replaced alone, by the
data's mean colour, and the response at the same position is asked for again:

    sufficiency = (r(only the marked) − r₀) / (r − r₀)
    comprehensiveness = (r − r(all but the marked)) / (r − r₀)

with r the response and r₀ the neuron's reference: 0 where a rectifier follows, else its median response (DeYoung et al.
2020 have the two names). Beside them the same for the same mask shifted
cyclically by a seeded offset: what any mask of that size and shape would give. Not clipped. What lies outside the field
stays as it is: only the gate of a gated layer sees it, and its picture shows the field alone. Deviation from Petsiuk et
al.: one share of the pixels instead of the area under the curve over all, and the mean colour instead of a blur.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from atlas.explain.aligned import Crop, Geometry, Images
from atlas.explain.backward import Example, Projected, Responses, as_in_a_run, batches, shared_rows
from atlas.tables.columns import MEASURES
from atlas.types import Layer

SHARE = 0.2
"""Share of the field's pixels inside the image that is kept, or replaced."""

Mask = NDArray[np.bool_]
Evidence = dict[str, float]


def smoothing(size: int) -> int:
    """Side of the box over which marks are averaged, for a field of `size` pixels: a sixteenth, odd, at least 3."""
    return max(3, size // 16 // 2 * 2 + 1)


def marks(values: NDArray[Any]) -> NDArray[np.float32]:
    """How much a map (3, h, w) marks each pixel (h, w): the sum over channels of |v|, averaged over a small box.

    The box has `smoothing` of the smaller side; at the edge it holds fewer pixels.
    """
    flat = torch.from_numpy(np.abs(values).sum(axis=0, dtype=np.float32))[None]  # (1, h, w)
    side = smoothing(min(flat.shape[1:]))
    mean = F.avg_pool2d(flat, side, 1, side // 2, count_include_pad=False)
    return np.asarray(mean[0].numpy())


def strongest(values: NDArray[np.float32], share: float = SHARE) -> Mask:
    """The `share` of the pixels (h, w) with the largest values, at least one; of equal ones the first, row by row."""
    flat = values.reshape(-1)
    count = max(1, round(share * flat.size))
    limit = np.partition(flat, flat.size - count)[flat.size - count]
    mask: Mask = flat > limit
    ties = np.flatnonzero(flat == limit)
    mask[ties[: count - int(mask.sum())]] = True
    return mask.reshape(values.shape)


def shifted(mask: Mask, seed: int, token: str) -> Mask:
    """The mask (h, w) moved cyclically by an offset that only `seed` and `token` decide; never by nothing."""
    if mask.size == 1:
        return mask.copy()
    number = int.from_bytes(hashlib.blake2b(f"{seed}/{token}".encode(), digest_size=8).digest(), "little")
    down, right = divmod(1 + number % (mask.size - 1), mask.shape[1])
    return np.roll(mask, (down, right), (0, 1))


@dataclass(frozen=True)
class Marked:
    """An example to be put to the test. `masks`: for each kind the marked pixels of the field's part inside the image.

    `token` names the example: with the seed it decides the random mask.
    """

    example: Example
    response: float
    reference: float
    masks: Mapping[str, Mask]
    token: str


def mark(projected: Projected, example: Example, reference: float, height: int, width: int, token: str) -> Marked:
    """What the maps of one example mark; kinds whose map is 0 everywhere mark nothing and are left out."""
    rows, columns, _, _ = projected.crop.inside(height, width)
    masks = {
        kind: strongest(marks(values[:, rows, columns])) for kind, values in projected.maps.items() if values.any()
    }
    return Marked(example, projected.response, reference, masks, token)


def test(
    module: nn.Module, layer: Layer, geometry: Geometry, images: Images, marked: Sequence[Marked], batch_size: int,
    seed: int, on_done: Callable[[int], None] = lambda count: None,  # noqa: PT028
) -> list[dict[str, Evidence | None]]:  # fmt: skip
    """For each of `marked` its evidence a kind (`MEASURES`); None where r is not above r₀ (side min: below).

    `on_done` is told of each few that are done how many they are.
    """
    found: list[dict[str, Evidence | None]] = [{} for _ in marked]
    with as_in_a_run(module), Responses(module, layer) as responses:
        groups = batches(((i, m.example) for i, m in enumerate(marked)), geometry, batch_size)
        for group in groups:
            values = _answers(responses, images, [(marked[i], crop) for i, _, crop in group], batch_size, seed)
            for (index, example, _), answers in zip(group, values, strict=True):
                this = marked[index]
                found[index] = {
                    kind: _evidence(this.response, this.reference, each, example.sign) for kind, each in answers.items()
                }
            on_done(len(group))
    return found


test.__test__ = False  # type: ignore[attr-defined]  # not for pytest to collect


def _evidence(r: float, r0: float, answers: Sequence[float], sign: int) -> Evidence | None:
    if sign * (r - r0) <= 0:
        return None
    alone, without, alone_random, without_random = answers
    parts = (alone - r0, r - without, alone_random - r0, r - without_random)
    return {name: part / (r - r0) for name, part in zip(MEASURES, parts, strict=True)}


def _answers(
    responses: Responses, images: Images, group: Sequence[tuple[Marked, Crop]], batch_size: int, seed: int
) -> list[dict[str, list[float]]]:
    """For each of a group and each kind: responses to the kept, to the rest, and to both of the random mask."""
    inputs = images.cut([(m.example.image, crop) for m, crop in group], len(group))  # (E, 3, h, w)
    variants = list(_variants(group, images.height, images.width, seed))
    answers: list[dict[str, list[float]]] = [{} for _ in group]
    count = shared_rows(batch_size)
    for start in range(0, len(variants), count):
        part = variants[start : start + count]
        filled = part + [part[0]] * (count - len(part))
        rows = torch.tensor([row for row, _, _ in filled])
        seen = torch.from_numpy(np.stack([pixels for _, _, pixels in filled]))[:, None]  # (B, 1, h, w)
        batch = inputs[rows.to(inputs.device)] * seen.to(inputs)
        if inputs.is_contiguous(memory_format=torch.channels_last):
            batch = batch.contiguous(memory_format=torch.channels_last)
        at = [(group[row][0].example.channel, group[row][1].y, group[row][1].x) for row, _, _ in filled]
        for (row, kind, _), value in zip(part, responses.at(batch, at), strict=False):
            answers[row].setdefault(kind, []).append(value)
    return answers


def _variants(
    group: Sequence[tuple[Marked, Crop]], height: int, width: int, seed: int
) -> Iterator[tuple[int, str, Mask]]:
    """Row, kind, and the pixels (h, w) of the crop that stay; the others take the mean colour, 0 once normalised.

    All outside the field stay.
    """
    for row, (marked, crop) in enumerate(group):
        _, _, rows, columns = crop.inside(height, width)
        for kind, mask in marked.masks.items():
            for each in (mask, shifted(mask, seed, marked.token)):
                for inside in (each, ~each):
                    stay = np.ones((crop.height, crop.width), np.bool_)
                    stay[rows, columns] = inside
                    yield row, kind, stay


def trust(rows: Sequence[Mapping[str, float] | None]) -> dict[str, float | int] | None:
    """Medians of `MEASURES` over the rows that are there, `score`, and `n`, their number; None without any.

    Rows are evidence of a neuron's examples, or trust of a layer's neurons. `score` is the mean of what keeping and
    losing the marked pixels does beyond a random mask: 0 is no better than chance, about 1 the most.
    """
    there = [row for row in rows if row is not None]
    if not there:
        return None
    middle = {name: float(np.median([row[name] for row in there])) for name in MEASURES}
    sufficiency, comprehensiveness, sufficiency_random, comprehensiveness_random = (middle[name] for name in MEASURES)
    beyond = (sufficiency - sufficiency_random) + (comprehensiveness - comprehensiveness_random)
    return {**middle, "score": beyond / 2, "n": len(there)}
