"""Networks without classes, as people write them: features as vectors, maps, tokens, or among other outputs."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


class Features(nn.Module):
    """Images (N, 3, 32, 32) to features: (N, 6), a map (N, 6, 16, 16), tokens (N, 256, 6), or a dict with a map."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.conv1 = nn.Conv2d(3, 5, 3, padding=1)
        self.conv2 = nn.Conv2d(5, 6, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Any:
        maps = self.conv2(F.relu(self.conv1(x)))
        return {
            "vector": maps.mean((2, 3)),
            "map": maps,
            "tokens": maps.flatten(2).transpose(1, 2),
            "dict": {"maps": maps, "depth": 2},
        }[self.how]


def vector() -> nn.Module:
    return Features("vector")


def maps() -> nn.Module:
    return Features("map")


def tokens() -> nn.Module:
    return Features("tokens")


def named() -> nn.Module:
    return Features("dict")
