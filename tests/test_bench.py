"""The benchmarks can be started: each loads, says what it may be asked, and the arithmetic ones run."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from bench import merge_scale

BENCH = Path(merge_scale.__file__).parent
NAMES = sorted(path.stem for path in BENCH.glob("*.py") if not path.stem.startswith("__"))
NEEDS = {"peer": "zennit", "api": "psutil"}
SMALL = ["--neurons", "40", "--units", "5", "--unit", "12", "--classes", "4", "--dimensions", "3"]


@pytest.mark.parametrize("name", NAMES)
def test_loads_and_says_what_it_may_be_asked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    module = importlib.import_module(f"bench.{name}")
    if "argparse" in (BENCH / f"{name}.py").read_text():
        monkeypatch.setattr(sys, "argv", [name, "--help"])
        with pytest.raises(SystemExit) as stopped:
            module.main()
        assert stopped.value.code == 0


@pytest.mark.parametrize("order", ["sorted", "shuffled"])
def test_the_merge_at_a_small_scale(order: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert merge_scale.main([*SMALL, "--order", order])
    said = capsys.readouterr().out
    assert "1 of 1 pieces folded" in said
    assert "40 neurons" in said
