"""Which images there are, in what order, of which class; and their bytes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atlas.errors import ImageError, JobError, SourceError
from atlas.images.decode import decode
from atlas.images.manifest import MANIFEST, list_images, read_image, read_images
from tests import naive_images
from tests.sources import (
    PNG,
    bodies,
    class_ids,
    fill,
    huggingface,
    keys,
    names_file,
    write_parquet,
    write_tar,
)

# Folders


def test_order_keys_and_classes_of_folders(tmp_path: Path) -> None:
    one = fill(tmp_path / "one", "b/2.png", "b/10.png", "B/x.JPEG", "b/sub/deep.gif", "é/1.webp", "b.png", "zoo.tiff")
    two = fill(tmp_path / "two", "a/1.bmp", "b/1.jpg")
    manifest = list_images([str(two), str(one)])
    assert manifest.table.schema == MANIFEST
    assert keys(manifest)[:2] == ["a/1.bmp", "b/1.jpg"]
    assert keys(manifest)[2:] == ["B/x.JPEG", "b.png", "b/10.png", "b/2.png", "b/sub/deep.gif", "zoo.tiff", "é/1.webp"]
    assert manifest.classes == ("B", "a", "b", "é")
    assert class_ids(manifest) == [1, 2, 0, None, 2, 2, 2, None, 3]
    assert manifest.table["source"].to_pylist() == [str(two)] * 2 + [str(one)] * 7
    assert bodies(manifest)[2] == PNG + b"B/x.JPEG"
    again = [
        (key, None if c is None else manifest.classes[c])
        for key, c in zip(keys(manifest), class_ids(manifest), strict=True)
    ]
    assert again == naive_images.list_folder(two) + naive_images.list_folder(one)


def test_what_is_not_an_image_is_not_listed(tmp_path: Path) -> None:
    root = fill(tmp_path, "a/1.png", "a/notes.txt", "a/.2.png", ".hidden/3.png", "a/Thumbs.db", "png", "a/noending")
    (root / "a/folder.jpg").mkdir()
    os.mkfifo(root / "a/pipe.jpg")
    assert keys(list_images([str(root)])) == ["a/1.png"]
    assert list_images([str(root)]).classes == ("a",)


def test_links(tmp_path: Path) -> None:
    root = fill(tmp_path / "data", "a/1.png")
    elsewhere = fill(tmp_path / "elsewhere", "2.png")
    (root / "b").symlink_to(elsewhere)
    (root / "a/linked.png").symlink_to(elsewhere / "2.png")
    (root / "a/dangling.png").symlink_to("nowhere.png")
    (root / "a/circle").symlink_to(root)
    manifest = list_images([str(root)])
    assert [key for key in keys(manifest) if "circle" not in key] == [
        "a/1.png",
        "a/dangling.png",
        "a/linked.png",
        "b/2.png",
    ]
    assert len(keys(manifest)) < 20
    by_key = dict(zip(keys(manifest), bodies(manifest), strict=True))
    assert by_key["b/2.png"] == by_key["a/linked.png"] == PNG + b"2.png"
    dangling = by_key["a/dangling.png"]
    assert isinstance(dangling, ImageError)
    assert dangling.reason == "missing"


def test_names_of_every_script_and_none(tmp_path: Path) -> None:
    names = ["naïve 猫 א.jpg", "quote'\"<b>.jpg", "new\nline.jpg", "tab\t.jpg", "back\\slash.jpg"]
    root = fill(tmp_path, *names)
    (tmp_path / os.fsdecode(b"latin\xe9.jpg")).write_bytes(b"odd")
    manifest = list_images([str(root)])
    assert keys(manifest) == sorted([*names, "latin\\xe9.jpg"], key=str.encode)
    assert dict(zip(keys(manifest), bodies(manifest), strict=True))["latin\\xe9.jpg"] == b"odd"
    assert json.loads(json.dumps(keys(manifest))) == keys(manifest)
    row = manifest.table.filter(pa.compute.equal(manifest.table["key"], "latin\\xe9.jpg")).to_pylist()[0]
    assert read_image(row) == b"odd"


def test_a_folder_with_an_odd_name_is_a_class(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "1.png").write_bytes(b"x")
    manifest = list_images([str(tmp_path)])
    assert manifest.classes == ("caf\\xe9",)
    assert keys(manifest) == ["caf\\xe9/1.png"]
    assert bodies(manifest) == [b"x"]


def test_a_source_whose_own_name_is_no_text_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "1.png").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"caf\\xe9: cannot be read"):
        list_images([str(folder)])


def test_images_without_classes(tmp_path: Path) -> None:
    manifest = list_images([str(fill(tmp_path, "1.png", "2.png"))])
    assert manifest.classes == ()
    assert class_ids(manifest) == [None, None]


def test_limit_keeps_ids_classes_and_bytes(tmp_path: Path) -> None:
    root = str(fill(tmp_path / "f", "a/1.png", "a/2.png", "b/1.png"))
    shards = tmp_path / "shards"
    for number in range(20):
        write_tar(shards / f"{number:02d}.tar", [("x.png", PNG), ("x.cls", b"%d" % number)])
    whole = list_images([root])
    assert list_images([root], limit=2).table.equals(whole.table.slice(0, 2))
    assert list_images([root], limit=2).classes == whole.classes
    assert list_images([root], limit=9).digest == whole.digest
    assert keys(list_images([root, str(shards / "*.tar")], str(names_file(tmp_path)), limit=4))[3] == "00.tar/x.png"
    assert len(list_images([root, str(shards)], str(names_file(tmp_path)), limit=3).table) == 3


def test_class_names_give_order_and_words(tmp_path: Path) -> None:
    root = fill(tmp_path / "data", "a/1.png", "b/1.png", "c/1.png")
    manifest = list_images([str(root)], str(names_file(tmp_path)))
    assert manifest.classes == ("bird", "ape")
    assert class_ids(manifest) == [1, 0, None]
    (tmp_path / "numbers.tsv").write_text("0\tzero\n7\tseven\n")
    shard = write_tar(tmp_path / "x.tar", [("1.png", b""), ("1.cls", b"7"), ("2.png", b""), ("2.cls", b"1")])
    numbered = list_images([str(shard)], str(tmp_path / "numbers.tsv"))
    assert numbered.classes == ("zero", "seven")
    assert class_ids(numbered) == [1, None]
    assert class_ids(list_images([str(shard)], str(names_file(tmp_path)))) == [None, 1]


@pytest.mark.data
def test_imagenet_sample(data: Path) -> None:
    manifest = list_images([str(data / "imagenet-sample")], str(data / "imagenet_classes.tsv"))
    assert class_ids(manifest) == list(range(1000))
    assert manifest.classes[:2] == ("tench", "goldfish")
    plain = list_images([str(data / "imagenet-sample")])
    assert plain.classes[0] == "n01440764"
    assert class_ids(plain) == class_ids(manifest)


@pytest.mark.data
def test_every_bad_image_is_treated_as_it_deserves(tmp_path: Path, tools: Path) -> None:
    subprocess.run([sys.executable, tools / "make_bad_images.py", tmp_path], check=True, capture_output=True)
    said = {entry["path"]: entry["treat"] for entry in json.loads((tmp_path / "manifest.json").read_text())}
    manifest = list_images([str(tmp_path)])
    treated = dict.fromkeys(said, "ignore")
    for key, body in zip(keys(manifest), bodies(manifest), strict=True):
        assert key in said
        treated[key] = _treat(body)
    assert treated == said


def _treat(body: bytes | ImageError) -> str:
    try:
        if isinstance(body, ImageError):
            raise body
        decode(body)
    except ImageError as error:
        return "quarantine" if error.reason.isidentifier() and error.detail.isprintable() else repr(error.detail)
    return "scan"


# Both, and all


@pytest.mark.data
def test_cifar_from_shards_is_cifar_from_parquet(tmp_path: Path, data: Path, tools: Path) -> None:
    source = data / "cifar10" / "test.parquet"
    subprocess.run(
        [sys.executable, tools / "make_shards.py", source, tmp_path, "3000"], check=True, capture_output=True
    )
    rows, shards = list_images([str(source)]), list_images([str(tmp_path)])
    assert len(rows.table) == len(shards.table) == 10_000
    assert rows.classes[9] == "truck"
    assert shards.classes == tuple("0123456789")
    assert class_ids(rows) == class_ids(shards)
    assert bodies(rows) == bodies(shards)
    assert keys(shards)[3000] == "test-0001.tar/003000.jpg"
    assert keys(list_images([str(tmp_path / "test-*1.tar")]))[0] == "003000.jpg"


def test_the_manifest_survives_parquet_and_slicing(tmp_path: Path) -> None:
    root = fill(tmp_path / "f", "a/1.png", "b/2.png")
    shard = write_tar(tmp_path / "x.tar", [("3.png", b"3"), ("4.png", b"4")])
    rows = write_parquet(tmp_path / "x.parquet", {"image": [b"5", b"6"]})
    manifest = list_images([str(root), str(shard), str(rows)])
    pq.write_table(manifest.table, tmp_path / "manifest.parquet", row_group_size=2)
    back = pq.read_table(tmp_path / "manifest.parquet")
    assert back.schema == MANIFEST
    assert list(read_images(back)) == list(read_images(manifest.table))
    assert [body for _, body in read_images(back.take([5, 2, 0]))] == [b"6", b"3", PNG + b"a/1.png"]
    for number, row in enumerate(back.to_pylist()):
        assert read_image(row) == bodies(manifest)[number]


def test_the_digest_is_of_the_contents_not_the_place(tmp_path: Path) -> None:
    first = fill(tmp_path / "first", "a/1.png", "b/2.png")
    second = shutil.copytree(first, tmp_path / "second")
    digest = list_images([str(first)]).digest
    assert list_images([str(second)]).digest == digest
    fill(second, "b/3.png")
    assert list_images([str(second)]).digest != digest
    (first / "a").rename(first / "c")
    assert list_images([str(first)]).digest != digest


def test_what_cannot_be_listed_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "words").mkdir()
    (tmp_path / "words/notes.txt").write_text("x")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    write_parquet(tmp_path / "numbers.parquet", {"x": [1, 2]})
    write_parquet(tmp_path / "none.parquet", {"image": pa.array([], pa.binary())})
    write_parquet(tmp_path / "floats.parquet", {"image": [b"x"], "label": [0.5]})
    write_tar(tmp_path / "none.tar", [("a.txt", b"x")])
    write_tar(tmp_path / "mixed/a.tar", [("1.png", b"x")])
    write_parquet(tmp_path / "mixed/b.parquet", {"image": [b"x"]})
    wrong = {
        "absent": "no such folder", "empty": "no images", "words": "no images", "notes.txt": "expected a folder",
        "broken.parquet": "cannot be read as Parquet", "numbers.parquet": "columns x; expected `image`",
        "none.parquet": "no images", "floats.parquet": "expected integers or words", "none.tar": "no images",
        "mixed": "name one kind", "*.tiff": "no file matches", "*.t*": "matches \\*.tar only",
    }  # fmt: skip
    for name, words in wrong.items():
        with pytest.raises(SourceError, match=words) as caught:
            list_images([str(tmp_path / name)])
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_classes_that_do_not_fit_together(tmp_path: Path) -> None:
    folder = fill(tmp_path / "f", "a/1.png")
    numbered = write_tar(tmp_path / "x.tar", [("1.png", b""), ("1.cls", b"0")])
    with pytest.raises(SourceError, match="give --class-names"):
        list_images([str(folder), str(numbered)])
    for number, names in enumerate((["x", "y"], ["y", "x"])):
        schema = pa.schema([("image", pa.binary()), ("label", pa.int64())], huggingface(names))
        write_parquet(tmp_path / f"h/{number}.parquet", {"image": [b""], "label": [0]}, schema)
    with pytest.raises(SourceError, match="disagree"):
        list_images([str(tmp_path / "h")])
    for text, words in [("", "no rows"), ("a\tx\na\ty\n", "comes twice")]:
        (tmp_path / "names.tsv").write_text(text)
        with pytest.raises(SourceError, match=words):
            list_images([str(folder)], str(tmp_path / "names.tsv"))
    with pytest.raises(SourceError, match="cannot be read"):
        list_images([str(folder)], str(tmp_path / "absent.tsv"))


def test_a_vanished_file_is_one_image_a_vanished_source_is_not(tmp_path: Path) -> None:
    root = fill(tmp_path / "f", "a/1.png", "a/2.png")
    shard = write_tar(tmp_path / "x.tar", [("1.png", b"1" * 900), ("2.png", b"2" * 900)])
    rows = write_parquet(tmp_path / "x.parquet", {"image": [b"5"]})
    folder, tar, parquet = (list_images([str(source)]) for source in (root, shard, rows))
    (root / "a/1.png").unlink()
    gone, kept = bodies(folder)
    assert isinstance(gone, ImageError)
    assert kept == PNG + b"a/2.png"
    with shard.open("r+b") as stream:
        stream.truncate(600)
    assert [getattr(body, "reason", None) for body in bodies(tar)] == ["truncated", "truncated"]
    shutil.rmtree(root)
    shard.unlink()
    rows.unlink()
    for manifest in (folder, tar, parquet):
        with pytest.raises(JobError, match="is gone; put it back"):
            bodies(manifest)


def test_a_link_to_itself_goes_to_quarantine(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"a")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "nowhere.jpg").symlink_to("none.jpg")
    (folder / "round.png").symlink_to("round.png")
    (folder / "round").symlink_to("round")
    found = dict(read_images(list_images([str(folder)]).table))
    assert found.pop(0) == b"a"
    assert [each.reason for each in found.values() if isinstance(each, ImageError)] == ["missing"] * 3
    with pytest.raises(SourceError, match="round"):
        list_images([str(folder / "round")])
