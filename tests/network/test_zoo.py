"""A quick part of `bench.zoo`: networks of several families, listed whole and run again; its store and its document."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bench import zoo

pytestmark = pytest.mark.usefixtures("one_thread")
FAST = ("squeezenet1_1", "timm:lcnet_050", "timm:vit_tiny_patch16_224", "timm:convnext_atto", "timm:levit_128s")


@pytest.mark.parametrize("name", FAST)
def test_a_quick_zoo(name: str) -> None:
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    row = zoo.look(name)
    assert zoo.sound(asdict(row))
    assert row.difference == 0
    assert row.listed == row.there > 10
    assert row.exact + row.gated + row.whole == row.listed


def test_it_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def apart(name: str) -> dict[str, Any]:
        asked.append(name)
        if name == "b":
            raise KeyboardInterrupt
        return asdict(zoo.Row(name, 8, 3, 4, 2, 1, 0, 0, 0, {"x": "does not depend on the image"}, 0.0, 1.0))

    monkeypatch.setattr(zoo, "STORE", tmp_path / "store.jsonl")
    monkeypatch.setattr(zoo, "DOCUMENT", tmp_path / "networks.md")
    monkeypatch.setattr(zoo, "names", lambda: iter(("a", "b", "c")))
    monkeypatch.setattr(zoo, "apart", apart)
    (tmp_path / "store.jsonl").write_text(json.dumps({"name": "c", "stopped": "an older state", "state": "0"}) + "\n")
    with pytest.raises(KeyboardInterrupt):
        zoo.main([])
    assert "1 of 3 networks; 3 of 3 layers" in (tmp_path / "networks.md").read_text()
    assert "Not run: b, c;" in (tmp_path / "networks.md").read_text()
    monkeypatch.setattr(zoo, "apart", lambda name: {"name": name, "stopped": "large"} if name == "b" else apart(name))
    assert not zoo.main([])
    text = (tmp_path / "networks.md").read_text()
    assert asked == ["a", "b", "c"]
    assert "3 of 3 networks; 6 of 6 layers that depend on the image are listed; 1 networks stopped." in text
    assert "| b | | stopped: large |" in text
