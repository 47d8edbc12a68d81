"""A network of one's own, as `neuron-atlas build --network my_network.py:net` takes it.

This one file goes to every worker, so it has to be enough: it imports installed packages, and no file beside it.
Weights come from elsewhere (`--weights`): safetensors, or a state dict with the names of these modules.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn


class MyNetwork(nn.Module):
    """Grey images (N, 1, 32, 32) to logits (N, 10). Grey is said by `--channels 1`; else a network gets three."""

    def __init__(self) -> None:
        super().__init__()
        # Each convolution, linear layer and residual block is recorded, under the name that it has here. The field of a
        # neuron, the pixels that it can see, is found from these shapes: 5 × 5 after conv1, 14 × 14 after conv2.
        self.conv1 = nn.Conv2d(1, 12, 5, padding=2)
        self.conv2 = nn.Conv2d(12, 24, 5, padding=2)
        self.conv3 = nn.Conv2d(24, 32, 3, padding=1, bias=False)
        # A batch norm right after a convolution belongs to it: the response is taken behind it.
        self.bn3 = nn.BatchNorm2d(32)
        # The input of the layer that gives the logits is the code, by which images are near or far.
        self.linear = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        # Rectifiers and pools may be modules, functions or methods: layers are found by running the network once.
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)  # (N, 12, 16, 16)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)  # (N, 24, 8, 8)
        x = F.relu(self.bn3(self.conv3(x)))  # (N, 32, 8, 8)
        return cast(Tensor, self.linear(x.mean((2, 3))))


def net() -> nn.Module:
    """The factory that `FILE.py:FACTORY` names: no arguments, a module of whatever weights."""
    return MyNetwork()
