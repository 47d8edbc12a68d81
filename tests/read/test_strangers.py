"""Atlases from strangers, resealed: refused by name, in bounded memory; the others serve; `verify` says why."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from api.app import create_app
from api.library import Library
from atlas.read.audit import audit
from atlas.read.catalog import Atlas
from jobs import cli
from tests import constructed
from tests.api.serving import serving
from tests.stranger import (
    Change,
    body,
    column,
    copied,
    declared,
    hole,
    index_of,
    linked,
    many,
    places,
    removed,
    rows,
    said,
    text_of,
)  # fmt: skip

HUGE = 10**400
SAYS: dict[str, Change] = {
    "counts missing": said(lambda about: about.pop("counts")),
    "a count missing": said(lambda about: about["counts"].pop("images")),
    "counts of text": said(lambda about: about["counts"].update(images="many")),
    "counts below zero": said(lambda about: about["counts"].update(neurons=-1)),
    "counts that are true": said(lambda about: about["counts"].update(layers=True)),
    "counts of fractions": said(lambda about: about["counts"].update(examples=1.5)),
    "huge counts": said(lambda about: about["counts"].update(images=HUGE)),
    "huge numbers anywhere": said(lambda about: about["settings"].update(k=HUGE)),
    "counts null": said(lambda about: about.update(counts=None)),
    "data a list": said(lambda about: about.update(data=[])),
    "sources of numbers": said(lambda about: about["data"].update(sources=[1])),
    "a digest of numbers": said(lambda about: about.update(digest=7)),
    "a name of lists": said(lambda about: about.update(name=["a"])),
    "no network": said(lambda about: about.pop("network")),
    "accuracy of text": said(lambda about: about.update(accuracy={"top1": "all"})),
    "accuracy not finite": said(lambda about: about["accuracy"].update(top1=float("nan"))),
    "timings of text": said(lambda about: about.update(timings={"scan": "long"})),
    "half a character": said(lambda about: about["network"].update(name="\ud800")),
    "crop of text": said(lambda about: about["preprocessing"].update(crop="wide")),
    "deep": body("[" * 100_000 + "]" * 100_000),
    "deep inside": said(lambda about: about.update(versions=json.loads('{"a":' * 60 + "1" + "}" * 60))),
    "a list": body("[]"),
    "no JSON": body("\x00"),
    "a hole": hole("atlas.json", 3 << 30),
    "sums a hole": hole("SHA256SUMS", 3 << 30),
    "other counts": said(lambda about: about["counts"].update(examples=3)),
    "counts that do not add up": said(lambda about: about["data"].update(count=99)),
}
TABLES: dict[str, Change] = {
    "no layers": rows("layers", lambda found: found.slice(0, 0)),
    "no neurons": rows("neurons", lambda found: found.slice(0, 0)),
    "no images": rows("images", lambda found: found.slice(0, 0)),
    "no examples": rows("examples", lambda found: found.slice(0, 0)),
    "images twice": rows("images", lambda found: pa.concat_tables([found, found])),
    "fewer images": rows("images", lambda found: found.slice(0, 10)),
    "a layer twice": rows("layers", lambda found: pa.concat_tables([found, found])),
    "many channels": column("layers", "channels", 2**31 - 1),
    "channels below zero": column("layers", "channels", -1),
    "other image_ids of examples": column("examples", "image_id", 9_999),
    "other image_ids of near misses": column("near_misses", "image_id", -5),
    "other image_ids": rows("images", lambda found: _add(found, "image_id", 1_000)),
    "no image_ids": column("images", "image_id", None),
    "no sides": column("examples", "side", None),
    "no ranks": column("examples", "rank", None),
    "other sides": column("examples", "side", "left"),
    "no keys": column("images", "key", None),
    "a row that is not there, images": declared("images"),
    "a row that is not there, neurons": declared("neurons"),
    "a row that is not there, explanations": declared("explanations"),
    "far offsets": places("examples", "crop", offset=2**46),
    "offsets below zero": places("images", "thumbnail", offset=-1),
    "long pictures": places("explanations", "picture", length=2**46),
    "packs elsewhere": places("images", "picture", pack="../../../etc/passwd"),  # type: ignore[arg-type]
    "not a table": lambda root: (root / "similar.parquet").write_bytes(b"PAR1" * 100) and None,
    "no columns": rows("classes", lambda found: found.select(["layer"])),
    "other types": rows("neurons", lambda found: _text(found, "images")),
    "no text": rows("quarantine", lambda found: _latin(found, "key")),
    "no text in sanity": rows("sanity", lambda found: _latin(found, "measure")),
    "no examples file": removed("examples.parquet"),
    "an index of more": index_of(1 << 36),
}
HEAVY: dict[str, Change] = {
    "images": many("images", 5_000_000),
    "explanations": many("explanations", 5_000_000),
    "classes": many("classes", 5_000_000),
    "a text": text_of(100_000_000),
}


def _add(found: pa.Table, name: str, value: int) -> pa.Table:
    at = found.schema.get_field_index(name)
    return found.set_column(at, found.schema.field(at), pa.array([v + value for v in found[name].to_pylist()]))


def _text(found: pa.Table, name: str) -> pa.Table:
    return found.set_column(found.schema.get_field_index(name), name, found[name].cast(pa.string()))


def _latin(found: pa.Table, name: str) -> pa.Table:
    bad = pa.array([b"\xff\xfe"] * len(found), pa.binary())
    text = pa.Array.from_buffers(pa.string(), len(bad), bad.buffers())
    return found.set_column(found.schema.get_field_index(name), found.schema.field(name), text)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = constructed.write(tmp_path_factory.mktemp("sound") / "sound", constructed.Shape(name="sound"))
    assert audit(str(folder)).ok
    return folder


def refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Why the library refuses it; `verify` exits 1 and says each fault in a line."""
    shelf = Library([folder]).shelves.popitem()[1]
    assert shelf.reason is not None
    assert not {"Error", "Traceback", str(folder)} & set(shelf.reason.replace("(", " ").split()), shelf.reason
    assert cli.main(["verify", str(folder)]) == 1
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert "NOT sound" in out.splitlines()[0]
    assert len(out.splitlines()) > 1
    return shelf.reason


