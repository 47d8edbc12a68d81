"""The GPU's benchmark: it says that there is no card, and its path runs on the CPU."""

from __future__ import annotations

import pytest
import torch

from bench import gpu


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_says_that_there_is_no_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([])
    assert "no CUDA device here, so nothing was measured" in capsys.readouterr().out


@pytest.mark.parametrize("dtype", ["bfloat16"])
def test_its_path_runs_on_the_cpu(dtype: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--device", "cpu", "--network", "resnet18", "--crop", "64", "--batch", "4", "--batches", "2"]
    gpu.main([*words, "--runs", "1", "--dtype", dtype])
    said = capsys.readouterr().out
    assert "scan / bare forward" in said
    assert "resnet18" in said
    assert "CPU" in said
