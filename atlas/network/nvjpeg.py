"""Decoding JPEG images by nvJPEG (`--decode gpu`), through torchvision; what it does not take, Pillow decodes.

Pixels differ from Pillow's by a level here and there, so an atlas says which of the two it was built with, and scan and
harvest use the same one. Resizing stays on the CPU, where it is Pillow's for both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from atlas.errors import SettingsError
from atlas.images import decode as on_cpu
from atlas.network.load import import_torchvision

_JPEG = b"\xff\xd8\xff"


def check(device: str, decode: str) -> None:
    """Whether this machine can do what was asked for. Raises `SettingsError`."""
    if device == "cuda" and not torch.cuda.is_available():
        raise SettingsError("--device cuda: torch finds no CUDA device on this machine; expected one, or --device cpu")
    if decode == "gpu" and (device == "cpu" or not torch.cuda.is_available()):
        raise SettingsError("--decode gpu: needs a CUDA device, and this machine has none; take --decode cpu")
    if decode == "gpu" and not _has_operator():
        raise SettingsError("--decode gpu: this torchvision comes without nvJPEG; take --decode cpu")


def _has_operator() -> bool:
    import_torchvision()
    return hasattr(torch.ops.image, "decode_jpegs_cuda")


def decode(body: bytes) -> Image.Image:
    """The image as stored, RGB; raises `ImageError` as `atlas.images.decode.decode` does."""
    if not body.startswith(_JPEG):
        return on_cpu.decode(body)
    try:
        pixels = _decode_jpeg(body)  # (3, H, W)
    except RuntimeError:  # four channels, damage, an unusual kind: Pillow decides what it is worth
        return on_cpu.decode(body)
    return Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy()))


def _decode_jpeg(body: bytes) -> Any:
    io = import_torchvision().io
    return io.decode_jpeg(
        torch.frombuffer(bytearray(body), dtype=torch.uint8), mode=io.ImageReadMode.RGB, device="cuda"
    )
