"""Free words: crops embedded by a tiny encoder of a file, found by cosine, the same by any workers, and again."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import atlas
from atlas.errors import InputError, NetworkError, SettingsError
from atlas.read.embeddings import Embeddings
from atlas.store import layout
from atlas.store.sealed import Sealed
from atlas.words import embed, encoders
from jobs import cli
from jobs.add import add
from tests.words import tiny_encoder

FILE = Path(tiny_encoder.__file__)
NAME = f"{FILE}:encoder"
OPTIONS = {"shuffles": 100, "length": 1, "beam": 2, "least": 3, "encoder": NAME}


@pytest.fixture(scope="module")
def embedded(tiny_atlas: Path, tmp_path_factory: pytest.TempPathFactory, embedded_ray: None) -> Path:
    """A copy of the tiny atlas with its words and embeddings."""
    folder = tmp_path_factory.mktemp("embedded") / "atlas"
    shutil.copytree(tiny_atlas, folder)
    add(str(folder), "words", workers="1", **OPTIONS)
    return folder


def naive(folder: Path) -> dict[tuple[str, int], np.ndarray]:
    """Each neuron's embedding, crop by crop."""
    sealed, found = Sealed(str(folder)), {}
    rows = [r for r in sealed.table("examples").to_pylist() if r["side"] == "max" and r["duplicate_of"] is None]
    for row in sorted(rows, key=lambda r: (r["layer"], r["channel"], r["rank"])):
        crop = row["crop"]
        if crop["pack"] is None:
            continue
        with (folder / layout.pack_path(crop["pack"])).open("rb") as stream:
            stream.seek(crop["offset"])
            image = Image.open(io.BytesIO(stream.read(crop["length"]))).convert("RGB")
        vector = tiny_encoder.encoder().images([image])[0]
        found.setdefault((row["layer"], row["channel"]), []).append(vector / np.sqrt((vector**2).sum()))
    means = {neuron: sum(vectors[:9]) for neuron, vectors in found.items()}
    return {neuron: mean / np.sqrt((mean**2).sum()) for neuron, mean in means.items()}


def test_embeddings_are_the_mean_direction_of_the_strongest_crops(embedded: Path) -> None:
    expected = naive(embedded)
    rows = pq.read_table(embedded / "parts/words/embeddings.parquet").to_pylist()
    assert {(row["layer"], row["channel"]) for row in rows} == expected.keys()
    for row in rows:
        assert np.abs(row["embedding"] - expected[row["layer"], row["channel"]]).max() < 1e-6
    about = json.loads((embedded / "parts/words/part.json").read_text())
    digest = encoders.load(NAME).digest
    assert about["settings"]["identity"]["encoder"] == about["summary"]["encoder"] == digest
    assert about["summary"]["embedded"] == len(rows)
    assert str(FILE.parent) not in json.dumps(about)
    stack = np.array([row["embedding"] for row in rows])
    pairs = [stack[a] @ stack[b] for a in range(len(stack)) for b in range(len(stack)) if a != b]
    assert about["summary"]["embeddings_cosine"] == pytest.approx(np.mean(pairs), abs=1e-5)


def test_free_words_are_ranked_by_cosine_with_why(embedded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = naive(embedded)
    wanted = encoders.load(NAME).text("something blue")
    found = atlas.open(embedded).alike(wanted, 5)
    cosines = {neuron: float(vector @ wanted) for neuron, vector in expected.items()}
    assert [each.cosine for each in found] == pytest.approx(sorted(cosines.values(), reverse=True)[:5], abs=1e-5)
    spread = np.std(list(cosines.values()))
    assert found[0].deviations == pytest.approx(
        (max(cosines.values()) - np.mean(list(cosines.values()))) / spread, 1e-3
    )
    assert cli.main(["find", str(embedded), "something blue", "-k", "5", "--encoder", NAME]) == 0
    said = capsys.readouterr().out
    assert "no neuron stands for 'something blue' beyond chance" in said
    assert "no test against chance" in said
    assert f"its crops: cosine {found[0].cosine:.3f}" in said
    assert cli.main(["find", str(embedded), "ant"]) == 0
    assert "--encoder" in capsys.readouterr().out


def test_another_encoder_or_none_is_refused_in_one_line(
    embedded: Path, tiny_atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "mine.py"
    copy.write_text(FILE.read_text() + "\n# another one\n")
    assert cli.main(["find", str(embedded), "blue", "--encoder", f"{copy}:encoder"]) == 2
    assert "not the one that the part words was made with" in capsys.readouterr().err
    with pytest.raises(SettingsError, match="encoder was"):
        add(str(embedded), "words", **OPTIONS | {"encoder": f"{copy}:encoder"})
    for name, why in (
        ("clip", "expected open_clip:NAME"), (f"{tmp_path}/none.py:encoder", "no file"),
        (f"{FILE}:absent", "has no function"), (f"{FILE}:other", "without images"),
    ):  # fmt: skip
        with pytest.raises(NetworkError, match=why) as raised:
            add(str(tiny_atlas), "words", **OPTIONS | {"encoder": name})
        assert "\n" not in str(raised.value)
    assert not (tiny_atlas / "parts/words").exists()


def test_embeddings_come_again_and_a_changed_one_is_found(embedded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", str(embedded), "--replay", "4", "--encoder", NAME]) == 0
    said = capsys.readouterr().out
    assert "part words: sound" in said
    assert "embedding 0" in said
    assert cli.main(["verify", str(embedded), "--replay", "4"]) == 0
    assert "part words: replay: not checked: say where it lies now, with --encoder" in capsys.readouterr().out


@pytest.mark.slow
def test_one_digest_for_any_workers(embedded: Path, tmp_path: Path, embedded_ray: None) -> None:
    first = json.loads((embedded / "parts/words/part.json").read_text())["digest"]
    shutil.copytree(embedded, tmp_path / "atlas", ignore=shutil.ignore_patterns("words"))
    assert add(str(tmp_path / "atlas"), "words", workers="2", **OPTIONS) == first


def test_by_hand() -> None:
    loaded = encoders.Loaded("x", "0", tiny_encoder.encoder())
    red, blue = (Image.new("RGB", (3, 2), colour) for colour in ((255, 0, 0), (0, 0, 255)))
    near = np.sqrt(256**2 + 2)
    assert embed.of_neuron(loaded, [red]) == pytest.approx(np.array([256, 1, 1]) / near)
    both = embed.of_neuron(loaded, [red, blue])
    assert both == pytest.approx(np.array([257, 2, 257]) / np.sqrt(2 * 257**2 + 4))
    assert embed.alike(np.array([[1.0, 0], [0, 1], [1, 0]])) == pytest.approx(1 / 3)
    assert Embeddings(embed.ROWS.empty_table(), None).encoder is None


def test_a_vector_of_another_size_is_refused(embedded: Path) -> None:
    with pytest.raises(InputError, match="as the embeddings"):
        atlas.open(embedded).alike([1.0, 0.0])


@pytest.mark.skipif(importlib.util.find_spec("open_clip") is not None, reason="OpenCLIP is installed")
def test_open_clip_is_asked_for_in_one_line() -> None:
    with pytest.raises(NetworkError, match=r"needs OpenCLIP; pip install 'neuron-atlas\[clip\]'"):
        encoders.load("open_clip:ViT-B-32")
