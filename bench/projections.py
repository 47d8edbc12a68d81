"""A projection against Captum's, by size of field, and all projections of an atlas against their floor.

Captum is asked one by one, on the whole image, as it can be; ours come in batches on aligned crops, decoded images in,
float32 maps out; each in a process of its own that is started as a worker is. The floor of all projections is one
forward and three plain backward passes an example on the smallest aligned crop of its own, at the best batch; ours is
all three kinds with drawing and encoding four pictures, and the decoding of each image once. Processor time on one
thread, so that others at work count less. `--examples`: how many a layer stand for all of its neurons × 9.
"""

from __future__ import annotations

import argparse
import copy
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import closing

import numpy as np
import torch
from torch import nn

from atlas.explain import draw, masking
from atlas.explain.aligned import Images, geometry
from atlas.explain.backward import Example, Projected, Responses, project_examples
from atlas.explain.crops import picture_shape
from atlas.network.normalise import Normalise
from atlas.types import Layer
from bench.common import (
    IMAGENET,
    SQUEEZENET,
    Side,
    Subject,
    answer,
    as_worker,
    decoded,
    paired_seconds,
    report,
    seconds,
    subject,
)

KINDS = ("deconvnet", "guided", "gradient")
FIELDS = {
    "features.3.expand3x3": 25,
    "features.5.expand3x3": 25,
    "features.7.expand3x3": 8,
    "features.12.expand3x3": 3,
}
"""Layers with fields of 19, 35, 59 and 155 px, and how many times Captum's speed is claimed."""
K, PICTURE, BATCH = 9, 224, 16
MANY, FEW = 64, 4
"""Examples of a run of ours, and of Captum's."""
DECODED = 16
"""Images on whose decoding the time of all is reckoned."""


def examples_of(layer: Layer, count: int, images: int) -> list[Example]:
    """Any channels at any positions."""
    rng = np.random.default_rng(layer.index)
    sizes = (layer.channels, layer.height, layer.width)
    return [Example(i % images, *(int(rng.integers(size)) for size in sizes)) for i in range(count)]


def side(which: str, name: str) -> None:
    """Runs kinds of projection, parted by commas, of a layer's examples whenever it is asked to."""
    torch.set_num_threads(1)
    who, images = setting()
    layer = next(layer for layer in who.session.layers if layer.name == name)
    if which == "captum":
        answer(_captum(who, images, layer), which)
    many, where = examples_of(layer, MANY, len(images.pixels)), geometry(layer, images.height, images.width)

    def ours(kinds: str) -> None:
        for _ in project_examples(who.session.module, layer, where, images, many, kinds.split(","), BATCH):
            pass

    answer(ours, which)


