"""The slow, independent twin of the whole scan: plain hooks, plain sorting, one image at a time.

Written from the contract, not from the code: it shares nothing with `atlas.scan` but torch and Pillow.
"""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Array = NDArray[Any]


def to_pixels(body: bytes, resize: int, crop: int) -> Array:
    """An image file as torchvision's transforms see it: uint8 (crop, crop, 3)."""
    from atlas.network.load import import_torchvision

    import_torchvision()
    from torchvision.transforms import functional as transforms

    image = Image.open(io.BytesIO(body)).convert("RGB")
    image = transforms.resize(image, [resize], transforms.InterpolationMode.BILINEAR)
    return np.asarray(transforms.center_crop(image, [crop, crop]))


def to_tensor(pixels: Array, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> Tensor:
    """Pixels (N, H, W, 3) as torchvision's ToTensor and Normalize make them: (N, 3, H, W)."""
    batch = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).float().div(255)
    return (batch - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


@dataclass
class Scan:
    """What every image does to every neuron, a row an image and a column a neuron; positions likewise."""

    ids: list[int] = field(default_factory=list)
    high: dict[str, Array] = field(default_factory=dict)
    low: dict[str, Array] = field(default_factory=dict)
    mean: dict[str, Array] = field(default_factory=dict)  # of the map
    high_at: dict[str, Array] = field(default_factory=dict)  # y * width + x
    low_at: dict[str, Array] = field(default_factory=dict)
    width: dict[str, int] = field(default_factory=dict)
    logits: Array = field(default_factory=lambda: np.zeros(0))
    codes: Array = field(default_factory=lambda: np.zeros(0))


def scan(
    module: nn.Module, layers: Mapping[str, str], batches: Iterable[tuple[Sequence[int | None], Tensor]], code: str
) -> Scan:
    """Runs `batches` of (image ids, None for a filler; tensor) and keeps everything.

    `layers`: the name of each layer and of the module whose output it is. The code is the input of module `code`.
    """
    kept: dict[str, list[Array]] = {
        f"{what} {name}": [] for name in layers for what in ("high", "low", "mean", "top", "end")
    }
    out, logits, codes = Scan(), [], []
    outputs: dict[str, Tensor] = {}
    modules = dict(module.named_modules())

    def hook(name: str) -> Any:
        def keep(_: nn.Module, __: Any, output: Tensor) -> None:
            outputs[name] = output.clone()  # before an in-place rectifier changes it

        return keep

    handles = [modules[where].register_forward_hook(hook(name)) for name, where in layers.items()]
    handles.append(
        modules[code].register_forward_pre_hook(lambda _, inputs: outputs.update({" code": inputs[0].clone()}))
    )
    try:
        for ids, batch in batches:
            with torch.no_grad():
                found = module(batch)
            rows = [row for row, image_id in enumerate(ids) if image_id is not None]
            out.ids += [image_id for image_id in ids if image_id is not None]
            logits.append(found[rows].numpy())
            code_maps = outputs[" code"]
            codes.append((code_maps.mean((2, 3)) if code_maps.dim() == 4 else code_maps)[rows].numpy())
            for name in layers:
                maps = outputs[name][rows].contiguous().numpy()  # (N, C, H, W) or (N, C)
                flat = maps.reshape(*maps.shape[:2], -1)
                out.width[name] = maps.shape[3] if maps.ndim == 4 else 1
                top, end = flat.argmax(2), flat.argmin(2)  # the first of equals: smaller y, then smaller x
                kept[f"top {name}"].append(top)
                kept[f"end {name}"].append(end)
                kept[f"high {name}"].append(np.take_along_axis(flat, top[..., None], 2)[..., 0])
                kept[f"mean {name}"].append(flat.mean(2, dtype=np.float64))
                kept[f"low {name}"].append(np.take_along_axis(flat, end[..., None], 2)[..., 0])
    finally:
        for handle in handles:
            handle.remove()
    for name in layers:
        out.high[name], out.low[name] = (np.concatenate(kept[f"{what} {name}"]) for what in ("high", "low"))
        out.mean[name] = np.concatenate(kept[f"mean {name}"])
        out.high_at[name], out.low_at[name] = (np.concatenate(kept[f"{what} {name}"]) for what in ("top", "end"))
    out.logits, out.codes = np.concatenate(logits), np.concatenate(codes)
    return out


def batches_of(pixels: Mapping[int, Array], size: int) -> Iterator[tuple[list[int | None], Tensor]]:
    """Batches in which image i lies in slot i % size, as the settings say; black pixels where there is none."""
    shape = next(iter(pixels.values())).shape
    for number in sorted({image_id // size for image_id in pixels}):
        ids = [i if i in pixels else None for i in range(number * size, (number + 1) * size)]
        filled = [pixels[i] if i is not None else np.zeros(shape, np.uint8) for i in ids]
        yield ids, to_tensor(np.stack(filled)).contiguous(memory_format=torch.channels_last)


def strongest(values: Sequence[float], ids: Sequence[int], k: int) -> list[tuple[int, float]]:
    """(image, response) of the k largest; ties to the smaller image."""
    order = sorted(zip(ids, values, strict=True), key=lambda pair: (-pair[1], pair[0]))
    return [(image_id, float(value)) for image_id, value in order[:k]]


def weakest(values: Sequence[float], ids: Sequence[int], k: int) -> list[tuple[int, float]]:
    """(image, response) of the k smallest; ties to the smaller image."""
    order = sorted(zip(ids, values, strict=True), key=lambda pair: (pair[1], pair[0]))
    return [(image_id, float(value)) for image_id, value in order[:k]]


def spread(values: Sequence[float], ids: Sequence[int]) -> list[tuple[int, float]]:
    """The middle image of each tenth of a sample, the strongest tenth first."""
    order = strongest(values, ids, len(ids))
    cuts = [tenth * len(order) // 10 for tenth in range(11)]
    tenths = [order[a:b] for a, b in itertools.pairwise(cuts)]
    return [tenth[(len(tenth) - 1) // 2] for tenth in tenths if tenth]


def selectivity(values: Array, class_ids: Array) -> float:
    """Morcos et al. 2018: (largest class mean - mean of the other class means) / (their sum), of rectified values."""
    means = [np.maximum(values[class_ids == c], 0).astype(np.float64).mean() for c in sorted(set(class_ids.tolist()))]
    best = means.pop(int(np.argmax(means)))
    rest = sum(means) / len(means)
    return (best - rest) / (best + rest) if best + rest else float("nan")


def sample_hash(seed: int, content: bytes) -> int:
    """What orders images for the response sample: BLAKE2b over the seed as text, a zero, the content."""
    return int.from_bytes(hashlib.blake2b(f"{seed}".encode() + bytes(1) + content, digest_size=8).digest(), "little")
