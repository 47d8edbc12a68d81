"""Small networks of today's kinds, as a user would write them: a vision transformer of grey images, a ConvNeXt."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.qkv, self.proj = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2, self.fc1, self.fc2 = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, t, 3, 2, c // 2).permute(2, 0, 3, 1, 4)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, c))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Vit(nn.Module):
    """16 patches of 8 × 8 grey pixels and a class token; answers with a dict."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.embed, self.token = nn.Conv2d(1, width, 8, 8), nn.Parameter(torch.zeros(1, 1, width))
        self.place = nn.Parameter(torch.randn(1, 17, width) * 0.02)
        self.blocks = nn.ModuleList([Block(width), Block(width)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1) + self.place
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)[:, 0]
        return {"embedding": x, "logits": self.head(x)}


class Next(nn.Module):
    """One block of a ConvNeXt V2: depthwise, norm over channels, linear layers on channels-last maps, a global gate."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dw, self.norm = nn.Conv2d(width, width, 5, padding=2, groups=width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.gain = nn.Parameter(torch.zeros(2 * width))

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.up(self.norm(self.dw(x).permute(0, 2, 3, 1))))  # (N, H, W, C)
        size = y.square().sum((1, 2), keepdim=True).add(1e-6).sqrt()
        y = y + self.gain * (y * (size / size.mean(-1, keepdim=True)))
        return x + self.down(y).permute(0, 3, 1, 2)


class ConvNext(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem, self.one, self.two = nn.Conv2d(3, width, 4, 4), Next(width), Next(width)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.two(self.one(self.stem(x))).mean((2, 3))))


def vit() -> nn.Module:
    return Vit()


def convnext() -> nn.Module:
    return ConvNext()
