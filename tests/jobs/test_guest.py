"""A network file that ends, prints, forks, hangs, or imports what needs help: said in a line, and never exit 0."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import save_file
from torch import nn

from atlas.errors import NetworkError
from atlas.network import load
from atlas.network.sources import guest
from jobs.cli import main
from tests import tiny

NET = """
import os, sys
from torch import nn
def make():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
"""
FORWARD = (
    NET + "class Net(nn.Linear):\n    def forward(self, x):\n        sys.exit(0)\ndef make():\n    return Net(2, 2)"
)


def written(folder: Path, code: str) -> str:
    path = folder / "guest_net.py"
    path.write_text(code)
    return f"{path}:make"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (f"{NET}\nsys.exit(0)", "ends the process (SystemExit: 0)"),
        (f"{NET}\nos._exit(0)", "ends the process (SystemExit: 0)"),
        (
            f"{NET}\ndef make():\n    raise SystemExit('no\\nlicence')",
            "make() ends the process (SystemExit: no licence)",
        ),
        (f"{NET}\nraise RuntimeError('no licence')", "raised RuntimeError: no licence"),
        (FORWARD, "its forward pass ends the process (SystemExit: 0)"),
    ],
)
def test_a_file_that_ends_is_refused(
    tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], code: str, says: str
) -> None:
    weights, out, leave = tmp_path / "w.safetensors", tmp_path / "new", os._exit
    save_file(nn.Linear(2, 2).state_dict(), weights)
    settings = tiny.settings(tiny_root, out)
    assert main(tiny.arguments(settings, "--network", written(tmp_path, code), "--weights", str(weights))) == 2
    said = capsys.readouterr().err
    assert said.startswith("neuron-atlas: --network")
    assert said.count("\n") == 1
    assert says in said
    assert not out.exists()
    assert os._exit is leave


def test_a_file_that_prints_and_forks_is_said_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = f"{NET}\nprint('hello')\nif os.fork():\n    os.wait()\n"
    assert isinstance(load.bare(written(tmp_path, code)), nn.Module)
    said = capfd.readouterr()
    assert said.out == ""  # the command's own
    assert said.err.count("prints: hello") == 1  # the copy never comes back
    assert said.err.count("forked this process; the copy takes no part") == 1


def test_a_file_that_takes_long_is_said_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest, "SAID_AFTER", (0.05, 0.1, 60.0))
    with guest.guest("net.py:make", "make()"):
        time.sleep(0.4)
    assert capfd.readouterr().err.count("net.py:make: make() is not done after 0 s") == 2


def test_a_file_may_import_timm_and_torchvision_through_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr("atlas.network.sources.of_file.import_torchvision", lambda: calls.append(1))
    code = "import sys\nif not getattr(sys, '_helped', 0):\n    sys._helped = 1\n"
    code += "    raise RuntimeError('operator torchvision::nms does not exist')\n"
    assert isinstance(load.bare(written(tmp_path, code + NET)), nn.Module)
    assert calls == [1]
    monkeypatch.delattr(sys, "_helped")
    with pytest.raises(NetworkError, match="raised RuntimeError: operator torchvision::"):
        load.bare(written(tmp_path, "raise RuntimeError('operator torchvision::nms')"))


@pytest.mark.parametrize(
    "body", [b"", b"hello world\n", b"a,b\n1,2\n", b"\x80\x02", b"PK\x03\x04", b"\x89PNG\r\n", b"((("]
)
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_weights_that_are_none(tmp_path: Path, body: bytes, ending: str) -> None:
    path = tmp_path / f"weights.{ending}"
    path.write_bytes(body)
    with pytest.raises(NetworkError, match=f"--weights {path}: (the file is empty|not a )") as raised:
        load.read_state(str(path))
    assert "\n" not in str(raised.value)
    assert "could run code" not in str(raised.value)