def _captum(who: Subject, images: Images, layer: Layer) -> Callable[[str], None]:
    from captum.attr import NeuronDeconvolution, NeuronGradient, NeuronGuidedBackprop

    twin = copy.deepcopy(who.session.module)
    for module in twin.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    inputs = images.normalise(images.pixels)
    methods = dict(zip(KINDS, (NeuronDeconvolution, NeuronGuidedBackprop, NeuronGradient), strict=True))

    def theirs(kinds: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for kind in kinds.split(","):
                method = methods[kind](twin, twin.get_submodule(layer.module))
                for e in examples_of(layer, FEW, len(images.pixels)):
                    method.attribute(inputs[e.image : e.image + 1].clone(), (e.channel, e.y, e.x))

    return theirs


def against_captum(layer: Layer, claim: float, runs: int) -> bool:
    """Two lines: deconvnet alone, and all three kinds, which Captum runs one after another; and as many without a
    claim, for a Captum in a process that gives freed memory back."""
    good = True
    with closing(Side("bench.projections", "--side", "ours", layer.name, worker=True)) as ours:
        for worker in (True, False):
            with closing(Side("bench.projections", "--side", "captum", layer.name, worker=worker)) as theirs:
                for kinds in (KINDS[0], ",".join(KINDS)):
                    found = paired_seconds(lambda k=kinds: ours(k), lambda k=kinds: theirs(k), runs)  # type: ignore[misc]
                    who = f"Captum{'' if worker else ' as it comes'}"
                    what = f"{who} / ours, field {layer.field.y.size} px, {kinds.replace(',', ' + ')}"
                    ratios = [ratio * MANY / FEW for ratio in found]
                    note = f"{MANY} examples against {FEW} one by one"
                    good &= report(what, ratios, claim if worker else None, at_least=True, note=note)
    return good


def setting() -> tuple[Subject, Images]:
    """SqueezeNet and 64 photographs."""
    who = subject(SQUEEZENET)
    _, found = decoded([IMAGENET], who.session.preprocessing, 64)
    pixels = np.stack([image.pixels for image in found])
    return who, Images(pixels, Normalise(who.session.preprocessing, torch.device("cpu"), torch.float32))


def floor(who: Subject, images: Images, layer: Layer, examples: list[Example]) -> float:
    """Seconds an example: one forward and three plain backward passes on its own smallest aligned crop."""
    exact = geometry(layer, images.height, images.width, sizes=10_000)
    cuts = (exact.crop(e.y, e.x) for e in examples)
    shapes = Counter((max(cut.height, cut.width), min(cut.height, cut.width)) for cut in cuts)

    def once(shape: tuple[int, int], rows: int) -> None:
        pixels = images.pixels[np.arange(rows) % len(images.pixels), : shape[0], : shape[1]]
        inputs = images.normalise(np.ascontiguousarray(pixels)).requires_grad_()
        kept: list[torch.Tensor] = []
        with Responses(who.session.module, layer) as responses:
            kept.append(responses._stop(inputs.clone()))
        value = kept[0].flatten(1)[:, 0].sum()
        for turn in range(3):
            torch.autograd.grad(value, inputs, retain_graph=turn < 2)

    def best(shape: tuple[int, int], batches: tuple[int, ...]) -> tuple[float, int]:
        once(shape, batches[0])
        return min((min(seconds(lambda b=b: once(shape, b)) for _ in range(2)) / b, b) for b in batches)  # type: ignore[misc]

    _, batch = best(max(shapes), (4, 8, 16))
    return sum(best(shape, (batch,))[0] * count for shape, count in shapes.items()) / len(examples)


def ours(who: Subject, images: Images, layer: Layer, examples: list[Example]) -> tuple[float, float]:
    """Seconds an example: with four pictures drawn and encoded; and of putting it to the test."""
    where = geometry(layer, images.height, images.width)
    size = picture_shape(layer.field, PICTURE)
    kept: list[Projected] = []

    def run() -> None:
        kept.clear()
        for p in project_examples(who.session.module, layer, where, images, examples, KINDS, BATCH):
            for kind in KINDS:
                draw.signed(p.maps[kind], size)
            draw.magnitude(p.maps["gradient"], size)
            if p.index % 3 == 0:
                kept.append(p)

    def test() -> None:
        marked = [masking.mark(p, examples[p.index], images.height, images.width, str(p.index)) for p in kept]
        masking.test(who.session.module, layer, where, images, marked, BATCH, 0)

    run()
    drawing = min(seconds(run) for _ in range(2)) / len(examples)
    return drawing, seconds(test) / len(kept)


def against_floor(who: Subject, layers: list[Layer], images: Images, count: int) -> bool:
    """Every layer, weighted by its neurons, and the decoding of 1,000 images once."""
    decode = seconds(lambda: decoded([IMAGENET], who.session.preprocessing, DECODED)) / DECODED
    total = least = tested = 0.0
    for layer in layers:
        examples = examples_of(layer, count, len(images.pixels))
        drawing, testing = ours(who, images, layer, examples)
        bare = floor(who, images, layer, examples)
        total, least = total + drawing * layer.channels * K, least + bare * layer.channels * K
        tested += testing * layer.channels * 3
        field = "whole" if layer.field.global_field else f"{layer.field.y.size} px"
        parts = f"{1e3 * drawing:6.2f} ms, floor {1e3 * bare:6.2f} ms, test {1e3 * testing:6.2f} ms"
        print(f"  {layer.name:<24} {field:>7}: {parts}", flush=True)
    total += decode * 1000
    neurons = sum(layer.channels for layer in layers)
    note = f"{neurons} neurons × {K}: {total / 120:.1f} minutes on 2 cores, with evidence {(total + tested) / 120:.1f}"
    return report("all projections / floor, decoded, drawn and encoded", [total / least], 1.5, note=note)


def main() -> bool:
    """All lines on SqueezeNet and ImageNet's sample."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=96)
    parser.add_argument("--runs", type=int, default=7, help="pairs against Captum; 0 for none")
    parser.add_argument("--only", default="", help="layers against the floor, with commas; default all")
    parser.add_argument("--side", nargs=2, help="which side of a pair this process runs, and of which layer")
    arguments = parser.parse_args()
    if arguments.side:
        side(*arguments.side)
    as_worker()
    torch.set_num_threads(1)
    who, images = setting()
    named = {layer.name: layer for layer in who.session.layers}
    captum = [against_captum(named[name], claim, arguments.runs) for name, claim in FIELDS.items() if arguments.runs]
    layers = [layer for layer in who.session.layers if not arguments.only or layer.name in arguments.only.split(",")]
    return against_floor(who, layers, images, arguments.examples) and all(captum)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
