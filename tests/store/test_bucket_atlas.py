"""An atlas in a bucket: the same as its folder; a cache with a bound; a store that fails or is slow gives 503."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import atlas
from atlas import tables
from atlas.errors import FolderError, StoreError
from atlas.read.audit import audit
from atlas.read.pack import pack
from atlas.store import locations, remote
from atlas.store.files import Folder
from atlas.store.held import Cache, cache
from tests import constructed
from tests.sources import upload


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = constructed.write(tmp_path_factory.mktemp("bucket") / "atlas", constructed.Shape(images=60))
    pack(str(made), f"{made}.tar")
    return made


@pytest.mark.parametrize("packed", [False, True])
def test_it_says_what_the_folder_says(folder: Path, bucket: str, packed: bool) -> None:
    there = upload(folder.parent, bucket, "some where") + ("/atlas.tar" if packed else "/atlas")
    plain, far = atlas.open(folder), atlas.open(there)
    for table in tables.of_part(None):
        sql = f'SELECT * FROM "{table.name}"'
        assert plain.query(sql).fetchall() == far.query(sql).fetchall(), table.name
    for place in plain.query("SELECT crop FROM examples WHERE crop.pack IS NOT NULL LIMIT 20").fetchall():
        assert far.picture_bytes(place[0]) == plain.picture_bytes(place[0])
    assert far.neighbours(3, 5) == plain.neighbours(3, 5)
    report = audit(there)
    assert report.ok, str(report)
    assert report.pictures == audit(str(folder)).pictures


def test_damage_in_a_bucket_is_found(folder: Path, bucket: str, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy" / "atlas")
    body = bytearray((folder / "neurons.parquet").read_bytes())
    body[len(body) // 2] ^= 1
    (tmp_path / "copy" / "atlas" / "neurons.parquet").write_bytes(body)
    there = upload(tmp_path / "copy", bucket, "x")
    with pytest.raises(FolderError, match=r"neurons\.parquet is damaged"):
        atlas.open(f"{there}/atlas")


def test_one_request_a_picture_and_none_the_second_time(
    folder: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = atlas.open(upload(folder.parent, bucket, "y") + "/atlas")
    asked: list[tuple[int, int]] = []
    plain = remote.Remote.range

    def counted(self: remote.Remote, path: str, offset: int, length: int) -> bytes:
        asked.append((offset, length))
        return plain(self, path, offset, length)

    places = [place for (place,) in far.query("SELECT crop FROM examples WHERE crop.pack IS NOT NULL").fetchall()]
    different = {(p["pack"], p["offset"]) for p in places}
    _ = far.store
    monkeypatch.setattr(remote.Remote, "range", counted)
    with ThreadPoolExecutor(8) as pool:
        first = list(pool.map(far.picture_bytes, places))
    assert len(asked) == len(different)
    assert [far.picture_bytes(place) for place in places] == first
    assert len(asked) == len(different)


def test_a_store_that_fails_is_said_to_fail(folder: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from api.http import errors

    far = atlas.open(upload(folder.parent, bucket, "z") + "/atlas")
    place = far.query("SELECT crop FROM examples WHERE crop.pack IS NOT NULL LIMIT 1").fetchall()[0][0]
    _ = far.store
    tried = []

    def failing(self: remote.Remote, path: str) -> object:
        tried.append(path)
        raise OSError("When reading: AWS Error SLOW_DOWN")

    whole = remote.Remote._file
    monkeypatch.setattr(remote.Remote, "_file", failing)
    with pytest.raises(StoreError, match="does not answer") as refused:
        far.picture_bytes(place)
    assert len(tried) == 3
    assert errors.of(refused.value).status == 503

    def once(self: remote.Remote, path: str) -> object:  # one failure is no failure
        monkeypatch.setattr(remote.Remote, "_file", whole)
        raise OSError("broken off")

    monkeypatch.setattr(remote.Remote, "_file", once)
    assert far.picture_bytes(place) == atlas.open(folder).picture_bytes(place)


def test_the_cache_keeps_its_bound() -> None:
    small = Cache(10_000)
    for number in range(100):
        body = os.urandom(1000 + number)
        assert small.piece(str(number), lambda body=body: body) == body  # type: ignore[misc]
        assert small.used <= small.bound
    assert small.piece("99", lambda: b"other") != b"other"
    assert small.piece("0", lambda: b"again") == b"again"
    small.whole("table", 9_000, lambda stream: stream.write(b"x" * 9_000))
    assert small.used <= small.bound
    there = sum(path.stat().st_size for path in small.folder.iterdir())
    assert there == small.used
    with pytest.raises(StoreError, match="NEURON_ATLAS_CACHE_BYTES"):
        small.whole("other", 2_000, lambda stream: stream.write(b"x" * 2_000))
    with pytest.raises(StoreError, match="expected 10"):
        small.whole("short", 10, lambda stream: stream.write(b"x"))
    assert small.used <= small.bound


def test_a_repository_of_the_hub_is_read_through_the_same_door(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`hf://`: here the file system of the Hub is one of this machine, as there is no network."""
    from pyarrow import fs

    monkeypatch.setattr(
        locations, "_hub", lambda process: fs.SubTreeFileSystem(str(folder.parent), fs.LocalFileSystem())
    )
    far = atlas.open("hf://atlas")
    assert far.neurons.count("*").fetchall() == [(15,)]
    assert audit("hf://atlas").ok
    assert atlas.open("hf://atlas.tar").about == far.about
    with pytest.raises(Exception, match="can only be read"):
        Folder("hf://atlas").put("a", b"")
    assert cache(os.getpid()).used <= cache(os.getpid()).bound
