"""The plan: chunks of winners, the threshold of the response sample, what an output folder may hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from atlas.errors import SettingsError
from atlas.scan.winners import WINNERS
from atlas.store.files import Folder
from jobs.planning import data, output
from jobs.planning.plan import Plan, make_plan
from jobs.stages import harvest
from tests import tiny


def winners(image_ids: list[int]) -> pa.Table:
    count = len(image_ids)
    columns = [list(range(count)), ["max"] * count, [0] * count, image_ids, [1.0] * count, [0.0] * count]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, WINNERS, strict=True)], schema=WINNERS)


def test_chunks_of_winners_are_whole_images_and_do_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 90, 700).tolist()
    table = winners(ids)
    chunks = list(harvest.cut(table, 16))
    assert sum(len(chunk) for chunk in chunks) == len(ids)
    images = [set(chunk.column("image_id").to_pylist()) for chunk in chunks]
    assert all(len(each) <= 16 for each in images)
    assert sum(len(each) for each in images) == len(set(ids))  # no image is in two chunks
    shuffled = list(harvest.cut(table.take(pa.array(rng.permutation(len(ids)))), 16))
    assert [chunk.to_pylist() for chunk in chunks] == [chunk.to_pylist() for chunk in shuffled]


def test_an_image_that_wins_often_is_a_chunk_of_its_own() -> None:
    many = harvest.EXAMPLES + 5
    chunks = list(harvest.cut(winners([3] * many + [4, 5]), 1024))
    assert [len(chunk) for chunk in chunks] == [many, 2]


def test_no_winners_no_units() -> None:
    assert list(harvest.cut(winners([]), 16)) == []


@pytest.fixture(scope="module")
def plan(tiny_root: Path) -> Plan:
    return make_plan(tiny.settings(tiny_root))[0]


def test_what_the_plan_finds(plan: Plan) -> None:
    assert (plan.data.count, plan.data.chunks, plan.network.neurons, plan.data.classes) == (153, 10, 36, tiny.CLASSES)
    assert [layer.name for layer in plan.network.layers] == [
        "conv1", "block.conv1", "block.conv2", "block", "conv2", "fc",
    ]  # fmt: skip
    assert plan.network.code == ("fc", 1)


def test_what_an_output_folder_holds(tiny_root: Path, plan: Plan, tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "out"))
    assert output.check_output(folder, plan) == "new"
    _, manifest = make_plan(tiny.settings(tiny_root))
    output.write_plan(folder, plan, manifest)
    assert output.check_output(folder, plan) == "begun"
    other = make_plan(tiny.settings(tiny_root, k=4))[0]
    with pytest.raises(SettingsError, match=r"other settings .*k was 9, now 4"):
        output.check_output(folder, other)
    elsewhere = make_plan(tiny.settings(tiny_root, tmp_path / "b", workers="2", retries=0))[0]
    assert output.check_output(folder, elsewhere) == "begun"


def test_a_folder_of_something_else(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SettingsError, match="holds something else"):
        output.check_output(Folder(str(tmp_path)), plan)


def test_a_sealed_folder(plan: Plan, tiny_atlas: Path, tiny_root: Path) -> None:
    assert output.check_output(Folder(str(tiny_atlas)), plan) == "sealed"
    other = make_plan(tiny.settings(tiny_root, seed=1))[0]
    with pytest.raises(SettingsError, match="seed was 0, now 1"):
        output.check_output(Folder(str(tiny_atlas)), other)


def test_rows_of_units(tiny_root: Path, plan: Plan, tmp_path: Path) -> None:
    _, manifest = make_plan(tiny.settings(tiny_root))
    folder = Folder(str(tmp_path))
    output.write_plan(folder, plan, manifest)
    rows = [data.read_chunk(folder, chunk).column("image_id").to_pylist() for chunk in range(plan.data.chunks)]
    assert [image_id for chunk in rows for image_id in chunk] == list(range(153))
    assert [len(chunk) for chunk in rows] == [16] * 9 + [9]
    some = data.read_rows(folder, plan.data, pa.array([3, 17, 18, 152]))
    assert some.column("image_id").to_pylist() == [3, 17, 18, 152]
