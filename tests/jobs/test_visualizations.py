"""The part `visualizations` of the tiny atlas: one answer, resume, replay, refusals."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from atlas.errors import SettingsError
from atlas.store import parts
from atlas.store.sealed import Sealed
from atlas.visualize import files
from jobs import cli
from jobs.add import add
from tests import tiny_net
from tests.jobs.test_parts import flags, places

SMALL: dict[str, Any] = {"neurons": "5", "steps": 5, "rows": 4, "classes": "2", "sensitivity": True}


@pytest.fixture
def base(tiny_atlas: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_atlas, tmp_path / "atlas")
    return tmp_path / "atlas"


@pytest.fixture(scope="module")
def made(tiny_atlas: Path, tiny_root: Path, tmp_path_factory: pytest.TempPathFactory, embedded_ray: None) -> Path:
    """The tiny atlas with the part."""
    out = tmp_path_factory.mktemp("visualized") / "atlas"
    shutil.copytree(tiny_atlas, out)
    add(str(out), "visualizations", workers="1", **SMALL, **places(tiny_root))
    return out


def the_part(base: Path) -> parts.Part:
    sealed = Sealed(str(base))
    return parts.look(sealed.folder, sealed.digest, "visualizations")


def test_a_row_a_picture_and_its_worth(made: Path) -> None:
    part = the_part(made)
    rows = part.table("visualizations").to_pylist()
    neurons = [row for row in rows if row["target"] == "neuron"]
    layers = Sealed(str(made)).layers
    assert {row["layer"] for row in neurons} == set(layers)
    for name in layers:
        assert sum(row["layer"] == name for row in neurons) in (
            5 * 4,
            4 * len({r["channel"] for r in neurons if r["layer"] == name}),
        )
    assert len(neurons) == len({(r["layer"], r["channel"], r["sign"], r["repeat"]) for r in neurons})
    assert all(row["picture"]["why"] for row in neurons if (row["layer"], row["channel"]) == ("conv2", 7))
    neurons = [row for row in neurons if row["picture"]["pack"]]
    for row in neurons:
        stored = files.decode(part.picture(row["picture"]), 3)
        assert stored.dtype == np.uint8
        assert np.isfinite(row["response"])
        assert (row["choice"] is None) or row["sign"] == 1
    assert any(row["choice"] is not None for row in neurons)
    assert any(row["choice_shuffled"] is not None for row in neurons)
    assert all(row["agreement"] in (0, 1) for row in neurons)
    classes = [row for row in rows if row["target"] == "class"]
    assert len(classes) == 2 * 2 * (1 + 2)  # classes, objectives, l2 once and fourier twice
    assert all(row["probability"] is not None for row in classes)
    summary = part.about["summary"]
    assert summary["pictures"] == sum(row["picture"]["pack"] is not None for row in rows)
    assert {"attained", "choice", "classes_by_response"} <= summary.keys()
    assert (made / "parts/visualizations/spectrum.npy").exists()


def test_the_matrix_has_each_pair(made: Path) -> None:
    rows = the_part(made).table("sensitivity").to_pylist()
    drawn = {(row["layer"], row["channel"]) for row in rows}
    assert len(rows) == sum(1 for a in drawn for b in drawn if a[0] == b[0])


def test_two_workers_and_a_stop_part_way_give_the_same_digest(
    made: Path, base: Path, tiny_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs import pool

    whole = the_part(made).about["digest"]
    run = pool.Pool.run

    def half(self: Any, waiting: list[int], *rest: Any) -> None:
        run(self, waiting[: len(waiting) // 2], *rest)
        raise KeyboardInterrupt

    monkeypatch.setattr(pool.Pool, "run", half)
    with pytest.raises(KeyboardInterrupt):
        add(str(base), "visualizations", workers="2", **SMALL, **places(tiny_root))
    monkeypatch.setattr(pool.Pool, "run", run)
    assert the_part(base).state == "begun"
    assert add(str(base), "visualizations", workers="2", **SMALL, **places(tiny_root)) == whole


def test_verify_reads_the_files_again(
    made: Path, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "atlas"
    shutil.copytree(made, out)
    assert cli.main(["verify", str(out), "--replay", "12", *flags(tiny_root)]) == 0
    said = capsys.readouterr().out
    assert "part visualizations: sound" in said
    assert "part visualizations: replay: 12 rows made again" in said
    assert cli.main(["info", str(out)]) == 0
    assert "attained" in capsys.readouterr().out


def test_a_changed_response_is_found(made: Path, tiny_root: Path, tmp_path: Path) -> None:
    import pyarrow as pa

    from jobs import stages

    out = tmp_path / "atlas"
    shutil.copytree(made, out)
    path = out / "parts/visualizations/visualizations.parquet"
    table = pq.read_table(path)
    at = table.column_names.index("response")
    raised = pa.array([v and 2 * v + 1 for v in table.column("response").to_pylist()], pa.float32())
    pq.write_table(table.set_column(at, table.schema.field("response"), raised), path)
    worker = part_worker(out, tiny_root)
    found = stages.named("visualizations").load().replay(worker, the_part(out), 3)  # type: ignore[attr-defined]
    assert len(found.wrong) == 3


def part_worker(out: Path, root: Path) -> Any:
    """A worker of the part, in this process."""
    from atlas import options
    from jobs import stages
    from jobs.add import part_of, plan_part
    from jobs.work import Work

    stage, sealed = stages.part("visualizations"), Sealed(str(out))
    chosen = options.made(stage.options_class(), SMALL)
    part = part_of(stage, sealed, chosen)
    folder = parts.folder_of(sealed.folder, part.name)
    plan, _ = plan_part(stage, sealed, part, folder, places(root))
    return Work(plan, 1)


def test_a_judge_says_how_far_pictures_of_classes_carry(base: Path, tiny_root: Path, embedded_ray: None) -> None:
    options = {"neurons": "0", "steps": 30, "rows": 4, "classes": "2", "class_methods": ("fourier",), "repeats": 1}
    judge = {"judge": f"{tiny_net.__file__}:net", "judge_weights": str(tiny_root / "weights.safetensors")}
    add(str(base), "visualizations", workers="1", **options, **judge, **places(tiny_root))
    rows = the_part(base).table("visualizations").to_pylist()
    assert len(rows) == 4
    for row in rows:  # the judge is the network itself
        assert row["transfer"] == pytest.approx(row["probability"], abs=1e-4)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"neurons": "-1"}, "--neurons -1: expected a number from 0, or all"),
        ({"signs": ("*",)}, "--signs"),
        ({"methods": ("deepdream",)}, "--methods 'deepdream': expected one of fourier, maco, l2"),
        ({"judge": "resnet18"}, "--judge: give --judge and --judge-weights, or neither"),
        ({"layers": ("nothing",)}, "no such layer"),
    ],
)
def test_wrong_options_are_said_in_one_line(
    base: Path, tiny_root: Path, embedded_ray: None, values: dict[str, Any], says: str
) -> None:
    from atlas.errors import InputError

    with pytest.raises(InputError, match=says):
        add(str(base), "visualizations", workers="1", **values, **places(tiny_root))
    assert issubclass(SettingsError, InputError)
