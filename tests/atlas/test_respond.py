"""Largest and smallest of each map, in every layout; responses of one call against plain hooks."""

from __future__ import annotations

import pytest
import torch

from atlas.scan import respond
from atlas.scan.respond import extremes


@pytest.mark.parametrize(
    "shape",
    [(2, 16, 7, 7), (2, 48, 5, 5), (1, 1000, 13, 13), (2, 32, 4, 4), (3, 3, 2, 2), (2, 7, 1, 1), (1, 24, 1, 9),
     (4, 1, 8, 8), (2, 5, 32, 1)],
)  # fmt: skip
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_extremes(shape: tuple[int, int, int, int], layout: torch.memory_format) -> None:
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(memory_format=layout)
    high, low = extremes(maps)
    assert torch.equal(high, maps.amax((2, 3)))
    assert torch.equal(low, maps.amin((2, 3)))
    before = high.clone()
    maps.zero_()  # an in-place operation that follows must not change what was taken
    assert torch.equal(high, before)


@pytest.mark.parametrize("shape", [(3, 96, 109, 131), (5, 24, 200, 201), (2, 1, 9, 9), (2, 40, 3, 5)])
def test_extremes_of_large_maps(shape: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(respond, "_CACHE", 1)
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    high, low = extremes(maps)
    assert torch.equal(high, maps.amax((2, 3)))
    assert torch.equal(low, maps.amin((2, 3)))


def test_extremes_of_tokens() -> None:
    tokens = torch.randn(2, 9, 24)  # (N, T, C)
    maps = tokens.movedim(2, 1).unsqueeze(3)
    high, low = extremes(maps)
    assert torch.equal(high, tokens.amax(1))
    assert torch.equal(low, tokens.amin(1))
