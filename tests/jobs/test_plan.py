"""The plan: units of winners, the threshold of the response sample, what an output folder may hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from atlas.errors import SettingsError
from atlas.scan.neurons import WINNERS
from atlas.store.files import Folder
from jobs import plan as planning
from tests import tiny


def winners(image_ids: list[int]) -> pa.Table:
    count = len(image_ids)
    columns = [list(range(count)), ["max"] * count, [0] * count, image_ids, [1.0] * count]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, WINNERS, strict=True)], schema=WINNERS)


def test_units_of_winners_are_whole_images_and_do_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 90, 700).tolist()
    table = winners(ids)
    units = list(planning.harvest_units(table, 16))
    assert sum(len(unit) for unit in units) == len(ids)
    images = [set(unit.column("image_id").to_pylist()) for unit in units]
    assert all(len(each) <= 16 for each in images)
    assert sum(len(each) for each in images) == len(set(ids))  # no image is in two units
    shuffled = list(planning.harvest_units(table.take(pa.array(rng.permutation(len(ids)))), 16))
    assert [unit.to_pylist() for unit in units] == [unit.to_pylist() for unit in shuffled]


def test_an_image_that_wins_often_is_a_unit_of_its_own() -> None:
    many = planning.HARVEST_EXAMPLES + 5
    units = list(planning.harvest_units(winners([3] * many + [4, 5]), 1024))
    assert [len(unit) for unit in units] == [many, 2]


def test_no_winners_no_units() -> None:
    assert list(planning.harvest_units(winners([]), 16)) == []


def test_the_threshold_lets_enough_images_pass() -> None:
    table = pa.table({"key": pa.chunked_array([[f"k{i}" for i in range(5000)]])})
    hashes = planning.hash_key(3, table.column("key"))
    threshold = planning.sample_threshold(table, 3, 100)
    assert 200 <= (hashes <= np.uint64(threshold)).sum() <= 1000
    assert planning.sample_threshold(table, 3, 4096) == 2**64 - 1


@pytest.fixture(scope="module")
def plan(tiny_root: Path) -> planning.Plan:
    return planning.make_plan(tiny.settings(tiny_root))[0]


def test_what_the_plan_finds(plan: planning.Plan) -> None:
    assert (plan.count, plan.units, plan.neurons, plan.classes) == (153, 10, 36, tiny.CLASSES)
    assert [layer.name for layer in plan.layers] == [
        "conv1", "block.conv1", "block.conv2", "block", "conv2", "fc",
    ]  # fmt: skip
    assert plan.code == ("fc", 1)


def test_what_an_output_folder_holds(tiny_root: Path, plan: planning.Plan, tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "out"))
    assert planning.check_output(folder, plan) == "new"
    _, _, manifest = planning.make_plan(tiny.settings(tiny_root))
    planning.write_plan(folder, plan, manifest)
    assert planning.check_output(folder, plan) == "begun"
    other = planning.make_plan(tiny.settings(tiny_root, k=4))[0]
    with pytest.raises(SettingsError, match=r"other settings .*k was 9, now 4"):
        planning.check_output(folder, other)
    elsewhere = planning.make_plan(tiny.settings(tiny_root, tmp_path / "b", workers="2", retries=0))[0]
    assert planning.check_output(folder, elsewhere) == "begun"


def test_a_folder_of_something_else(plan: planning.Plan, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SettingsError, match="holds something else"):
        planning.check_output(Folder(str(tmp_path)), plan)


def test_a_sealed_folder(plan: planning.Plan, tiny_atlas: Path, tiny_root: Path) -> None:
    assert planning.check_output(Folder(str(tiny_atlas)), plan) == "sealed"
    other = planning.make_plan(tiny.settings(tiny_root, seed=1))[0]
    with pytest.raises(SettingsError, match="seed was 0, now 1"):
        planning.check_output(Folder(str(tiny_atlas)), other)


def test_rows_of_units(tiny_root: Path, plan: planning.Plan, tmp_path: Path) -> None:
    _, _, manifest = planning.make_plan(tiny.settings(tiny_root))
    folder = Folder(str(tmp_path))
    planning.write_plan(folder, plan, manifest)
    rows = [planning.read_unit(folder, plan, unit).column("image_id").to_pylist() for unit in range(plan.units)]
    assert [image_id for unit in rows for image_id in unit] == list(range(153))
    assert [len(unit) for unit in rows] == [16] * 9 + [9]
    some = planning.read_rows(folder, plan, pa.array([3, 17, 18, 152]))
    assert some.column("image_id").to_pylist() == [3, 17, 18, 152]
