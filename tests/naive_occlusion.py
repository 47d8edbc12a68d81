"""Occlusion, slowly: the whole image, one square and one forward pass after another."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn


def response(module: nn.Module, hook: str, image: Tensor, at: tuple[int, int, int]) -> float:
    """Channel, y, x of the output of the module `hook` for an image (1, 3, H, W)."""
    kept: list[Tensor] = []
    handle = module.get_submodule(hook).register_forward_hook(lambda m, a, out: kept.append(out[0].clone()))
    with torch.no_grad():
        module(image.clone())
    handle.remove()
    return float(kept[0][at] if kept[0].ndim == 3 else kept[0][at[0]])


def squares(box: tuple[int, int, int, int], stride: int, side: int) -> Iterator[tuple[int, int, int, int]]:
    """For each cell of the box (t, l, b, r), row by row, the square (t, l, b, r) about its middle, cut to the box."""
    top, left, bottom, right = box
    for y in range(top, bottom, stride):
        for x in range(left, right, stride):
            y0, x0 = y + stride / 2 - side / 2, x + stride / 2 - side / 2
            assert y0 == int(y0)
            yield max(int(y0), top), max(int(x0), left), min(int(y0) + side, bottom), min(int(x0) + side, right)


def hidden(
    module: nn.Module, hook: str, image: Tensor, at: tuple[int, int, int], box: tuple[int, int, int, int], stride: int,
    side: int,
) -> list[float]:  # fmt: skip
    """The response with each square at 0, the mean colour of a normalised image."""
    found = []
    for top, left, bottom, right in squares(box, stride, side):
        covered = image.clone()
        covered[:, :, top:bottom, left:right] = 0
        found.append(response(module, hook, covered, at))
    return found
