"""Images a second against zennit-crp's FeatureVisualization, on the same tensors of the same network."""

from __future__ import annotations

import io
import sys
import tempfile
import warnings
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from atlas.network.load import import_torchvision
from atlas.scan.scanner import Report
from bench.common import IMAGENET, SQUEEZENET, Replayed, decoded, report, seconds, subject

COUNT, BATCH, RUNS = 32, 16, 7


class Tensors(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Normalised images, and some class."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], index


def main() -> bool:
    """SqueezeNet; all convolutions; both in turns."""
    import_torchvision()  # zennit imports it too, which fails beside some builds of torch
    from crp.attribution import CondAttribution
    from crp.concepts import ChannelConcept
    from crp.visualization import FeatureVisualization
    from zennit.composites import EpsilonPlusFlat

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    who = subject(SQUEEZENET)
    rows, found = decoded([IMAGENET], who.session.preprocessing, COUNT)
    tensors = torch.cat(who.normalised(np.stack([image.pixels for image in found]), BATCH))
    convolutions = [name for name, module in who.session.module.named_modules() if isinstance(module, nn.Conv2d)]
    scanner = who.scanner(BATCH, COUNT, Replayed(found))  # type: ignore[arg-type]

    def peer() -> None:
        with tempfile.TemporaryDirectory() as folder, redirect_stderr(io.StringIO()):
            concepts = {name: ChannelConcept() for name in convolutions}
            attribution = CondAttribution(who.session.module)
            FeatureVisualization(attribution, Tensors(tensors), concepts, path=str(Path(folder) / "crp")).run(
                EpsilonPlusFlat(), 0, COUNT, BATCH, 100
            )

    who.session.module.requires_grad_(True)
    scanner.partial(rows, Report(0), None)
    ratios = []
    for _ in range(RUNS):
        ours = seconds(lambda: scanner.partial(rows, Report(0), None))
        ratios.append(seconds(peer) / ours)
    return report(
        "images/s against zennit-crp, squeezenet", ratios, 12, at_least=True, note=f"{COUNT} images, 1 thread"
    )


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
