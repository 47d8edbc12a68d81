"""The demonstration of Gram matrices in `examples/`, run as a file."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

from tests.visualize.subjects import Convolutions, noise, subject

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/gram.py"


@pytest.mark.usefixtures("one_thread")
def test_a_texture_comes_near_to_its_image() -> None:
    example = runpy.run_path(str(EXAMPLE))
    module = Convolutions().eval()
    body, stored, start = example["texture"](subject(module), noise(1)[0], ["first", "second"], 60)
    assert body[:4] == b"RIFF"
    assert stored < 0.1 * start


def test_distance_by_hand() -> None:
    example = runpy.run_path(str(EXAMPLE))
    a, b = torch.tensor([[[2.0, 0.0], [0.0, 1.0]]]), torch.tensor([[[2.0, 0.0], [0.0, 0.0]]])
    assert example["distance"]([a, b], [b, b]).tolist() == pytest.approx([0.125])
