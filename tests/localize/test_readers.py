"""True boxes from each kind of file, and whose they are."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atlas.errors import SettingsError
from atlas.localize.readers import match, read_boxes
from atlas.types import Box

XML = (
    "<annotation><filename>{name}</filename><object><name>n1</name><bndbox><xmin>1</xmin><ymin>3</ymin>"
    "<xmax>10</xmax><ymax>20</ymax></bndbox></object></annotation>"
)


def test_tables(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("key\tleft\ttop\tright\tbottom\nx/1.jpg\t0\t1\t5.5\t9\nx/1.jpg\t2\t2\t3\t3\n")
    (tmp_path / "a.csv").write_text("bottom,key,left,top,right\n9,x/1.jpg,0,1,5.5\n3,x/1.jpg,2,2,3\n")
    rows = {
        "key": ["x/1.jpg"] * 2,
        "left": [0, 2.0],
        "top": [1, 2.0],
        "right": [5.5, 3],
        "bottom": [9.0, 3],
        "more": [1, 2],
    }
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    for name in ("a.tsv", "a.csv", "a.parquet"):
        assert read_boxes(str(tmp_path / name)) == {"x/1.jpg": [Box(0, 1, 5.5, 9), Box(2, 2, 3, 3)]}


def test_imagenets_own_files(tmp_path: Path) -> None:
    (tmp_path / "n1").mkdir()
    (tmp_path / "n1" / "val_7.xml").write_text(XML.format(name="val_7"))
    assert read_boxes(str(tmp_path)) == {"val_7": [Box(0, 2, 10, 20)]}  # counted from 1, the last pixel included
    (tmp_path / "s.csv").write_text("ImageId,PredictionString\nval_7,n1 1 3 10 20 n1 2 2 4 4 \n")
    assert read_boxes(str(tmp_path / "s.csv")) == {"val_7": [Box(0, 2, 10, 20), Box(1, 1, 4, 4)]}


def test_whose_they_are() -> None:
    boxes = {"a/1.jpg": [Box(0, 0, 1, 1)], "2": [Box(0, 0, 2, 2)], "3": [Box(0, 0, 3, 3)], "9": [Box(0, 0, 9, 9)]}
    keys = ["a/1.jpg", "b/1.jpg", "b/2.JPEG", "b/3.jpg", "c/3.png"]
    assert match(boxes, keys) == {"a/1.jpg": [Box(0, 0, 1, 1)], "b/2.JPEG": [Box(0, 0, 2, 2)]}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.tsv", "key\tleft\n1\t2\n", "its columns are key, left"),
        ("a.tsv", "key\tleft\ttop\tright\tbottom\n", "holds no boxes"),
        ("a.tsv", "key\tleft\ttop\tright\tbottom\na\t5\t0\t5\t9\n", "the box of a is empty"),
        ("a.tsv", "key\tleft\ttop\tright\tbottom\na\tnan\t0\t5\t9\n", "not finite"),
        ("a.tsv", "key\tleft\ttop\tright\tbottom\na\tx\t0\t5\t9\n", "could not convert"),
        ("a.csv", "ImageId,PredictionString\nv,n1 1 2 3\n", "four numbers each"),
        ("a.parquet", "no parquet", "cannot be read"),
        ("b/a.xml", "<a", "cannot be read"),
        ("b/a.xml", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "declares a document type"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    with pytest.raises(SettingsError, match=said) as caught:
        read_boxes(str(path.parent if name.startswith("b/") else path))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        read_boxes("/nowhere/boxes.tsv")
