"""A small network of timm's classes, in a user's own file that imports timm. Images (N, 3, 32, 32) to 5 logits."""

import timm
import torch
from torch import nn


def _drawn(made: nn.Module) -> nn.Module:
    """With weights that matter: timm begins with many zeros."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return made


def vit() -> nn.Module:
    return _drawn(
        timm.models.VisionTransformer(
            patch_size=8, embed_dim=12, depth=2, num_heads=2, reg_tokens=2, img_size=32, num_classes=5
        )
    )
