"""Images in Parquet: layouts, labels, keys, and bounded memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.errors import ImageError
from atlas.images.manifest import list_images, read_images
from tests.sources import (
    IMAGE,
    bodies,
    class_ids,
    fill,
    huggingface,
    keys,
    write_parquet,
)


def test_parquet_in_hugging_faces_layout(tmp_path: Path) -> None:
    schema = pa.schema([("image", IMAGE), ("label", pa.int64())], huggingface(["zebra", "ant"]))
    rows = [{"bytes": b"%d" % n, "path": f"{n}.jpg"} for n in range(5)]
    write_parquet(tmp_path / "data/train-0.parquet", {"image": rows, "label": [0, 1, 1, -1, None]}, schema)
    one = list_images([str(tmp_path / "data/train-0.parquet")])
    assert one.classes == ("zebra", "ant")
    assert class_ids(one) == [0, 1, 1, None, None]
    assert keys(one) == [f"{n}.jpg" for n in range(5)]
    assert bodies(one) == [b"%d" % n for n in range(5)]
    write_parquet(tmp_path / "data/train-1.parquet", {"image": rows[:1], "label": [1]}, schema)
    (tmp_path / "README.md").write_text("words")
    several = list_images([str(tmp_path)])
    assert keys(several)[-1] == "data/train-1.parquet/0.jpg"
    assert keys(list_images([str(tmp_path / "data/*-1.parquet")])) == ["0.jpg"]
    zoo = fill(tmp_path / "zoo", "ant/1.png", "cow/1.png")
    both = list_images([str(zoo), str(tmp_path / "data/train-1.parquet")])
    assert both.classes == ("zebra", "ant")
    assert class_ids(both) == [1, None, 1]


def test_parquet_keys_are_paths_only_where_these_tell_images_apart(tmp_path: Path) -> None:
    paths = ["a.png", None, "b.png", "a.png", ""]
    rows = [{"bytes": b"x", "path": path} for path in paths]
    path = write_parquet(tmp_path / "x.parquet", {"image": rows}, pa.schema([("image", IMAGE)]))
    assert keys(list_images([str(path)])) == ["0", "1", "b.png", "3", "4"]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_binary_column_and_words(tmp_path: Path, kind: pa.DataType) -> None:
    columns = {"jpg": pa.array([b"1", None, b"3"], kind), "label": pa.array(["owl", "ant", None]).dictionary_encode()}
    manifest = list_images([str(write_parquet(tmp_path / "x.parquet", columns))])
    assert keys(manifest) == ["0", "1", "2"]
    assert manifest.classes == ("ant", "owl")
    assert class_ids(manifest) == [1, 0, None]
    first, second, third = bodies(manifest)
    assert (first, third) == (b"1", b"3")
    assert isinstance(second, ImageError)
    assert second.reason == "null"


@settings(max_examples=30, deadline=None)
@given(wanted=st.lists(st.integers(0, 999), max_size=40))
def test_parquet_rows_in_any_order(tmp_path_factory: pytest.TempPathFactory, wanted: list[int]) -> None:
    path = tmp_path_factory.getbasetemp() / "any_order.parquet"
    if not path.exists():
        write_parquet(path, {"image": [b"%d" % n for n in range(1000)]}, group=300)
    table = list_images([str(path)]).table.take(pa.array(wanted, pa.int64()))
    assert list(read_images(table)) == [(n, b"%d" % n) for n in wanted]


def test_a_large_row_group_is_read_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.parquet"
    body = np.random.default_rng(0).bytes(1 << 16)
    image = pa.array([body[n:] + body[:n] for n in range(2000)], pa.binary())  # 131 MB in one row group
    options = {"compression": None, "use_dictionary": False, "write_batch_size": 16}  # pages of a megabyte
    pq.write_table(pa.table({"image": image}), path, row_group_size=10_000, **options)
    table = list_images([str(path)]).table
    del image
    before, most = pa.total_allocated_bytes(), 0
    for number, (_, got) in enumerate(read_images(table)):
        assert isinstance(got, bytes)
        most = max(most, pa.total_allocated_bytes() - before)
        assert got[:8] == body[number : number + 8]
    assert most < 24 << 20
