"""The job on real photographs and real networks, against the slow twin from files, and against known truths."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from torch import nn

from atlas.codes import embedding
from atlas.settings import Settings
from jobs.build import build
from tests import naive

pytestmark = [pytest.mark.data, pytest.mark.slow, pytest.mark.timeout(1500)]


def rows(atlas: Path, name: str) -> list[dict[str, Any]]:
    return list(pq.read_table(atlas / f"{name}.parquet").to_pylist())


def top1(atlas: Path) -> float:
    return float(np.mean([row["predicted"] == row["class_id"] for row in rows(atlas, "images")]))


@pytest.fixture(scope="module")
def squeezenet(data: Path, tmp_path_factory: pytest.TempPathFactory, embedded_ray: None) -> Path:
    """The atlas of SqueezeNet over the 1,000 photographs, without projections, its crops tiny."""
    out = tmp_path_factory.mktemp("squeezenet") / "atlas"
    build(
        Settings(
            images=(str(data / "imagenet-sample"),),
            network="squeezenet1_0",
            weights=str(data / "networks/squeezenet1_0.safetensors"),
            class_names=str(data / "imagenet_classes.tsv"),
            out=str(out),
            sides=("max",),
            projections=(),
            evidence=0,
            thumbnails=0,
            picture_size=8,
            chunk_size="64",
            workers="2",
        )
    )
    return out


def test_known_truths(squeezenet: Path) -> None:
    neurons, layers = rows(squeezenet, "neurons"), rows(squeezenet, "layers")
    assert (len(layers), {layer["kind"] for layer in layers}) == (26, {"conv"})
    assert len(neurons) == 3976
    assert len(rows(squeezenet, "images")) == 1000
    assert top1(squeezenet) == pytest.approx(0.61, abs=0.005)
    dead = Counter(row["layer"] for row in neurons if row["dead"])
    assert dead == {"features.9.expand1x1": 6, "features.10.squeeze": 1}
    fields = {
        row["layer"]: (row["field_size"]["x"], row["field_stride"]["x"], row["field_start"]["x"]) for row in layers
    }
    assert fields["features.0"] == (7, 2, 0)
    assert fields["features.3.expand3x3"] == (19, 4, -4)
    assert fields["features.12.expand3x3"] == (155, 16, -60)


def test_against_the_twin_from_files(squeezenet: Path, data: Path) -> None:
    """One image at a time, in another memory layout: top-9 sets, responses and positions agree as promised."""
    from safetensors.torch import load_file

    from atlas.network.load import import_torchvision

    module = import_torchvision().models.squeezenet1_0(weights=None).eval().requires_grad_(False)
    module.load_state_dict(load_file(data / "networks/squeezenet1_0.safetensors"))
    names = {name: name for name, m in module.named_modules() if isinstance(m, nn.Conv2d)}
    images = rows(squeezenet, "images")
    batches = (
        ([row["image_id"]],
         naive.to_tensor(naive.to_pixels((data / "imagenet-sample" / row["key"]).read_bytes(), 256, 224)[None]))
        for row in images
    )  # fmt: skip
    twin = naive.scan(module, names, batches, "classifier.1")
    mine: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in rows(squeezenet, "examples"):
        mine[row["layer"], row["channel"]].append(row)
    same = total = right = 0
    for (layer, channel), examples in mine.items():
        column = twin.high[layer][:, channel]
        wanted = {image_id for image_id, _ in naive.strongest(column.tolist(), twin.ids, 9)}
        same += len(wanted & {row["image_id"] for row in examples})
        total += len(wanted)
        scale = np.abs(twin.high[layer]).max()
        for row in examples:
            assert abs(row["response"] - column[row["image_id"]]) <= 1e-3 * scale
            place = divmod(int(twin.high_at[layer][row["image_id"], channel]), twin.width[layer])
            right += (row["y"], row["x"]) == place
    assert total > 35_000
    assert same / total >= 0.99
    assert right / total >= 0.98


def cifar(data: Path, images: Path, out: Path) -> Path:
    build(
        Settings(
            images=(str(images),),
            network=f"{data}/cifar10/resnet20.py:net",
            weights=str(data / "cifar10/resnet20.safetensors"),
            out=str(out),
            resize=32,
            crop=32,
            sides=("max",),
            projections=(),
            evidence=0,
            thumbnails=0,
            picture_size=8,
            workers="2",
        )
    )
    return out


@pytest.fixture
def small_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """The map is laid out from 2,000 images: a t-SNE of all takes a minute, and says nothing of the scan."""
    monkeypatch.setattr(embedding, "SAMPLED", 2_000)


@pytest.mark.usefixtures("embedded_ray", "small_map")
def test_cifar_test_images_from_parquet(data: Path, tmp_path: Path) -> None:
    out = cifar(data, data / "cifar10/test.parquet", tmp_path / "atlas")
    assert len(rows(out, "images")) == 10_000
    assert top1(out) == pytest.approx(0.81, abs=0.003)
    kinds = Counter(row["kind"] for row in rows(out, "layers"))
    assert kinds == {"conv": 19, "block": 9, "linear": 1}


@pytest.mark.usefixtures("embedded_ray", "small_map")
def test_cifar_training_images_from_shards(data: Path, tools: Path, tmp_path: Path) -> None:
    train = data / "cifar10/train.parquet"
    command = [sys.executable, tools / "make_shards.py", train, tmp_path / "shards", "5000"]
    subprocess.run(command, check=True, capture_output=True)
    out = cifar(data, tmp_path / "shards", tmp_path / "atlas")
    images = rows(out, "images")
    assert len(images) == 50_000
    assert [row["class_id"] for row in images] == pq.read_table(train).column("label").to_pylist()
    assert top1(out) == pytest.approx(0.86, abs=0.003)
