"""Which images there are, in what order, of which class; and their bytes."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from atlas.errors import ImageError, JobError, SourceError
from atlas.scan.decode import decode
from atlas.scan.images import MANIFEST, Manifest, hash_key, list_images, read_image, read_images
from atlas.store import files
from atlas.store.files import Folder
from tests import naive_images

PNG = b"\x89PNG "  # listing never looks inside


def fill(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(PNG + name.encode())
    return root


def keys(manifest: Manifest) -> list[str]:
    return manifest.table["key"].to_pylist()  # type: ignore[no-any-return]


def class_ids(manifest: Manifest) -> list[int | None]:
    return manifest.table["class_id"].to_pylist()  # type: ignore[no-any-return]


def bodies(manifest: Manifest) -> list[bytes | ImageError]:
    read = list(read_images(manifest.table))
    assert [image_id for image_id, _ in read] == list(range(len(manifest.table)))
    return [body for _, body in read]


def picture(seed: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


def write_tar(path: Path, members: Sequence[tuple[str, bytes]], kind: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=kind) as tar:
        for name, body in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            tar.addfile(entry, io.BytesIO(body))
    return path


def write_parquet(path: Path, columns: dict[str, Any], schema: pa.Schema | None = None, group: int = 1000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema=schema), path, row_group_size=group)
    return path


def upload(folder: Path, bucket: str, under: str = "") -> str:
    target = Folder(f"{bucket}/{under}".rstrip("/"))
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            target.put(path.relative_to(folder).as_posix(), path.read_bytes())
    return target.location


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


def names_file(folder: Path) -> Path:
    path = folder / "names.tsv"
    path.write_text("b\tbird\na\tape\n")
    return path


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


# Shards


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_format_of_tar(tmp_path: Path, kind: int) -> None:
    long = "a/" * 60 + "x" * 90 if kind == tarfile.USTAR_FORMAT else "long/" * 60 + "猫" * 40
    members = [("./one.png", b"1" * 600), (f"{long}.png", b"22"), ("two/e.jpg", b""), ("notes.txt", b"no")]
    shard = write_tar(tmp_path / "x.tar", members, kind)
    manifest = list_images([str(shard)])
    assert keys(manifest) == ["one.png", f"{long}.png", "two/e.jpg"]
    assert bodies(manifest) == [b"1" * 600, b"22", b""]
    assert class_ids(manifest) == [None] * 3


def test_a_sample_is_an_image_and_its_label(tmp_path: Path) -> None:
    members = [
        ("d/000.cls", b"3\n"), ("d/000.seg.png", b"mask"), ("d/000.jpg", b"image"), ("d/000.txt", b"a caption"),
        ("d/001.png", b"i1"), ("d/001.json", b'{"label": 5, "caption": "x"}'),
        ("d/002.png", b"i2"), ("d/002.json", b'{"cls": 6}'), ("d/002.cls", b"7"),
        ("d/003.png", b"i3"), ("d/003.json", b"not json"),
        ("d/._004.jpg", b"mac"), ("004.cls", b"9"), ("005.cls", b"-1"), ("005.webp", b"i5"),
    ]  # fmt: skip
    manifest = list_images([str(write_tar(tmp_path / "x.tar", members))])
    assert keys(manifest) == ["d/000.jpg", "d/001.png", "d/002.png", "d/003.png", "005.webp"]
    assert class_ids(manifest) == [3, 5, 7, None, None]
    assert bodies(manifest) == [b"image", b"i1", b"i2", b"i3", b"i5"]
    assert manifest.classes == ("0", "1", "2", "3", "4", "5", "6", "7")


def test_words_in_shards_are_classes_over_all_shards(tmp_path: Path) -> None:
    write_tar(tmp_path / "b.tar", [("1.png", b""), ("1.cls", b"owl"), ("2.png", b""), ("2.cls", b"ant")])
    write_tar(tmp_path / "a.tar", [("1.png", b""), ("1.json", b'{"label": "bee"}')])
    manifest = list_images([str(tmp_path)], limit=2)
    assert keys(manifest) == ["a.tar/1.png", "b.tar/1.png"]
    assert manifest.classes == ("ant", "bee", "owl")
    assert class_ids(manifest) == [1, 2]


def test_links_and_folders_in_a_tar_are_not_images(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, kind in [
            ("folder.png", tarfile.DIRTYPE),
            ("link.png", tarfile.SYMTYPE),
            ("hard.png", tarfile.LNKTYPE),
        ]:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "real.png"
            tar.addfile(entry)
        entry = tarfile.TarInfo("real.png")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"yes"))
    assert bodies(list_images([str(tmp_path / "x.tar")])) == [b"yes"]


def test_the_last_member_may_be_cut_short(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "x.tar", [("1.png", b"a" * 700), ("2.png", b"b" * 700)])
    with shard.open("r+b") as stream:
        stream.truncate(512 + 1024 + 512 + 300)
    first, second = bodies(list_images([str(shard)]))
    assert first == b"a" * 700
    assert isinstance(second, ImageError)
    assert (second.reason, second.detail) == ("truncated", "300 of 700 bytes are in the tar")


def test_other_damage_to_a_tar_is_said_before_the_work_starts(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "x.tar", [("1.png", b"a" * 700), ("2.png", b"b" * 700)])
    whole = shard.read_bytes()
    shard.write_bytes(whole[: 512 + 1024] + b"junk" * 128 + whole[512 + 1024 + 512 :])
    with pytest.raises(SourceError, match=r"x.tar: expected a tar file; the header at byte 1536 is damaged"):
        list_images([str(shard)])
    shard.write_bytes(whole[: 512 + 1024 + 100])
    with pytest.raises(SourceError, match=r"the header at byte 1536 is damaged"):
        list_images([str(shard)])
    with tarfile.open(shard, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("1.png"))
    with pytest.raises(SourceError, match="a compressed file: unpack it"):
        list_images([str(shard)])
    for body in (b"", bytes(10240), b"<html>"):
        shard.write_bytes(body)
        with pytest.raises(SourceError, match=r"x\.tar"):
            list_images([str(shard)])


def test_listing_a_tar_reads_headers_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from atlas.scan import shards

    read = []

    class Counting(shards._Window):
        def read(self, offset: int, length: int) -> bytes:
            body = super().read(offset, length)
            read.append(len(self._bytes))
            return body

    monkeypatch.setattr(shards, "_Window", Counting)
    shard = write_tar(tmp_path / "x.tar", [(f"{n}.png", bytes(1 << 20)) for n in range(10)])
    assert len(list_images([str(shard)]).table) == 10
    assert sum(read) < 200_000


# Parquet


def huggingface(names: Sequence[str]) -> dict[bytes, bytes]:
    features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


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


@settings(max_examples=50, deadline=None)
@given(names=st.lists(st.text(), min_size=1, max_size=20), seed=st.integers(0, 2**63 - 1), cut=st.integers(0, 20))
def test_the_hash_of_a_key_depends_on_seed_and_key_alone(names: list[str], seed: int, cut: int) -> None:
    safe = [name.encode("utf-8", "replace").decode() for name in names]
    whole = hash_key(seed, pa.array(safe, pa.string()))
    parts = hash_key(seed, pa.chunked_array([safe[:cut], safe[cut:]], pa.string()))
    assert whole.dtype == np.uint64
    assert (whole == parts).all()
    assert (
        hash_key(seed, pa.array(safe, pa.string()))[::-1] == hash_key(seed, pa.array(safe[::-1], pa.string()))
    ).all()


def test_the_hash_of_a_key_is_even_and_stays() -> None:
    hashes = hash_key(0, pa.array([f"{n}.png" for n in range(20_000)]))
    counts = np.histogram(hashes.astype(np.float64), 10, (0, 2.0**64))[0]
    assert np.abs(counts - 2000).max() < 250
    assert not (hash_key(1, pa.array(["0.png"])) == hashes[0]).any()
    assert hash_key(0, pa.array(["a.png"])).tolist() == [9349870816432532991]


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


# Buckets


def test_a_bucket_is_listed_and_read_as_a_disk(tmp_path: Path, bucket: str) -> None:
    local = fill(
        tmp_path / "all", "f/a/1.png", "f/b/naïve 猫 א.jpg", "f/b/quote'\"<b>&+%25.jpg", "f/top.png", "f/.no.png"
    )
    fill(local, *(f"f/many/{n}.png" for n in range(30)), "f/notes.txt", "f/.hid/1.png")
    for number in range(3):
        members = [(f"{n}.{end}", body) for n in range(9) for end, body in (("png", picture(n)), ("cls", b"%d" % n))]
        write_tar(local / f"shards/train-{number}.tar", members)
        write_parquet(local / f"rows/{number}.parquet", {"image": [picture(n) for n in range(7)]}, group=3)
    there = upload(local, bucket, "some where")
    for name in (
        "f",
        "shards",
        "rows",
        "shards/train-1.tar",
        "shards/train-[01].tar",
        "rows/*.parquet",
        "*/train-2.tar",
    ):
        here, remote = list_images([f"{local}/{name}"]), list_images([f"{there}/{name}"])
        assert keys(here) == keys(remote), name
        assert class_ids(here) == class_ids(remote)
        assert (here.classes, here.digest) == (remote.classes, remote.digest)
        assert bodies(here) == bodies(remote)
        last = remote.table.slice(len(remote.table) - 1).to_pylist()[0]
        assert read_image(last) == bodies(here)[-1]


def test_trouble_in_a_bucket(tmp_path: Path, bucket: str) -> None:
    there = upload(fill(tmp_path, "a/1.png", "a/2.png"), bucket, "f")
    for name in ("f/absent", "absent", "f/*.tar"):
        with pytest.raises(SourceError, match=r"no such|no file"):
            list_images([f"{bucket}/{name}"])
    with pytest.raises(SourceError, match="no such"):
        list_images([f"{bucket}-absent/f"])
    manifest = list_images([there])
    Folder(there).remove("a/1.png")
    gone, kept = bodies(manifest)
    assert isinstance(gone, ImageError)
    assert gone.reason == "missing"
    assert kept == PNG + b"a/2.png"


def test_a_store_out_of_reach_is_no_matter_of_one_image(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = upload(fill(tmp_path, "a/1.png", "a/2.png"), bucket, "f")
    manifest = list_images([there])
    monkeypatch.setattr(files, "_ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(OSError, match="NETWORK_CONNECTION"):
        bodies(manifest)
    with pytest.raises(SourceError, match=r"^s3://\S+/f: cannot be read \(.*NETWORK_CONNECTION"):
        list_images([there])


def test_class_names_from_a_bucket(tmp_path: Path, bucket: str) -> None:
    root = fill(tmp_path / "data", "a/1.png", "b/1.png")
    Folder(bucket).put("names.tsv", b"b\tbird\na\tape\n")
    assert class_ids(list_images([str(root)], f"{bucket}/names.tsv")) == [1, 0]
