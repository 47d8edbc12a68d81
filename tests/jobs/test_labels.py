"""What images say of their classes: lists of them, other columns, the network's own names; said before work starts."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import average_precision_score

import atlas
from atlas.errors import SourceError
from atlas.images.manifest import list_images, read_images
from atlas.images.sources import Columns
from atlas.scan.judge import Labelled, average_precision, judge
from atlas.settings import Settings
from jobs.add import add
from jobs.build import build
from jobs.extend import extend
from jobs.planning.network import plan_network
from jobs.planning.plan import make_plan
from jobs.show import info
from jobs.verify import verify
from tests import tiny

COUNT = 48
LISTS: list[list[str] | None] = [
    None if n % 11 == 5 else [c for i, c in enumerate(tiny.CLASSES) if (n >> i) % 3 == 0] for n in range(COUNT)
]


def bodies(count: int = COUNT) -> list[bytes]:
    return [tiny.encoded(tiny.picture(number), "png") for number in range(count)]


def rows(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table({"image": pa.array(bodies(), pa.binary()), **columns}), path, row_group_size=20)
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several")
    tiny.write_weights(folder / "weights.safetensors")
    rows(folder / "rows.parquet", tags=pa.array(LISTS, pa.list_(pa.string())))
    return folder


def settings(root: Path, **options: Any) -> Settings:
    images = (str(root / "rows.parquet"),)
    return tiny.settings(root, **{"images": images, "label_column": "tags", "k": 2, "evidence": 1, **options})


@pytest.fixture(scope="module")
def built(root: Path, embedded_ray: None) -> Path:
    build(settings(root))
    return root / "atlas"


def logits_of(root: Path) -> np.ndarray[Any, Any]:
    """What the network says of each image, one call an image."""
    chosen = settings(root)
    session = plan_network(chosen).session(chosen)
    with torch.no_grad():
        found = [session.module(session.normalise(session.pixels(body)[None])) for body in bodies()]
    return torch.cat(found).double().numpy()


def test_accuracy_is_mean_average_precision(root: Path, built: Path) -> None:
    logits = logits_of(root)
    known = [n for n, labels in enumerate(LISTS) if labels is not None]
    true = np.array([[c in (LISTS[n] or []) for c in tiny.CLASSES] for n in known])
    each = [average_precision_score(true[:, c], logits[known, c]) for c in range(4)]
    opened = atlas.open(str(built))
    told = opened.about["accuracy"]
    assert told["average_precision"] == pytest.approx(each, abs=1e-9)
    assert told["mean_average_precision"] == pytest.approx(
        average_precision_score(true, logits[known], average="macro"), abs=1e-9
    )
    assert (told["top1"], told["images"]) == (None, len(known))
    assert f"{100 * np.mean(each):.1f} % mean average precision of {len(known)} images" in info(opened)


def test_lists_are_kept_and_every_class_counts(root: Path, built: Path) -> None:
    images = pq.read_table(built / "images.parquet").to_pylist()
    names = list(tiny.CLASSES)
    for row, labels in zip(images, LISTS, strict=True):
        assert row["class_id"] is None
        assert row["class_ids"] == (None if labels is None else [names.index(c) for c in labels])
    logits = logits_of(root)
    maxima = {}
    for row in pq.read_table(built / "responses/part-00004.parquet").to_pylist():
        maxima[row["image_id"]] = row["max"]
    profile = {
        (r["channel"], r["class_id"]): r["mean"]
        for r in pq.read_table(built / "classes.parquet").to_pylist()
        if r["layer"] == "fc"
    }
    for number, name in enumerate(names):
        mine = [n for n, labels in enumerate(LISTS) if labels and name in labels]
        for channel in range(4):
            assert profile[channel, number] == pytest.approx(logits[mine, channel].mean(), rel=1e-4)


def test_probability_and_loss_are_those_of_independent_classes(root: Path, built: Path) -> None:
    logits = torch.from_numpy(logits_of(root))
    true = torch.tensor([[float(c in (labels or [])) for c in tiny.CLASSES] for labels in LISTS])
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, true.double(), reduction="none").mean(1)
    for row, labels, score, each in zip(
        pq.read_table(built / "images.parquet").to_pylist(), LISTS, logits, loss, strict=True
    ):
        assert row["predicted"] == int(score.argmax())
        assert row["probability"] == pytest.approx(float(score.max().sigmoid()), abs=1e-5)
        assert row["loss"] == (None if labels is None else pytest.approx(float(each), abs=1e-5))


def test_average_precision_by_hand() -> None:
    scores = np.array([[0.9, 1], [0.8, 1], [0.7, 1], [0.6, 1], [0.5, 1]], np.float32)
    lists = pa.table({"class_id": pa.nulls(5, pa.int32()), "class_ids": [[0], [1], [0, 1], None, []]})
    labels = Labelled.of_rows(lists.cast(pa.schema({"class_id": pa.int32(), "class_ids": pa.list_(pa.int32())})))
    assert average_precision(scores, labels) == pytest.approx([(1 / 1 + 2 / 3) / 2, 2 / 4])  # all tie: 2 of 4 known
    predicted, probability, loss = judge(scores, labels)
    assert predicted.tolist() == [1, 1, 1, 1, 1]
    assert probability[0] == pytest.approx(1 / (1 + np.exp(-1)))
    assert np.isnan(loss).tolist() == [False, False, False, True, False]


def test_it_verifies_replays_takes_parts_and_is_extended(root: Path, built: Path, tmp_path: Path) -> None:
    s = settings(root)
    add(str(built), "attributes")
    add(str(built), "words", least=2)
    words = {row["words"] for row in pq.read_table(built / "parts/words/words.parquet").to_pylist()}
    assert any(name in str(text) for text in words for name in tiny.CLASSES)
    assert verify(str(built), 6, images=s.images, network=s.network, weights=s.weights) == 0
    half = pq.read_table(root / "rows.parquet").slice(0, 32)
    for name, part in (("a", half), ("b", pq.read_table(root / "rows.parquet").slice(32))):
        (tmp_path / name).mkdir()
        pq.write_table(part, tmp_path / name / "rows.parquet")
    first, second = ((str(tmp_path / name),) for name in ("a", "b"))
    build(settings(root, images=first, out=str(tmp_path / "first")))
    extend(str(tmp_path / "first"), second, str(tmp_path / "both"), network=s.network, weights=s.weights)
    build(settings(root, images=(*first, *second), out=str(tmp_path / "once")))
    once, both = (atlas.open(str(tmp_path / name)).about for name in ("once", "both"))
    assert once["accuracy"] == both["accuracy"]
    assert once["digest"] == both["digest"]


@pytest.mark.anyio
async def test_pages_say_average_precision(built: Path) -> None:
    from api.app import create_app

    app = create_app([str(built)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        texts = [(await client.get(f"/atlas{path}")).raise_for_status().text for path in ("", "/classes/1", "/classes")]
        assert "mean average precision" in texts[0]
        assert "average precision" in texts[1]
        assert "recognised" not in texts[1]
        assert "bee" in texts[1]
        assert "bee" in texts[2]
        item = (await client.get("/api/v1/atlases/atlas/classes/1")).json()
        assert item["accuracy"] is None
        assert 0 < item["average_precision"] <= 1


# What is there under another name


def test_columns_by_name(tmp_path: Path) -> None:
    other = pa.array([tiny.encoded(tiny.picture(0), "png")] * COUNT, pa.binary())
    path = str(rows(tmp_path / "x.parquet", thumb=other, kind=pa.array(["b", "a"] * (COUNT // 2))))
    plain = list_images([path])
    assert plain.table["class_id"].null_count == COUNT
    assert plain.notes == (
        f"{path}: no column `label`, so its images have no class; --label-column may name one of kind",
    )
    named = list_images([path], columns=Columns("thumb", "kind"))
    assert named.classes == ("a", "b")
    assert named.table["class_id"].to_pylist()[:2] == [1, 0]
    assert {body for _, body in read_images(named.table.slice(0, 4))} == {other[0].as_py()}
    assert named.notes == ()
    with pytest.raises(SourceError, match="--label-column kinds: no such column; it has image, thumb, kind"):
        list_images([path], columns=Columns(label="kinds"))
    with pytest.raises(SourceError, match="--image-column kind: no column of images; expected one of image, thumb"):
        list_images([path], columns=Columns(image="kind"))
    folder = tiny.write_images(tmp_path / "folder", 3, {})
    with pytest.raises(SourceError, match=r"--label-column kind: .* is a folder of images"):
        list_images([str(folder)], columns=Columns(label="kind"))


def test_lists_of_a_described_column_and_mixed_sources(tmp_path: Path) -> None:
    inner = {"names": ["zebra", "ant"], "_type": "ClassLabel"}
    for feature in ({"feature": inner, "_type": "Sequence"}, [inner]):
        table = pa.table({"image": bodies(3), "label": pa.array([[1, 0, 1], [], None], pa.list_(pa.int64()))})
        about = json.dumps({"info": {"features": {"label": feature}}})
        pq.write_table(table.replace_schema_metadata({"huggingface": about}), tmp_path / "x.parquet")
        found = list_images([str(tmp_path / "x.parquet")])
        assert found.several
        assert found.classes == ("zebra", "ant")
        assert found.table["class_ids"].to_pylist() == [[0, 1], [], None]
    single = rows(tmp_path / "y.parquet", label=pa.array(range(COUNT)))
    with pytest.raises(SourceError, match="some sources give an image one class, others a list"):
        list_images([str(tmp_path / "x.parquet"), str(single)])


def test_labels_of_shards_by_key_or_ending(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for number in range(3):
            files = {
                "png": bodies(3)[number], "seg.png": bodies(3)[0], "txt": f"word {number}".encode(),
                "json": json.dumps({"kinds": ["b", "a"][: number + 1], "score": 0.5, "width": 3}).encode(),
            }  # fmt: skip
            for ending, body in files.items():
                info = tarfile.TarInfo(f"{number:03d}.{ending}")
                info.size = len(body)
                tar.addfile(info, io.BytesIO(body))
    plain = list_images([str(path)])
    assert "--label-column may name one of txt, kinds, width" in plain.notes[0]
    assert list_images([str(path)], columns=Columns(label="txt")).classes == ("word 0", "word 1", "word 2")
    several = list_images([str(path)], columns=Columns(label="kinds", image="seg.png"))
    assert several.table["class_ids"].to_pylist() == [[1], [0, 1], [0, 1]]
    assert {body for _, body in read_images(several.table)} == {bodies(1)[0]}


def test_a_single_image_is_a_source(tmp_path: Path) -> None:
    folder = tiny.write_images(tmp_path / "folder", 5, {})
    one = folder / "bee" / "000.jpg"
    found = list_images([str(one)])
    assert found.table.select(["key", "class_id"]).to_pylist() == [{"key": "000.jpg", "class_id": None}]
    assert [body for _, body in read_images(found.table)] == [one.read_bytes()]
    assert len(list_images([str(one), str(folder)]).table) == 6


# What the network says


def test_the_networks_own_names_are_the_order(tmp_path: Path) -> None:
    folder = tiny.write_images(tmp_path / "folder", 8, {})
    names = ("dog", "cow", "cat", "bee", "ant")
    found = list_images([str(folder)], network_names=names)
    assert found.by_network
    assert found.classes == names
    assert found.table["class_id"].to_pylist() == [4, 4, 3, 3, 2, 2, 0, 0]
    other = list_images([str(folder)], network_names=("tree", "house"))
    assert not other.by_network
    assert "the network calls its classes tree, house, …, the images' are ant, bee, cat, …" in other.notes[0]


def test_another_number_of_classes_is_said_before_work(root: Path, tmp_path: Path) -> None:
    folder = tiny.write_images(tmp_path / "folder", 6, {})
    (folder / "emu").mkdir()
    (folder / "emu" / "1.png").write_bytes(bodies(1)[0])
    _, manifest = make_plan(tiny.settings(root, images=(str(folder),)))
    assert any("the network has 4 classes, the images 5" in note for note in manifest.notes)
    _, manifest = make_plan(settings(root))
    assert manifest.notes == ()
