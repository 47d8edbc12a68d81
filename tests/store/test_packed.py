"""A packed atlas: the same rows, pictures and digest as its folder; what is no such file is refused at once."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import atlas
from atlas import tables
from atlas.errors import AtlasError, FolderError, InputError
from atlas.read.audit import audit
from atlas.read.pack import pack
from atlas.store import packed
from atlas.store.files import Folder
from tests import constructed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return constructed.write(tmp_path_factory.mktemp("packed") / "atlas", constructed.Shape(images=60))


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    pack(str(folder), f"{folder}.tar")
    return Path(f"{folder}.tar")


def test_it_says_what_the_folder_says(folder: Path, file: Path) -> None:
    plain, one = atlas.open(folder), atlas.open(file)
    for table in tables.of_part(None):
        sql = f'SELECT * FROM "{table.name}"'
        assert plain.query(sql).fetchall() == one.query(sql).fetchall(), table.name
    assert one.about == plain.about
    for place in plain.query("SELECT crop FROM examples WHERE crop.pack IS NOT NULL").fetchall():
        assert one.picture_bytes(place[0]) == plain.picture_bytes(place[0])
    assert one.neighbours(3, 5) == plain.neighbours(3, 5)
    assert audit(str(file)).ok
    assert audit(str(file)).pictures == audit(str(folder)).pictures
    assert one.layer("conv1")[0]._repr_html_() == plain.layer("conv1")[0]._repr_html_()


def test_it_is_a_plain_tar_and_always_the_same(folder: Path, file: Path, tmp_path: Path) -> None:
    pack(str(folder), str(tmp_path / "again.tar"))
    assert (tmp_path / "again.tar").read_bytes() == file.read_bytes()
    with tarfile.open(file) as tar:
        tar.extractall(tmp_path / "out", filter="data")
    assert audit(str(tmp_path / "out")).ok
    pack(str(file), str(tmp_path / "third.tar"))  # also from a packed one
    assert (tmp_path / "third.tar").read_bytes() == file.read_bytes()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of rdflib, through mlcroissant
def test_its_metadata_name_every_column(file: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    told = json.loads(Folder(str(file)).get("croissant.json"))
    found = mlcroissant.Dataset(jsonld=told)
    assert not found.metadata.issues.errors
    named = {each["@id"] for record in told["recordSet"] for each in record["field"]}
    there = [t for t in tables.of_part(None) if any(r["@id"] == t.name for r in told["recordSet"])]
    assert named == {f"{table.name}/{name}" for table in there for name in table.columns.names}
    assert all(each["description"] for record in told["recordSet"] for each in record["field"])
    import yaml

    card = Folder(str(file)).get("README.md").decode()
    head = yaml.safe_load(card.split("---")[1])
    assert {each["config_name"] for each in head["configs"]} == {table.name for table in there}


def test_it_cannot_be_written_and_bad_names_are_refused(folder: Path, file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can only be read"):
        Folder(str(file)).put("a", b"b")
    with pytest.raises(InputError, match=r"ends in \.tar"):
        pack(str(folder), str(tmp_path / "a.zip"))
    with pytest.raises(InputError, match="is there already"):
        pack(str(folder), str(file))
    damaged = tmp_path / "damaged.tar"
    body = bytearray(file.read_bytes())
    at = Folder(str(file)).held("neurons.parquet")
    body[at.offset + at.size // 2] ^= 1
    damaged.write_bytes(body)
    with pytest.raises(FolderError, match=r"neurons\.parquet is damaged"):
        atlas.open(damaged)


def listed(members: object, body: bytes = b"") -> bytes:
    """A file whose index lists `members`."""
    index = json.dumps({"format": 1, "members": members}).encode()
    stream = io.BytesIO()
    stream.write(packed._header("pack.json", len(index)) + index + b"\0" * (-len(index) % 512) + body)
    return stream.getvalue() + b"\0" * 1024


def linked() -> bytes:
    info = tarfile.TarInfo("atlas.json")
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return listed([["atlas.json", 0]], info.tobuf(tarfile.GNU_FORMAT))


BAD: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "no tar": lambda: os.urandom(4096),
    "another first": lambda: packed._header("a", 0) + b"\0" * 1024,
    "outside": lambda: listed([["atlas.json", 1 << 40]]),
    "negative": lambda: listed([["atlas.json", -512]]),
    "not a number": lambda: listed([["atlas.json", 1e300]]),
    "true": lambda: listed([["atlas.json", True]]),
    "twice": lambda: listed([["a", 0], ["a", 0]], packed._header("a", 0) * 2),
    "overlapping": lambda: listed([["a", 0], ["b", 512]], packed._header("a", 512) + packed._header("b", 512)),
    "a link": linked,
    "up": lambda: listed([["../a", 0]], packed._header("../a", 0)),
    "absolute": lambda: listed([["/etc/passwd", 0]], packed._header("/etc/passwd", 0)),
    "surrogate": lambda: listed([["\ud800", 0]]),
    "a million": lambda: listed([[str(n), 0] for n in range(1_000_000)]),
    "deep": lambda: packed._header("pack.json", 200_000) + b"[" * 200_000 + b"\0" * 2048,
    "index too large": lambda: packed._header("pack.json", 1 << 40) + b"\0" * 1024,
    "index no object": lambda: packed._header("pack.json", 2) + b"[]".ljust(512, b"\0") + b"\0" * 1024,
}


@pytest.mark.parametrize("what", BAD)
def test_bad_files_are_refused_at_once(what: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.tar"
    path.write_bytes(BAD[what]())
    began = time.process_time()
    with pytest.raises(AtlasError) as refused:
        atlas.open(path)
    assert time.process_time() - began < 5
    assert len(str(refused.value)) < 400


def test_a_sparse_giant_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "sparse.tar"
    with path.open("wb") as stream:
        stream.write(listed([["atlas.json", 1 << 38]], packed._header("atlas.json", 1 << 38)))
        stream.truncate(1 << 39)
    with pytest.raises(FolderError):
        atlas.open(path)


def test_cut_off_anywhere_it_is_refused(file: Path, tmp_path: Path) -> None:
    body = file.read_bytes()
    for end in np.random.default_rng(0).integers(0, len(body) - 1024, 25).tolist():
        (tmp_path / "cut.tar").write_bytes(body[:end])
        with pytest.raises(FolderError):
            atlas.open(tmp_path / "cut.tar")
