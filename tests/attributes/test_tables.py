"""A user's table and people's answers: what is joined, what is counted, what is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atlas.attributes import values
from atlas.attributes.part import make
from atlas.attributes.settings import AttributesSettings
from atlas.errors import InputError, SettingsError
from tests.attributes import planted

CLASSES = ("cat", "dog", "eel")


def images() -> pa.Table:
    class_id = np.array([0, 0, 1, 1, 2, 2] * 4)
    return planted.images(class_id, np.array([True, True, True, False, False, False] * 4))


def write(path: Path, **columns: Any) -> str:
    pq.write_table(pa.table(columns), path)
    return str(path)


def refused(path: str, human: str | None = None, given: pa.Table | None = None) -> str:
    with pytest.raises(InputError) as error:
        make(given if given is not None else images(), None, AttributesSettings(path, human), CLASSES)
    assert "\n" not in str(error.value)
    return str(error.value)


def keys() -> list[str]:
    return [f"{i:06d}.png" for i in range(24)]


def test_what_a_column_is(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "size": list(range(24)),
        "share": pa.array([0.5] * 24).cast(pa.float16()).cast(pa.float32()),
        "outdoors": [True, False] * 12,
        "place": ["sea", None] * 12,
        "name of it": [f"n{i}" for i in range(24)],
        "odd \" name'": [1.0] * 24,
    }
    made = make(images(), None, AttributesSettings(write(tmp_path / "t.parquet", key=keys(), **columns)))
    found = {row["attribute"]: row for row in made["attributes"].to_pylist()}
    assert list(found) == ["width", "height", "aspect", *columns]
    assert [found[name]["kind"] for name in columns] == ["number", "number", "words", "words", "words", "number"]
    assert found["place"]["n"] == 12
    words = [(r["value"], r["n"]) for r in made["accuracy"].to_pylist() if r["attribute"] == "outdoors"]
    assert words == [("false", 12), ("true", 12)]


def test_more_words_than_images_share(tmp_path: Path) -> None:
    many = planted.images(np.zeros(60, int), np.arange(60) % 2 == 0)
    path = write(tmp_path / "t.parquet", key=many["key"], name=[f"n{i}" for i in range(60)])
    made = make(many, None, AttributesSettings(path))
    [row] = [row for row in made["attributes"].to_pylist() if row["attribute"] == "name"]
    assert row["why"] == "more than 50 different words: expected words that images share"
    assert not [r for r in made["accuracy"].to_pylist() if r["attribute"] == "name"]


@pytest.mark.parametrize(("ending", "by"), [("csv", ","), ("tsv", "\t")])
def test_text_files(tmp_path: Path, ending: str, by: str) -> None:
    path = tmp_path / f"t.{ending}"
    lines = ["key{}size{}place", *(f"{key}{{}}{i}{{}}sea" for i, key in enumerate(keys()))]
    path.write_text("\n".join(line.format(by, by) for line in lines))
    found = make(images(), None, AttributesSettings(str(path)))["attributes"].to_pylist()
    assert [(row["attribute"], row["kind"], row["n"]) for row in found[3:]] == [
        ("size", "number", 24),
        ("place", "words", 24),
    ]


def test_what_is_refused(tmp_path: Path) -> None:
    assert "expected a Parquet, CSV or TSV file" in refused(str(tmp_path / "none.parquet"))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing PAR1")
    assert "cannot be read" in refused(str(tmp_path / "bad.parquet"))
    assert "expected a column 'key'" in refused(write(tmp_path / "a.parquet", name=["x"], size=[1]))
    assert "no key is an image's; it says 'x', the atlas '000000.png'" in refused(
        write(tmp_path / "b.parquet", key=["x"], size=[1])
    )
    twice = write(tmp_path / "c.parquet", key=["000001.png"] * 2, size=[1, 2])
    assert "key '000001.png' is there twice" in refused(twice)
    assert "rename the column" in refused(write(tmp_path / "d.parquet", key=keys(), width=[1] * 24))
    people = write(tmp_path / "e.parquet", key=keys(), said=["cat", "cow", *["eel"] * 22])
    assert "'cow' in" in refused(people, "said")
    assert "expected a column of" in refused(people, "people")
    both = (
        images()
        .set_column(1, "source", pa.array(["a", "b"] * 12))
        .set_column(2, "key", pa.array([f"{i // 2}" for i in range(24)]))
    )
    assert "is in two sources" in refused(write(tmp_path / "f.parquet", key=["1"], size=[1]), given=both)
    path = write(tmp_path / "g.parquet", source=["b"], key=["1"], size=[1.0])
    with values.judged(both, None, path) as found:
        assert found.connection.execute("SELECT image_id FROM judged WHERE a3 = 1").fetchall() == [(3,)]
    with pytest.raises(SettingsError, match="give it with --table FILE"):
        AttributesSettings(human="said")


def test_keys_that_are_no_images_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", key=["000001.png", "x", "y"], size=[1, 2, 3])
    with values.judged(images(), None, path) as found:
        assert found.unmatched == 2


@pytest.mark.parametrize("numbers", [True, False])
def test_people_beside_the_network(tmp_path: Path, numbers: bool) -> None:
    """Of each six, classes 0 0 1 1 2 2, the network says 0 0 1 2 3 3 and people 0 - 1 1 0 3."""
    said: list[int | None] = [0, None, 1, 1, 0, 2] * 4
    column: Any = said if numbers else [None if s is None else CLASSES[s] for s in said]
    place = ["sea", "sea", "sea", "land", "land", "land"] * 4
    path = write(tmp_path / "t.parquet", key=keys(), said=column, place=place)
    made = make(images(), None, AttributesSettings(path, "said"), CLASSES)
    rows = made["accuracy"].to_pylist()
    every = rows[0]
    assert every["attribute"] == values.ALL
    assert every["answered"] == 20
    assert every["human_top1"] == pytest.approx(16 / 20)  # 0, 1, 1 and 2 of five
    assert every["answered_top1"] == pytest.approx(8 / 20)
    assert every["agreement"] == pytest.approx(8 / 20)
    assert every["only_network"] == 0
    assert every["only_human"] == pytest.approx(8 / 20)
    sea = next(row for row in rows if row["value"] == "sea")
    assert (sea["n"], sea["answered"], sea["human_top1"], sea["answered_top1"]) == (12, 8, 1, 1)
    answers = made["answers"].to_pylist()
    assert answers[:2] == [{"image_id": 0, "answer": 0}, {"image_id": 2, "answer": 1}]
    assert len(answers) == 20
    assert "said" not in {row["attribute"] for row in made["attributes"].to_pylist()}
