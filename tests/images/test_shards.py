"""Tar shards: every format, labels beside images, damage; only headers are read to list them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from atlas.errors import ImageError, SourceError
from atlas.images.manifest import list_images
from tests.sources import (
    bodies,
    class_ids,
    keys,
    write_tar,
)


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
    from atlas.images import shards

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
