"""Where the network's input lies in an image, by arithmetic alone: what decodes images and what shows them both ask."""

from __future__ import annotations

from atlas.types import Placement


def resized_size(width: int, height: int, resize: int, crop_mode: str = "center") -> tuple[int, int]:
    """(width, height) after resizing: as torchvision's Resize (the long side is rounded down), or timm's.

    squash: `resize` on both sides; border: the longer side `resize`, the other rounded to the nearest, half to even.
    """
    if crop_mode == "squash":
        return resize, resize
    if crop_mode == "border":
        ratio = max(height / resize, width / resize)
        return max(round(width / ratio), 1), max(round(height / ratio), 1)
    long = int(resize * max(width, height) / min(width, height))
    return (resize, long) if width <= height else (long, resize)


def crop_start(size: int, crop: int) -> int:
    """First pixel of torchvision's CenterCrop along one axis; negative where the crop is padded."""
    return -((crop - size) // 2) if crop > size else round((size - crop) / 2)


def place(width: int, height: int, resize: int, crop: int, crop_mode: str = "center") -> Placement:
    """Where the input lies in an image of `width` x `height` pixels: stored = offset + scale * input."""
    resized_width, resized_height = resized_size(width, height, resize, crop_mode)
    scale_x, scale_y = width / resized_width, height / resized_height
    return Placement(
        scale_x=scale_x,
        scale_y=scale_y,
        offset_x=scale_x * crop_start(resized_width, crop),
        offset_y=scale_y * crop_start(resized_height, crop),
    )
