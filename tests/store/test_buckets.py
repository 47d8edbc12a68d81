"""Images in a bucket: as on a disk, and when it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.errors import ImageError, SourceError
from atlas.images.manifest import list_images, read_image
from atlas.store import locations
from atlas.store.files import Folder
from tests.sources import (
    PNG,
    bodies,
    class_ids,
    fill,
    keys,
    picture,
    upload,
    write_parquet,
    write_tar,
)


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
    monkeypatch.setattr(locations, "ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(OSError, match="NETWORK_CONNECTION"):
        bodies(manifest)
    with pytest.raises(SourceError, match=r"^s3://\S+/f: cannot be read \(.*NETWORK_CONNECTION"):
        list_images([there])


def test_class_names_from_a_bucket(tmp_path: Path, bucket: str) -> None:
    root = fill(tmp_path / "data", "a/1.png", "b/1.png")
    Folder(bucket).put("names.tsv", b"b\tbird\na\tape\n")
    assert class_ids(list_images([str(root)], f"{bucket}/names.tsv")) == [1, 0]
