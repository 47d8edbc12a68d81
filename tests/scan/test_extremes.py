"""Largest, smallest and mean of each map, in every layout, precision and number of threads, against PyTorch's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atlas.scan.extremes import extremes


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def found(maps: torch.Tensor) -> torch.Tensor:
    """Largest, smallest and mean (3, N, C), written to columns of a wider table, as a scan's are."""
    n, channels = maps.shape[:2]
    wide = torch.full((3, n, channels + 3), 7.0)
    extremes(maps, wide[:, :, 2:-1])
    assert (wide[:, :, [0, 1, -1]] == 7).all()
    return wide[:, :, 2:-1]


def check(maps: torch.Tensor) -> None:
    expected = torch.stack([maps.amax((2, 3)), maps.amin((2, 3))]).float()
    got = found(maps)
    torch.testing.assert_close(got[:2], expected, rtol=0, atol=0, equal_nan=True)
    if expected.isfinite().all() and expected.abs().max() < 1e30:
        torch.testing.assert_close(got[2].double(), maps.double().mean((2, 3)), rtol=1e-5, atol=1e-5)


SHAPES = [
    (2, 16, 7, 7), (2, 48, 5, 5), (1, 1000, 13, 13), (2, 32, 4, 4), (3, 3, 2, 2), (2, 7, 1, 1), (1, 24, 1, 9),
    (4, 1, 8, 8), (2, 5, 32, 1), (5, 24, 200, 201),
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extremes(shape: tuple[int, int, int, int], layout: torch.memory_format, dtype: torch.dtype) -> None:
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype).to(memory_format=layout)
    check(maps)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("shape", [*SHAPES, (1, 8, 5, 5)])
def test_threads(shape: tuple[int, int, int, int]) -> None:
    check(torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last))


@given(
    height=st.integers(1, 6), width=st.integers(1, 6), channels=st.integers(1, 20),
    place=st.integers(0, 2**16), value=st.sampled_from([float("nan"), float("inf"), float("-inf"), 3e38, -3e38, -0.0]),
    often=st.integers(1, 12),
)  # fmt: skip
def test_odd_values_are_not_lost(height: int, width: int, channels: int, place: int, value: float, often: int) -> None:
    """A response that is not finite must be seen, or its image would not be quarantined."""
    maps = torch.linspace(-2, 3, 2 * channels * height * width).view(2, height, width, channels).clone()
    flat = maps.view(-1)
    for i in range(often):
        flat[(place + 7 * i) % len(flat)] = value
    check(maps.permute(0, 3, 1, 2))


def test_nan_beside_infinities() -> None:
    maps = torch.zeros(1, 4, 4, 4).to(memory_format=torch.channels_last)
    maps[0, 1, 2, 3] = float("nan")
    maps[0, 2, 0, 0], maps[0, 2, 0, 1] = float("inf"), float("-inf")
    high, low, _ = found(maps)
    assert high[0, 1].isnan()
    assert low[0, 1].isnan()
    assert (high[0, 2], low[0, 2]) == (float("inf"), float("-inf"))
    assert (high[0, [0, 3]] == 0).all()


def test_extremes_of_tokens() -> None:
    tokens = torch.randn(2, 9, 24)  # (N, T, C)
    maps = tokens.movedim(2, 1).unsqueeze(3)
    high, low, mean = found(maps)
    torch.testing.assert_close(mean, tokens.mean(1))
    assert torch.equal(high, tokens.amax(1))
    assert torch.equal(low, tokens.amin(1))
