"""The index over the codes: kinds, recall, bytes, and what binds it to the codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from atlas.analyse import stage
from atlas.codes import index
from atlas.errors import FolderError, InputError, NotFoundError
from atlas.read.neighbours import Neighbours
from atlas.store.codes import Codes, check_binding, unit
from atlas.store.faiss_index import CodeIndex
from atlas.store.files import Folder
from tests import naive_codes
from tests.constructed_codes import write_codes


def folder_of(path: Path, count: int, dimensions: int = 8, *, half: bool = False, part: int = 300) -> Folder:
    """A folder of clustered codes, image_ids 3, 5, 7, …"""
    random = np.random.default_rng(count)
    centres = random.normal(size=(20, dimensions))
    codes = np.abs(centres[random.integers(0, 20, count)] + 0.3 * random.normal(size=(count, dimensions)))
    folder = Folder(str(path))
    write_codes(folder, 2 * np.arange(count) + 3, codes.astype(np.float32), half, part)
    return folder


def build(folder: Folder) -> dict[str, Any]:
    with stage.single_thread():
        return index.build(folder, Codes(folder), seed=0)


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every index one of lists."""
    monkeypatch.setattr(index, "EXACT_VALUES", 0)


@pytest.mark.parametrize("half", [False, True])
def test_codes_are_read_as_written(tmp_path: Path, half: bool) -> None:
    codes = Codes(folder_of(tmp_path, 700, half=half))
    assert (codes.count, codes.dimensions, len(codes.parts)) == (700, 8, 3)
    ids, values = (np.concatenate(x) for x in zip(*codes.blocks(), strict=True))
    assert ids.tolist() == codes.ids().tolist() == list(range(3, 1403, 2))
    wanted = np.array([3, 601, 603, 1401])
    assert (codes.take(wanted) == values[(wanted - 3) // 2]).all()
    with pytest.raises(FolderError, match="no code of image 4"):
        codes.take(np.array([3, 4]))
    with pytest.raises(FolderError, match="no code of image 1403"):
        codes.take(np.array([1401, 1403]))


def test_unit_keeps_zero_rows() -> None:
    assert unit([[3.0, 4.0], [0.0, 0.0]]).tolist() == [[np.float32(0.6), np.float32(0.8)], [0, 0]]


def test_exact_index_gives_the_exact_answer(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, 200)
    about = build(folder)
    assert (about["kind"], about["recall_at_10"], about["queries"]) == ("exact", 1.0, 200)
    codes = Codes(folder)
    values = codes.take(codes.ids())
    found = Neighbours(folder, {"index": about}).of_image(43, 7)
    assert [n.image_id for n in found] == naive_codes.nearest(
        values, codes.ids().tolist(), values[20].tolist(), 7, own=43
    )
    assert found[0].similarity == pytest.approx(
        naive_codes.cosine(values[20], values[(found[0].image_id - 3) // 2]), abs=1e-6
    )


@pytest.mark.usefixtures("lists")
def test_lists_reach_the_floor_and_say_how(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, 2000)
    about = build(folder)
    assert (about["kind"], about["parameters"]["lists"]) == ("ivf", index.lists_for(2000))
    assert min(about["recall_at_10"], about["recall_at_10_stored"]) >= index.FLOOR
    codes = Codes(folder)
    values, opened = codes.take(codes.ids()), Neighbours(folder, {"index": about})
    hits = 0
    for row in range(0, 2000, 50):
        near = naive_codes.nearest(values, codes.ids().tolist(), values[row].tolist(), 10, own=2 * row + 3)
        hits += len(set(near) & {n.image_id for n in opened.of_image(2 * row + 3, 10)})
    assert hits / 400 >= 0.95


@pytest.mark.usefixtures("lists")
def test_lists_put_aside_give_the_bytes_of_faiss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often lists are put aside, the file is the one that faiss.write_index writes."""
    folder = folder_of(tmp_path, 1000, part=100)
    build(folder)
    whole = folder.get("codes.faiss")
    read = faiss.read_index(str(folder.local("codes.faiss")))
    assert faiss.serialize_index(read).tobytes() == whole
    monkeypatch.setattr(index, "SPILL", 2000)
    build(folder)
    assert folder.get("codes.faiss") == whole
    assert not list(folder.local("work").iterdir())


@pytest.mark.parametrize("kind", ["exact", "lists"])
def test_same_bytes_however_the_codes_are_parted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    if kind == "lists":
        monkeypatch.setattr(index, "EXACT_VALUES", 0)
    seen = set()
    for part in (1000, 333, 7):
        folder = folder_of(tmp_path / str(part), 1000, part=part)
        about = build(folder)
        seen.add((folder.get("codes.faiss"), about["codes"]["values_sha256"], about["codes"]["ids_sha256"]))
    assert len(seen) == 1


def test_threads_are_as_before_afterwards() -> None:
    before = faiss.omp_get_max_threads()
    inside = []

    def fail() -> None:
        with stage.single_thread():
            inside.append(faiss.omp_get_max_threads())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert inside == [1]
    assert faiss.omp_get_max_threads() == before


@pytest.mark.usefixtures("lists")
def test_codes_come_back_out_of_the_index(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, 500)
    build(folder)
    codes, opened = Codes(folder), CodeIndex(folder.held("codes.faiss"))
    assert opened.ids().tolist() == codes.ids().tolist()
    wanted = np.array([3, 77, 1001])
    assert np.abs(opened.take(wanted) - unit(codes.take(wanted))).max() < 1e-3
    with pytest.raises(KeyError):
        opened.take(np.array([4]))


def test_one_image_and_none(tmp_path: Path) -> None:
    alone = build(folder_of(tmp_path / "one", 1))
    assert (alone["kind"], alone["recall_at_10"]) == ("exact", None)
    assert Neighbours(Folder(str(tmp_path / "one")), {"index": alone}).of_image(3) == []
    none = build(folder_of(tmp_path / "none", 0))
    assert none["file"] is None
    with pytest.raises(NotFoundError, match="no image has a code"):
        Neighbours(Folder(str(tmp_path / "none")), {"index": none}).of_image(3)


def test_equal_codes_are_all_found(tmp_path: Path) -> None:
    """Recall counts a code as similar as the tenth, whichever of many equal ones it is."""
    folder = Folder(str(tmp_path))
    write_codes(folder, np.arange(50), np.ones((50, 4), np.float32), False, 50)
    assert build(folder)["recall_at_10"] == 1.0


def test_queries_say_what_is_wrong(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, 30)
    opened = Neighbours(folder, json.loads(json.dumps({"index": build(folder)})))
    assert (opened.count, opened.dimensions) == (30, 8)
    with pytest.raises(NotFoundError, match=r"image 4: .* has no code of it"):
        opened.of_image(4)
    with pytest.raises(NotFoundError):
        opened.of_image(2**70)
    for k in (0, -1):
        with pytest.raises(InputError, match=f"k {k}: expected 1 or more"):
            opened.of_image(3, k)
    for code in ([1.0], [np.nan] * 8, [0.0] * 8, [np.inf] + [0.0] * 7, ["x"] * 8, [[1.0] * 8]):
        with pytest.raises(InputError, match="code"):
            opened.of_code(code)  # type: ignore[arg-type]
    by_code = opened.of_code(opened.codes(np.array([3]))[0] * 1e-30, 31)
    assert len(by_code) == 30
    assert by_code[0] == (3, pytest.approx(1.0))
    assert [n.image_id for n in opened.of_image(3, 99)] == [n.image_id for n in by_code[1:]]


@pytest.mark.parametrize("kind", ["exact", "lists"])
@pytest.mark.parametrize("path", ["codes.faiss", "codes/part-00001.parquet"])
@pytest.mark.parametrize("harm", ["flip", "truncate", "swap", "remove"])
def test_a_harmed_file_is_refused_naming_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, path: str, harm: str
) -> None:
    if kind == "lists":
        monkeypatch.setattr(index, "EXACT_VALUES", 0)
    folder = folder_of(tmp_path / "a", 900)
    about = build(folder)
    other = folder_of(tmp_path / "b", 901)
    build(other)
    file = folder.local(path)
    body = bytearray(file.read_bytes())
    if harm == "flip":
        body[len(body) // 2] ^= 16
        file.write_bytes(body)
    elif harm == "truncate":
        file.write_bytes(body[:-9])
    elif harm == "swap":
        file.write_bytes(other.get(path))
    else:
        file.unlink()
    with pytest.raises(FolderError, match=r"codes\.faiss") as error:
        Neighbours(folder, {"index": about})
    assert "codes/" in str(error.value)
    assert "\n" not in str(error.value)


def test_sums_that_are_known_are_not_computed_again(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, 40)
    about = build(folder)
    sums = {**about["codes"]["files"], "codes.faiss": about["sha256"]}
    folder.local("codes.faiss").unlink()
    check_binding(folder, about, sums)
    with pytest.raises(FolderError, match="does not belong to codes"):
        check_binding(folder, about, {**sums, "codes.faiss": "0" * 64})


def test_an_unreadable_index_is_refused_by_name_even_when_trusted(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, 40)
    about = build(folder)
    folder.put("codes.faiss", b"nonsense")
    with pytest.raises(FolderError, match=r"codes\.faiss: FAISS cannot read it"):
        Neighbours(folder, {"index": about}, verify=False)
