"""The texture of an image by its Gram matrices (Gatys, Ecker & Bethge 2016), with the engine of `visualizations`.

    python examples/gram.py IMAGE OUT.webp --weights FILE --network squeezenet1_0 --modules features.2,features.5

A picture is made from noise until the products of channels, averaged over positions, are those of the image: what is
where is gone, what there is remains. Printed beside it, of the stored file: its distance to the image's matrices, and
that of the start, as shares of their own size. Deviation: the spectrum is the image's own, and all modules count alike.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atlas.network import load
from atlas.network.session import ready
from atlas.visualize import files
from atlas.visualize.ascend import Recipe, ascend, generator
from atlas.visualize.canvas import Canvas
from atlas.visualize.forward import ModulePlace, Taps
from atlas.visualize.neurons import Subject
from atlas.visualize.objectives import gram_matrix
from atlas.visualize.spectrum import SpectrumSum


def distance(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Squared distance of Gram matrices (N, C, C), as a share of their squared size, mean over modules, (N,)."""
    each = [
        (a - b).flatten(1).square().sum(1) / b.flatten(1).square().sum(1).clamp_min(1e-30)
        for a, b in zip(found, wanted, strict=True)
    ]
    return torch.stack(each).mean(0)


def texture(
    subject: Subject, image: NDArray[np.uint8], modules: Sequence[str], steps: int
) -> tuple[bytes, float, float]:
    """The file of the picture, its distance to `image` (h, w, C), and the distance of where it began."""
    height, width = image.shape[:2]
    space = subject.space(Canvas(0, 0, height, width, 0, 0, max(height, width), True))
    with Taps(subject.module, [ModulePlace(name) for name in modules]) as taps:

        def grams(inputs: Tensor) -> list[Tensor]:
            return [gram_matrix(output) for output in taps(inputs)]

        with torch.no_grad():
            wanted = [each.clone() for each in grams(subject.inputs(image[None], 1))]
        made = {}
        for count in (0, steps):
            recipe = Recipe("fourier", count, 0.0, 1)
            made[count] = ascend(space, lambda x: -distance(grams(x), wanted), [generator("gram")], recipe).pixels[0]
        body = files.encode(made[steps])
        with torch.no_grad():
            stored, start = (
                float(distance(grams(subject.inputs(pixels[None], 1)), wanted)[0])
                for pixels in (files.decode(body, image.shape[2]), made[0])
            )
    return body, stored, start


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="the texture of an image by its Gram matrices")
    parser.add_argument("image")
    parser.add_argument("out")
    parser.add_argument("--network", default="squeezenet1_0")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--modules", default="features.1,features.3,features.5,features.7")
    parser.add_argument("--steps", type=int, default=200)
    given = parser.parse_args()
    network = load.load(given.network, given.weights)
    session = ready(network.module, [], ("", 1), network.preprocessing, batch_size=1)
    image = session.pixels(Path(given.image).read_bytes())
    p = network.preprocessing
    subject = Subject(session.module.eval(), session.normalise, p.mean, p.std, SpectrumSum.of(image[None]).mean())
    body, stored, start = texture(subject, image, given.modules.split(","), given.steps)
    Path(given.out).write_bytes(body)
    print(f"{given.out}: distance of Gram matrices {stored:.3g}; of the start {start:.3g}")


if __name__ == "__main__":
    main()
