"""The part `connections` of the tiny atlas: made, checked, made again, killed; what cannot be taken apart."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from atlas.store import parts
from atlas.store.files import Folder
from atlas.store.sealed import Sealed
from jobs import cli
from jobs.add import add
from tests import tiny, tiny_net


def places(root: Path, network: str = f"{tiny_net.__file__}:net") -> dict[str, Any]:
    return {"network": network, "weights": str(root / "weights.safetensors"), "images": (str(root / "images"),)}


def flags(root: Path) -> list[str]:
    given = places(root)
    return ["--network", given["network"], "--weights", given["weights"], "--images", *given["images"]]


@pytest.fixture
def base(tiny_atlas: Path, tmp_path: Path) -> Path:
    """A copy of the tiny atlas, without parts."""
    shutil.copytree(tiny_atlas, tmp_path / "atlas", ignore=shutil.ignore_patterns("parts"))
    return tmp_path / "atlas"


def test_from_the_command_to_the_tables(
    base: Path, tiny_root: Path, embedded_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["add", "connections", str(base), "--workers", "1", *flags(tiny_root)]) == 0
    there = base / "parts" / "connections"
    rows = pq.read_table(there / "connections.parquet")
    assert rows.schema.field("contribution").metadata[b"meaning"]
    layers = Sealed(str(base)).layers
    told = pq.read_table(there / "additivity.parquet").to_pylist()
    assert [row["layer"] for row in told] == layers
    assert all(row["why"] is None and row["error"] < 1e-5 for row in told)
    forward = rows.filter(pc.field("direction") == "from").to_pylist()
    sources = {name: {row["other_layer"] for row in forward if row["layer"] == name} for name in layers}
    assert sources == {
        "conv1": {None}, "block.conv1": {"conv1"}, "block.conv2": {"block.conv1"},
        "block": {"block.conv2", "conv1"}, "conv2": {"block"}, "fc": {"conv2"},
    }  # fmt: skip
    first = rows.filter(pc.field("layer") == "conv1").filter(pc.field("direction") == "from")
    assert set(first.column("source").to_pylist()) == {"image"}
    check_edges(rows.to_pylist())
    assert cli.main(["verify", str(base), "--replay", "4", *flags(tiny_root)]) == 0
    said = capsys.readouterr().out
    assert "part connections: sound" in said
    assert "part connections: replay: 4 rows made again" in said
    assert cli.main(["info", str(base)]) == 0
    assert "connections: edges" in capsys.readouterr().out


def check_edges(rows: list[dict[str, Any]]) -> None:
    """Ranks and signs, and both directions tell the same."""
    forward = {
        (row["layer"], row["channel"], row["other_layer"], row["other_channel"]): row
        for row in rows
        if row["direction"] == "from" and row["other_layer"]
    }
    for row in rows:
        assert row["contribution"] * (1 if row["rank"] < 10 else -1) > 0
        if row["direction"] == "to":
            assert row["drop"] is None
            back = forward.get((row["other_layer"], row["other_channel"], row["layer"], row["channel"]))
            if back is not None:  # not among the ten strongest of the other one otherwise
                assert back["contribution"] == row["contribution"]
                assert back["weight"] == row["weight"]
        elif row["rank"] not in (0, 2, 9):
            assert row["drop"] is None
    by_neuron: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        key = row["layer"], row["channel"], row["direction"], row["rank"] >= 10
        by_neuron.setdefault(key, []).append(row)
    for key, each in by_neuron.items():
        assert [row["rank"] for row in each] == list(range(10 * key[3], 10 * key[3] + len(each)))
        sizes = [abs(row["contribution"]) for row in each]
        assert sizes == sorted(sizes, reverse=True)
        assert sum(sizes) <= 1 + 1e-6 or key[2] == "to"


@pytest.mark.slow
def test_one_digest_for_any_workers_and_after_a_kill(base: Path, tiny_root: Path, embedded_ray: None) -> None:
    found = set()
    for workers in ("1", "2"):
        found.add(add(str(base), "connections", workers=workers, **places(tiny_root)))
        shutil.rmtree(base / "parts")
    command = [sys.executable, "-m", "jobs.cli", "add", "connections", str(base), "--workers", "2", *flags(tiny_root)]
    driver = subprocess.Popen(command, cwd=Path(__file__).parents[2], start_new_session=True, stdout=subprocess.DEVNULL)
    plan = base / "parts" / "connections"
    while driver.poll() is None and not plan.exists():
        time.sleep(0.01)
    if driver.poll() is None:
        os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    assert parts.look(Folder(str(base)), Sealed(str(base)).digest, "connections").state == "begun"
    found.add(add(str(base), "connections", workers="2", **places(tiny_root)))
    assert len(found) == 1


def test_chunks_do_not_change_the_digest(
    base: Path, tiny_root: Path, embedded_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Embedded workers are processes of their own: the driver alone cuts, and the cut is in no result."""
    from jobs.stages import connections

    whole = add(str(base), "connections", workers="1", shuffled=False, **places(tiny_root))
    shutil.rmtree(base / "parts")
    monkeypatch.setattr(connections, "IMAGES", 32)
    monkeypatch.setattr(connections, "BYTES", 1000)
    assert add(str(base), "connections", workers="1", shuffled=False, **places(tiny_root)) == whole


def test_calls_use_the_slots_of_the_scan() -> None:
    from jobs.stages.connections import calls

    ids = sorted(np.random.default_rng(0).choice(1000, 90, replace=False).tolist())
    found = list(calls(ids, 8))
    assert sorted(i for call in found for i in call) == ids
    assert all(len({i % 8 for i in call}) == len(call) for call in found)
    assert len(found) == max(np.bincount([i % 8 for i in ids]))
    assert list(calls([], 8)) == []


