"""Optimised pictures on SqueezeNet and the photographs: what they attain, and what they are worth; no atlas is needed.

    python -m bench.visualize attained [METHOD] [NEURONS] [LAYER,…]

The neurons of each layer are chosen by hash; their natural pictures come from the same thousand photographs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from atlas.types import Layer
from atlas.visualize import layer as beside
from atlas.visualize.ascend import generator
from atlas.visualize.canvas import canvas_of
from atlas.visualize.chunk import Neuron, chunk_size, work
from atlas.visualize.forward import Taps
from atlas.visualize.natural import Natural, Seen, anywhere, cut
from atlas.visualize.neurons import Subject
from atlas.visualize.settings import VisualizationSettings
from atlas.visualize.spectrum import SpectrumSum
from bench import common

IMAGES, BATCH, CROP = 1000, 16, 224


@dataclass(frozen=True)
class Extremes:
    """Of one layer's chosen channels: responses (images, channels), and the flat positions of the largest."""

    channels: list[int]
    high: NDArray[np.float32]
    low: NDArray[np.float32]
    at: NDArray[np.int64]


def scanned(
    subject: common.Subject, pixels: NDArray[np.uint8], layers: Sequence[Layer], count: int
) -> dict[str, Extremes]:
    """The largest and smallest responses of `count` neurons a layer to each image."""
    chosen = {
        each.name: sorted(int(c) for c in generator(0, each.name).permutation(each.channels)[:count]) for each in layers
    }
    found: dict[str, list[tuple[torch.Tensor, ...]]] = {each.name: [] for each in layers}
    with torch.inference_mode(), Taps(subject.session.module, layers) as taps:
        for batch in subject.normalised(pixels, 8):
            for each, output in zip(layers, taps(batch), strict=True):
                flat = output[:, chosen[each.name]].flatten(2)
                largest = flat.max(2)
                found[each.name].append((largest.values, flat.min(2).values, largest.indices))
    return {
        name: Extremes(chosen[name], *(torch.cat(column).numpy() for column in zip(*parts, strict=True)))
        for name, parts in found.items()
    }


def natural(layer: Layer, extremes: Extremes, pixels: NDArray[np.uint8]) -> dict[int, Natural]:
    """The strongest nine of each neuron, the middle of each tenth, and places at random."""
    canvas, inputs, out = canvas_of(layer, *pixels.shape[1:3]), dict(enumerate(pixels)), {}
    for column, channel in enumerate(extremes.channels):
        order = np.argsort(-extremes.high[:, column], kind="stable")
        tenths = [int(order[len(order) * (2 * tenth + 1) // 20]) for tenth in range(10)]

        def seen(images: Sequence[int], column: int = column) -> list[Seen]:
            return [Seen(int(i), *divmod(int(extremes.at[i, column]), layer.width)) for i in images]

        out[channel] = Natural(
            cut(canvas, layer, inputs, seen(order[:9].tolist())), cut(canvas, layer, inputs, seen(tenths)),
            anywhere(canvas, inputs, seen(tenths), layer.name, channel),
            float(extremes.high[:, column].max()), float(extremes.low[:, column].min()),
        )  # fmt: skip
    return out


def numbers(layer: Layer, found: Sequence[Neuron], settings: VisualizationSettings) -> dict[str, NDArray[np.float64]]:
    """Each number, a row a neuron: the mean over the repeats of sign +; `lowest` the attained share of sign −."""
    judged = beside.judge(found, layer.name, 0)
    rows: dict[str, list[float]] = {}
    for neuron in found:
        mine = [d for d in neuron.pictures if d.wanted.sign > 0]
        worth = [judged[neuron.channel, d.method, 1, d.wanted.repeat] for d in mine]
        columns = {"attained": [d.attained for d in mine], "path": [d.path for d in mine]}
        columns["lowest"] = [d.attained for d in neuron.pictures if d.wanted.sign < 0]
        for name in ("agreement", "choice", "choice_natural", "choice_other", "choice_shuffled"):
            columns[name] = [getattr(w, name) for w in worth]
        for name, values in columns.items():
            kept = [v for v in values if v is not None]
            rows.setdefault(name, []).append(float(np.mean(kept)) if kept else np.nan)
    return {name: np.array(values) for name, values in rows.items()}


def attained_of(method: str = "fourier", count: int = 8, only: str = "") -> None:
    """A line a layer, then the means over all neurons with their 95 % intervals."""
    network = common.subject(common.SQUEEZENET)
    session = network.session
    pixels = np.stack([image.pixels for image in common.decoded([common.IMAGENET], session.preprocessing, IMAGES)[1]])
    p = session.preprocessing
    spectrum = SpectrumSum.of(pixels[:256]).mean()
    subject = Subject(session.module, session.normalise, p.mean, p.std, spectrum)
    extremes = scanned(network, pixels, session.layers, count)
    settings = VisualizationSettings(methods=(method,), rows=BATCH)
    total: dict[str, list[float]] = {}
    for layer in session.layers:
        if only and layer.name not in only.split(","):
            continue
        start = time.process_time()
        neurons = drawn(subject, session.layers, layer, natural(layer, extremes[layer.name], pixels), settings)
        took, rows = time.process_time() - start, numbers(layer, neurons, settings)
        said = " ".join(f"{name} {middle(name, values):.2f}" for name, values in rows.items())
        print(f"{layer.name:22} field {canvas_of(layer, p.crop, p.crop).field:3} | {said} | {took:.1f} s", flush=True)
        for name, values in rows.items():
            total.setdefault(name, []).extend(values)
    for name, column in total.items():
        values = np.array(column)[np.isfinite(column)]
        error = 1.96 * values.std() / np.sqrt(max(len(values), 1))
        print(
            f"{name:16} mean {values.mean():.3f} ± {error:.3f}, median {np.median(values):.3f}, {len(values)} neurons"
        )


def drawn(
    subject: Subject, layers: Sequence[Layer], layer: Layer, theirs: dict[int, Natural], settings: VisualizationSettings
) -> list[Neuron]:
    """All chunks of a layer."""
    canvas, size, channels = canvas_of(layer, CROP, CROP), chunk_size(settings), list(theirs)
    return [
        neuron for i in range(0, len(channels), size)
        for neuron in work(subject, layers, layer, canvas, channels[i : i + size], theirs, settings)
    ]  # fmt: skip


def middle(name: str, values: NDArray[np.float64]) -> float:
    """Shares of the data's extreme by their median, the rest by their mean."""
    return float(np.nanmedian(values) if name in ("attained", "lowest") else np.nanmean(values))


def main() -> None:
    torch.set_num_threads(1)
    words = sys.argv[2:]
    attained_of(*words[:1], *map(int, words[1:2]), *words[2:3])


if __name__ == "__main__":
    main()
