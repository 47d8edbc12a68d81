"""Whole atlases of a small vision transformer of grey images and of a small ConvNeXt, trained on the digits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from atlas.settings import Settings
from jobs.build import build
from jobs.demo import digits, write_images
from jobs.verify import verify
from tests import token_nets

IMAGES = 150
MEAN, STD = 0.3, 0.35


@dataclass(frozen=True)
class Case:
    name: str
    root: Path
    right: float

    def settings(self, out: Path, **options: Any) -> Settings:
        grey = self.name == "vit"
        given: dict[str, Any] = {
            "images": (str(self.root / "images"),),
            "network": f"{token_nets.__file__}:{self.name}",
            "weights": str(self.root / "w.safetensors"),
            "out": str(out),
            "resize": 32,
            "crop": 32,
            "mean": (MEAN,) * (1 if grey else 3),
            "std": (STD,) * (1 if grey else 3),
            "channels": 1 if grey else None,
            "output": "logits" if grey else None,
            "k": 2,
            "evidence": 1,
            "picture_size": 32,
            "projections": ("deconvnet", "gradient", "lrp", "gradcam"),
            "workers": "1",
        }
        return Settings(**{**given, **options})


def train(module: nn.Module, x: Tensor, y: Tensor, epochs: int) -> float:
    """Share of the last 360 digits that are right."""
    count = len(x) - 360
    optimiser = torch.optim.AdamW(module.parameters(), 3e-3, weight_decay=1e-2)
    steps = epochs * (count // 32)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=steps)
    for _ in range(steps):
        batch = torch.randint(count, (32,))
        found = module(x[batch])
        loss = F.cross_entropy(found["logits"] if isinstance(found, dict) else found, y[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    module.eval()
    with torch.no_grad():
        found = module(x[count:])
    logits = found["logits"] if isinstance(found, dict) else found
    return float((logits.argmax(1) == y[count:]).float().mean())


@pytest.fixture(scope="module", params=["vit", "convnext"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    root = tmp_path_factory.mktemp(request.param)
    pixels, labels = digits()
    torch.manual_seed(0)
    module = getattr(token_nets, request.param)()
    x = (torch.from_numpy(pixels).float()[:, None] / 255 - MEAN) / STD
    x = x if request.param == "vit" else x.repeat(1, 3, 1, 1)
    right = train(module, x, torch.from_numpy(labels), 12)
    save_file(module.state_dict(), root / "w.safetensors")
    write_images(root / "images", pixels[-IMAGES:], labels[-IMAGES:])
    return Case(request.param, root, right)


@pytest.fixture(scope="module")
def built(case: Case, tmp_path_factory: pytest.TempPathFactory, embedded_ray: None) -> tuple[Case, Path, str]:
    out = tmp_path_factory.mktemp("built") / case.name
    return case, out, build(case.settings(out))


def table(atlas: Path, name: str) -> list[dict[str, Any]]:
    return list(pq.read_table(atlas / f"{name}.parquet").to_pylist())


def test_it_has_learnt(case: Case) -> None:
    assert case.right >= 0.95


def test_every_layer_is_there_with_its_grid(built: tuple[Case, Path, str]) -> None:
    case, out, _ = built
    layers = {row["layer"]: row for row in table(out, "layers")}
    if case.name == "vit":
        parts = ("qkv", "proj", "fc1", "fc2")
        assert set(layers) == {"embed", "head", *(f"blocks.{b}" for b in (0, 1)),
                               *(f"blocks.{b}.{p}" for b in (0, 1) for p in parts)}  # fmt: skip
        tokens = layers["blocks.0.fc1"]
        assert (tokens["tokens"], tokens["prefix_tokens"], tokens["height"], tokens["width"]) == (True, 1, 4, 4)
        assert tokens["global_field"]
        assert not layers["embed"]["global_field"]
    else:
        assert set(layers) == {
            "stem",
            "head",
            *(f"{b}{p}" for b in ("one", "two") for p in ("", ".dw", ".up", ".down")),
        }
        gated = layers["one.down"]
        assert (gated["global_field"], gated["gated"]) == (True, True)
        assert gated["field_size"] == {"y": 20, "x": 20}
        assert not layers["one.up"]["global_field"]


def test_examples_lie_in_cells_and_prefix_tokens_have_none(built: tuple[Case, Path, str]) -> None:
    case, out, _ = built
    layers = {row["layer"]: row for row in table(out, "layers")}
    rows = table(out, "examples")
    assert rows
    for row in rows:
        layer = layers[row["layer"]]
        edges = [row[f"cell_{edge}"] for edge in ("left", "top", "right", "bottom")]
        if row["y"] < 0:
            assert layer["prefix_tokens"] > row["x"]
            assert edges == [0, 0, 32, 32]
        else:
            wide, high = 32 / layer["width"], 32 / layer["height"]
            assert edges == [row["x"] * wide, row["y"] * high, (row["x"] + 1) * wide, (row["y"] + 1) * high]
    if case.name == "vit":
        assert {row["y"] < 0 for row in rows if row["layer"] == "blocks.1.fc1"} == {True, False}


def test_pictures_of_every_kind_are_there_or_say_why_not(built: tuple[Case, Path, str]) -> None:
    _, out, _ = built
    rows = table(out, "explanations")
    made: dict[str, int] = {}
    for row in rows:
        there = row["picture"]["pack"] is not None
        made[row["kind"]] = made.get(row["kind"], 0) + there
        assert there or row["picture"]["why"]
    assert made["deconvnet"] < made["gradient"]  # past a GELU it is not defined
    assert made["lrp"] > 0
    assert made["gradcam"] > 0
    first = "embed" if "embed" in {row["layer"] for row in rows} else "stem"
    whys = {r["picture"]["why"] for r in rows if r["kind"] == "gradcam" and r["layer"] == first}
    assert any("no layer before this one has a map" in str(why) for why in whys)
    tested = [r for r in rows if r["kind"] == "lrp" and r["sufficiency"] is not None]
    assert tested


def test_it_verifies_and_replays(built: tuple[Case, Path, str]) -> None:
    case, out, _ = built
    s = case.settings(out)
    assert verify(str(out), 12, images=s.images, network=s.network, weights=s.weights) == 0


def test_two_workers_give_the_same(built: tuple[Case, Path, str], tmp_path: Path) -> None:
    case, _, digest = built
    assert build(case.settings(tmp_path / "two", workers="2")) == digest


@pytest.mark.anyio
async def test_it_is_browsed(built: tuple[Case, Path, str]) -> None:
    from api.app import create_app

    case, out, _ = built
    layer = "blocks.0.fc1" if case.name == "vit" else "one.down"
    app = create_app([str(out)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        for path in (f"/{case.name}/layers", f"/{case.name}/neurons/{layer}/0", f"/{case.name}/layers/{layer}"):
            assert (await client.get(path)).status_code == 200, path
        about = (await client.get(f"/api/v1/atlases/{case.name}/neurons/{layer}/0")).json()
        assert about["layer"] == layer
