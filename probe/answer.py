"""What the network makes of one image, in the atlas's words: prediction, nearest images, the neurons above their habit.

Plain values without addresses, as JSON takes them. Boxes are [left, top, right, bottom], half open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from atlas.arrays import Doubles
from atlas.images import decode
from atlas.network.recorder import cell, positions_of
from atlas.scan.extremes import extremes
from atlas.types import Box, Layer, Placement
from probe.edits import edited
from probe.forward import Ablation, Outcome, forward
from probe.protocol import CLASSES, Asked
from probe.subjects import Subject

Told = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """An image: as stored, and what the network sees of it, `pixels` (H, W, C)."""

    image: Image.Image
    pixels: NDArray[np.uint8]
    placement: Placement


def see(subject: Subject, body: bytes) -> Seen:
    """Decodes an image file. Raises `ImageError`."""
    preprocessing = subject.session.preprocessing
    image = subject.session.decoder(body)
    pixels = decode.to_input(image, preprocessing)
    return Seen(image, pixels, decode.place(image.width, image.height, preprocessing))


def tell(subject: Subject, seen: Seen, asked: Asked) -> Told:
    """The answer to a question about one image.

    Raises `NotFoundError` for a layer or a neuron that the atlas does not have, `InputError` for an edit that cannot be
    done to this image.
    """
    layers = subject.layers(asked.layers)
    ablation = subject.values(asked.ablate, asked.to)
    inputs = _inputs(subject, seen.pixels)
    ranked = _Ranked(subject, seen, asked.k)
    outcome = forward(subject.session.module, inputs, layers, ranked.take, code=subject.session.code)
    told: Told = {
        "width": seen.image.width,
        "height": seen.image.height,
        "prediction": _prediction(subject, outcome),
        "neighbours": near(subject, outcome, asked.k),
        "layers": ranked.found,
        "changed": None,
    }
    if asked.changes:
        pixels = seen.pixels if asked.edit is None else edited(subject, seen.pixels, asked.edit)
        told["changed"] = _changed(subject, outcome, pixels, ablation)
    return told


def _inputs(subject: Subject, pixels: NDArray[np.uint8]) -> Tensor:
    return subject.session.call(pixels[None], [0])


class _Ranked:
    """The neurons of each layer that are most above their own habit; ties by deviations from the mean, then channel."""

    def __init__(self, subject: Subject, seen: Seen, k: int) -> None:
        self._subject, self._seen, self._k = subject, seen, k
        self.found: list[Told] = []

    def take(self, layer: Layer, maps: Tensor) -> None:
        """Ranks a layer the moment its maps (1, C, h, w) are there, and keeps no map."""
        subject, store = self._subject, self._subject.atlas.store
        out = torch.empty((3, 1, layer.channels), device=maps.device)
        extremes(maps, out)
        responses = out[0, 0].cpu().numpy()  # (C,)
        numbers = subject.numbers(layer)
        places = store.habits.places(numbers, responses)
        order = np.lexsort((np.arange(layer.channels), -places.deviations, -places.quantile))[: self._k]
        chosen = maps[0, torch.from_numpy(order.copy()).to(maps.device)].float().flatten(1).cpu().numpy()  # (k, h · w)
        ys, xs = positions_of(layer, chosen.argmax(axis=1))
        neurons = []
        for channel, y, x in zip(order.tolist(), ys.tolist(), xs.tolist(), strict=True):
            strongest = float(store.neurons.numbers["max"][numbers[channel]])
            response = float(responses[channel])
            neurons.append(
                {
                    "channel": channel,
                    "response": response,
                    "quantile_low": float(places.low[channel]),
                    "quantile_high": float(places.high[channel]),
                    "quantile": float(places.quantile[channel]),
                    "deviations": float(places.deviations[channel]),
                    "strongest": strongest,
                    "beyond": response - strongest if response > strongest else None,
                    "y": y,
                    "x": x,
                    **boxes(subject, self._seen, layer, y, x),
                }
            )
        self.found.append({"layer": layer.name, "channels": layer.channels, "neurons": neurons})


def boxes(subject: Subject, seen: Seen, layer: Layer, y: int, x: int) -> Told:
    """Field and cell of a position, in input pixels and in pixels of the image as stored, not clipped."""
    height, width = seen.pixels.shape[:2]
    field, share = layer.field.box(y, x), cell(layer, y, x, height, width)
    return {
        "field": edges(field),
        "cell": edges(share),
        "box": edges(seen.placement.to_stored(field)),
        "cell_box": edges(seen.placement.to_stored(share)),
    }


def edges(box: Box) -> list[float]:
    return [float(box.left), float(box.top), float(box.right), float(box.bottom)]


def probabilities(outcome: Outcome) -> Doubles:
    """Softmax (classes,) of the one image's logits."""
    return np.asarray(torch.softmax(outcome.logits[0].double(), 0).cpu().numpy())


def _prediction(subject: Subject, outcome: Outcome) -> list[Told] | None:
    """The most probable classes; None of a network without classes."""
    if not subject.classes:
        return None
    shares = probabilities(outcome)
    order = np.lexsort((np.arange(len(shares)), -shares))[:CLASSES]
    return [{"class_id": int(c), "probability": float(shares[c])} for c in order]


def near(subject: Subject, outcome: Outcome, k: int) -> list[list[float]]:
    """image_id and similarity of the nearest images; none where the atlas has no codes, or the code is 0."""
    assert outcome.code is not None
    code = outcome.code[0].cpu().numpy()
    if not subject.atlas.dimensions or not code.any():
        return []
    return [[each.image_id, each.similarity] for each in subject.atlas.neighbours_of(code.tolist(), k)]


def _changed(subject: Subject, before: Outcome, pixels: NDArray[np.uint8], ablation: Ablation) -> Told:
    """The prediction without some neurons, or of the edited image, and the change of each class, the largest first."""
    layers = [subject.layer(name) for name in ablation]
    after = forward(subject.session.module, _inputs(subject, pixels), layers, ablation=ablation)
    prediction = _prediction(subject, after)
    if prediction is None:
        return {"prediction": None, "changes": []}
    old, new = probabilities(before), probabilities(after)
    logits = (after.logits[0] - before.logits[0]).double().cpu().numpy()
    order = np.lexsort((np.arange(len(new)), -np.abs(new - old)))
    changes = [
        {"class_id": int(c), "before": float(old[c]), "after": float(new[c]), "logit": float(logits[c])} for c in order
    ]
    return {"prediction": prediction, "changes": changes}
