"""`--no-classes`: a whole atlas of a network that gives features, which says of classes nothing at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

import atlas
from atlas.errors import SettingsError
from atlas.network import load
from atlas.settings import Settings
from atlas.store.sealed import Sealed
from jobs.add import add
from jobs.build import build, wanted
from jobs.cli import main
from jobs.planning.network import plan_network
from jobs.show import info, network_layers
from jobs.verify import verify
from tests import feature_nets, tiny

COUNT = 40


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    tiny.write_images(folder / "images", COUNT, {})
    torch.manual_seed(3)
    save_file(feature_nets.maps().state_dict(), folder / "w.safetensors")
    return folder


def settings(root: Path, how: str = "maps", **options: Any) -> Settings:
    network, weights = f"{feature_nets.__file__}:{how}", str(root / "w.safetensors")
    given = {"network": network, "weights": weights, "no_classes": True, "k": 2, "evidence": 1, **options}
    return tiny.settings(root, root / "atlas", **given)


@pytest.fixture(scope="module")
def built(root: Path, embedded_ray: None) -> Path:
    build(settings(root))
    return root / "atlas"


def table(folder: Path, name: str) -> list[dict[str, Any]]:
    return list(pq.read_table(folder / f"{name}.parquet").to_pylist())


def test_the_code_is_the_output(root: Path, built: Path) -> None:
    chosen = settings(root)
    session = plan_network(chosen).session(chosen)
    rows = pq.read_table(built / "codes").sort_by("image_id")
    codes = np.array(rows.column("code").to_pylist(), np.float32)
    assert codes.shape == (COUNT, 6)
    keys = [row["key"] for row in table(built, "images")]
    pixels = np.stack([session.pixels((root / "images" / key).read_bytes()) for key in keys[:8]])
    with torch.no_grad():
        bare = load.bare(chosen.network, load.Ask(classes=False))
        bare.load_state_dict(load.read_state(str(chosen.weights)))
        expected = bare(session.normalise(pixels))
    assert expected.shape == (8, 6)
    np.testing.assert_allclose(codes[:8], expected.numpy(), rtol=1e-5, atol=1e-6)


def test_nothing_is_said_of_classes(built: Path) -> None:
    for row in table(built, "images"):
        assert (row["predicted"], row["probability"], row["loss"]) == (None, None, None)
        assert row["class_name"] in tiny.CLASSES  # what the data says of itself stays
    assert table(built, "classes") == []
    for row in table(built, "neurons"):
        assert row["top_classes"] == []
        assert row["selectivity"] is None
    opened = atlas.open(str(built))
    assert opened.about["accuracy"]["top1"] is None
    assert "accuracy     none: the network gives features, no classes" in info(opened)


def test_it_verifies_and_replays(root: Path, built: Path) -> None:
    s = settings(root)
    assert verify(str(built), 6, images=s.images, network=s.network, weights=s.weights) == 0


def test_parts_about_classes_are_refused(root: Path, built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("localization", "attributes"):
        with pytest.raises(SettingsError, match="gives features, no classes"):
            add(str(built), part)
    assert not Sealed(str(built)).classified
    with pytest.raises(SettingsError, match="--with attributes: needs classes"):
        wanted(settings(root, with_parts=("words", "attributes")))
    s = settings(root)
    assert main(tiny.arguments(s, "--no-classes", "--code-layer", "conv1")) == 2
    assert "with --no-classes the code is the network's output" in capsys.readouterr().err


@pytest.mark.anyio
async def test_pages_do_not_pretend(built: Path) -> None:
    from api.app import create_app

    app = create_app([str(built)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        pages = {
            path: (await client.get(f"/atlas{path}")).raise_for_status().text
            for path in ("", "/neurons/conv2/1", "/images/0", "/classes", "/classes/0", "/layers/conv1", "/map")
        }
    for path, text in pages.items():
        for word in ("at the first guess", "recognised", "Taken for", "Mean response by class", "most for"):
            assert word not in text, (path, word)
    assert "%" not in pages["/classes"].partition("<main")[2]


@pytest.mark.parametrize("how", ["vector", "maps", "tokens", "named"])
def test_features_of_any_form(root: Path, how: str) -> None:
    plan = plan_network(settings(root, how))
    assert [layer.name for layer in plan.layers] == ["conv1", "conv2"]
    assert "conv2" in network_layers(f"{feature_nets.__file__}:{how}", 32, no_classes=True)
