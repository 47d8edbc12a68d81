"""The demo's network: small, with max pooling and a residual block, for handwritten digits of 32 × 32 pixels."""

import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions beside the identity (He et al. 2015)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + x)


class DigitsNet(nn.Module):
    """Images (N, 3, 32, 32) to logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 5, padding=2)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.block = Block(32)
        self.conv3 = nn.Conv2d(32, 48, 3, padding=1)
        self.linear = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)  # (N, 16, 16, 16)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)  # (N, 32, 8, 8)
        x = self.block(x)
        x = F.relu(self.conv3(x))  # (N, 48, 8, 8)
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]


def net() -> nn.Module:
    """The network, its weights not yet trained."""
    return DigitsNet()