@pytest.mark.parametrize("what", [*SAYS, *TABLES])
def test_it_is_refused_by_name(what: str, sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(copied(sound, tmp_path / "strange", (SAYS | TABLES)[what]), capsys)


@pytest.mark.parametrize("name", ["pictures", "codes", "responses"])
def test_a_folder_that_leads_out_is_refused(
    name: str, sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(sound, tmp_path / "strange", linked(name, tmp_path / "elsewhere"), reseal=False)
    assert f"{name} is a symbolic link" in refused(folder, capsys)


def test_what_another_atlas_says_is_refused(sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = constructed.write(tmp_path / "other", constructed.Shape(name="other", images=50))
    text = (other / "atlas.json").read_text()
    assert "atlas.json says 50" in refused(copied(sound, tmp_path / "strange", body(text)), capsys)


@pytest.mark.parametrize("what", HEAVY)
def test_memory_is_bounded(what: str, sound: Path, tmp_path: Path) -> None:
    """In a process of its own: what it takes at most, beyond what a sound atlas takes."""
    script = (
        "import resource, sys; from api.library import Library; from atlas.read.audit import audit;"
        "Library([sys.argv[1]]); audit(sys.argv[1]); before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "why = [shelf.reason for shelf in Library([sys.argv[2]]).shelves.values()]; audit(sys.argv[2]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before); print(*why)"
    )
    folder = copied(sound, tmp_path / "strange", HEAVY[what])
    done = subprocess.run(
        [sys.executable, "-c", script, str(sound), str(folder)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    grown, why = done.stdout.splitlines()
    assert "expected at most" in why
    assert int(grown) < 100_000  # kilobytes


def test_the_others_serve(sound: Path, tmp_path: Path) -> None:
    strange = copied(sound, tmp_path / "strange", SAYS["huge counts"])
    with serving(create_app([strange, sound])) as address, httpx.Client(base_url=address) as client:
        assert client.get("/api/v1/atlases/sound/layers").status_code == 200
        listed = {each["name"]: each for each in client.get("/api/v1/atlases").json()["items"]}
        assert listed["strange"]["status"] == "unavailable"
        assert "64 bits" in listed["strange"]["reason"]
        assert client.get("/api/v1/health").json()["status"] == "degraded"


def test_what_a_part_says_is_bounded(sound: Path, tmp_path: Path) -> None:
    import shutil

    for number, wrong in enumerate(('{"name": 1}', "[" * 100_000, '{"settings": []}')):
        folder = shutil.copytree(sound, tmp_path / f"base-{number}")
        part = folder / "parts" / "words"
        part.mkdir(parents=True)
        (part / "part.json").write_text(wrong)
        (part / "SHA256SUMS").write_text("")
        found = Atlas(folder).parts[0]
        assert found.state == "damaged"
        assert "part.json" in str(found.why)
