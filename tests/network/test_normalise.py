"""Pixels to the network's input, against torchvision's own transforms, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atlas.images.decode import Preprocessing
from atlas.network.load import import_torchvision
from atlas.network.normalise import Normalise, by_steps

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize(
    "mean_std", [(MEAN, STD), ((0.5, 0.5, 0.5), (1.0, 1.0, 1.0)), ((0.0, 0.1, 0.9), (3.0, 1e-3, 7.0))]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_value(mean_std: tuple[tuple[float, ...], tuple[float, ...]], dtype: torch.dtype) -> None:
    import_torchvision()
    from torchvision.transforms.functional import normalize, to_tensor

    pixels = np.stack([np.random.default_rng(i).permutation(256).astype(np.uint8).reshape(16, 16) for i in range(6)])
    pixels = np.ascontiguousarray(pixels.reshape(2, 3, 16, 16).transpose(0, 2, 3, 1))
    pixels.flags.writeable = False  # as a decoded image's are
    mean, std = mean_std
    found = Normalise(Preprocessing(16, 16, mean, std, "bilinear"), torch.device("cpu"), dtype)(pixels)
    expected = torch.stack([normalize(to_tensor(p.copy()), list(mean), list(std)) for p in pixels]).to(dtype)
    assert torch.equal(found, expected)
    steps = by_steps(torch.tensor(pixels), torch.tensor(mean), torch.tensor(std))  # as on another device
    assert torch.equal(steps.permute(0, 3, 1, 2).to(dtype), expected)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_part_of_a_larger_array() -> None:
    normalise = Normalise(Preprocessing(4, 4, MEAN, STD, "bilinear"), torch.device("cpu"), torch.float32)
    large = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(1, 6, 8, 3)
    part = large[:, 1:5, 2:6]
    assert torch.equal(normalise(part), normalise(part.copy()))