def test_a_layer_that_cannot_be_taken_apart_is_said_and_the_rest_is_done(tmp_path: Path, embedded_ray: None) -> None:
    from safetensors.torch import save_file

    from jobs.build import build

    network = tmp_path / "odd.py"
    network.write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "class Own(nn.Conv2d):\n"
        "    def forward(self, x):\n"
        "        return self._conv_forward(x, self.weight - self.weight.mean(), self.bias)\n\n\n"
        "def net():\n"
        "    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), Own(4, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),\n"
        "                         nn.Flatten(), nn.Linear(4, 4))\n"
    )
    scope: dict[str, Any] = {}
    exec(network.read_text(), scope)
    tiny.write_images(tmp_path / "images", 40, {})
    save_file(scope["net"]().state_dict(), tmp_path / "weights.safetensors")
    build(tiny.settings(tmp_path, network=f"{network}:net", projections=(), evidence=0, k=3))
    base = str(tmp_path / "atlas")
    add(base, "connections", workers="1", **places(tmp_path, f"{network}:net"))
    told = {row["layer"]: row for row in pq.read_table(Path(base) / "parts/connections/additivity.parquet").to_pylist()}
    assert told["2"]["error"] > 1e-3
    assert "more than a sum" in told["2"]["why"]
    assert told["0"]["why"] is told["6"]["why"] is None
    rows = pq.read_table(Path(base) / "parts/connections/connections.parquet")
    ends = {(row["layer"], row["direction"]) for row in rows.to_pylist()}
    assert ends == {("0", "from"), ("6", "from"), ("2", "to")}
    assert cli.main(["verify", base]) == 0


def test_pages_and_json(base: Path, tiny_root: Path, embedded_ray: None) -> None:
    import httpx
    from pydantic import TypeAdapter

    from api import views
    from api.app import create_app
    from api.views.sectioned import model as sectioned
    from tests.api.serving import serving

    add(str(base), "connections", workers="1", **places(tiny_root))
    with serving(create_app([base])) as address, httpx.Client(base_url=address) as client:
        name = client.get("/api/v1/atlases").json()["items"][0]["name"]
        api = f"/api/v1/atlases/{name}"
        told = client.get(f"{api}/neurons/fc/1").json()["sections"]["connections"]
        assert {edge["layer"] for edge in told["fed_by"]} == {"conv2"}
        assert told["feeds"] == []
        assert told["fed_by"][0]["crop"]["url"]
        others = [client.get(f"{api}/neurons/block.conv1/{c}").json()["sections"]["connections"] for c in range(6)]
        tested = [[each["maps"] for each in other["removed"]] for other in others]
        assert [1, 3] in tested or [1] in tested
        image = client.get(f"{api}/neurons/conv1/0").json()["sections"]["connections"]["fed_by"][0]
        assert (image["layer"], image["source"], image["page"]) == (None, "image", None)
        layer = client.get(f"{api}/layers/block.conv1").json()["sections"]
        assert layer["additivity"]["error"] < 1e-5
        assert {row["ranking"] for row in layer["removals"]["items"]} >= {"contribution", "equal", "shuffled", "chance"}
        paths = client.get(api).json()["sections"]["pathways"]["items"]
        assert {(row["layer"], row["other"]) for row in paths} >= {("block", "conv1"), ("block", "block.conv2")}
        for source in {row["layer"] for row in paths}:
            assert sum(row["share"] for row in paths if row["layer"] == source) == pytest.approx(1, abs=1e-5)
        whole = client.get(f"{api}/connections/fc/1?width=2&depth=3").json()
        for view, path in (("connections", "connections/fc/1"), ("neuron", "neurons/fc/1"), ("layer", "layers/fc")):
            model = sectioned(next(each for each in views.VIEWS if each.name == view))
            TypeAdapter(model).validate_python(client.get(f"{api}/{path}").json(), strict=True)
        assert [node["column"] for node in whole["nodes"]] == sorted(node["column"] for node in whole["nodes"])
        assert max(node["column"] for node in whole["nodes"]) == 3
        assert len(whole["links"]) <= 2 + 4 + 8
        assert client.get(f"{api}/connections/fc/9").status_code == 404
        assert client.get(f"{api}/connections/fc/1?width=9").status_code == 422
        page = client.get(f"/{name}/connections/fc/1?depth=2&sign=positive")
        assert page.status_code == 200
        assert page.text.count('class="edge"') > 3
        assert "against" not in page.text.split("<section")[1].split("</section>")[0]
        assert '<option value="positive" selected>' in page.text
        for path in ("neurons/fc/1", "layers/block.conv1", ""):
            assert "Traceback" not in client.get(f"/{name}/{path}").text
        assert "Unfold it towards the input" in client.get(f"/{name}/neurons/fc/1").text


def test_without_the_part(base: Path) -> None:
    import httpx

    from api.app import create_app
    from tests.api.serving import serving

    with serving(create_app([base])) as address, httpx.Client(base_url=address) as client:
        name = client.get("/api/v1/atlases").json()["items"][0]["name"]
        answer = client.get(f"/api/v1/atlases/{name}/connections/fc/1")
        assert answer.status_code == 404
        assert "add connections" in answer.json()["detail"]
        assert "connections" not in client.get(f"/api/v1/atlases/{name}/neurons/fc/1").json().get("sections", {})
