"""Several atlases under their names; what is not sound is listed with its reason, and the others serve."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from api.app import create_app
from api.library import Library
from atlas.store import layout
from tests import constructed
from tests.api.serving import serving


def damage(path: Path, at: int = 100) -> None:
    body = bytearray(path.read_bytes())
    body[at % len(body)] ^= 0xFF
    path.write_bytes(bytes(body))


def resealed(folder: Path) -> None:
    """Writes SHA256SUMS anew, so that only what lies deeper is wrong."""
    from atlas.store import seal
    from atlas.store.files import Folder

    _, sums = seal.digest_and_sums(Folder(str(folder)))
    sums[layout.ATLAS] = seal.sha256(Folder(str(folder)), layout.ATLAS)
    (folder / layout.SUMS).write_text("".join(f"{sums[p]}  {p}\n" for p in sorted(sums)))


def no_sums(folder: Path) -> None:
    (folder / layout.SUMS).unlink()


def short_pack(folder: Path) -> None:
    pack = folder / "pictures/harvest-000000.tar"
    pack.write_bytes(pack.read_bytes()[:5000])


def no_pack(folder: Path) -> None:
    (folder / "pictures/harvest-000000.tar").unlink()


def other_version(folder: Path) -> None:
    about = json.loads((folder / layout.ATLAS).read_text())
    (folder / layout.ATLAS).write_text(json.dumps({**about, "format_version": 99}))


def no_json(folder: Path) -> None:
    (folder / layout.ATLAS).write_text("{")


def out_of_the_folder(folder: Path) -> None:
    with (folder / layout.SUMS).open("a") as stream:
        stream.write(f"{'0' * 64}  ../../etc/passwd\n")


def stray_codes(folder: Path) -> None:
    (folder / "codes/part-00009.parquet").write_bytes(b"PAR1")


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def no_parquet(folder: Path) -> None:
    (folder / "examples.parquet").write_bytes(b"not a table at all")
    sums = (folder / layout.SUMS).read_text().splitlines()
    import hashlib

    mine = hashlib.sha256(b"not a table at all").hexdigest()
    lines = [f"{mine}  examples.parquet" if line.endswith("  examples.parquet") else line for line in sums]
    (folder / layout.SUMS).write_text("\n".join(lines) + "\n")


BAD: list[tuple[Callable[[Path], None], str]] = [
    (lambda f: damage(f / "examples.parquet"), "examples.parquet is damaged"),
    (lambda f: damage(f / "images.parquet"), "images.parquet is damaged"),
    (lambda f: damage(f / "codes.faiss"), "codes.faiss is damaged"),
    (lambda f: damage(f / "codes/part-00000.parquet"), "codes/part-00000.parquet is damaged"),
    (lambda f: (f / "neurons.parquet").unlink(), "neurons.parquet is missing"),
    (no_sums, "not a sealed atlas"),
    (short_pack, "harvest-000000.tar has 5000 bytes"),
    (no_pack, "harvest-000000.tar is missing"),
    (other_version, "an atlas of format 99"),
    (no_json, "cannot be read"),
    (out_of_the_folder, "expected a path inside the folder"),
    (stray_codes, "part-00009.parquet is not in SHA256SUMS"),
    (empty, "not a sealed atlas"),
    (no_parquet, "cannot be read"),
]


@pytest.mark.parametrize(("harm", "reason"), BAD, ids=[reason for _, reason in BAD])
def test_a_bad_folder_is_unavailable_and_says_why(
    atlases: Path, tmp_path: Path, harm: Callable[[Path], None], reason: str
) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(atlases / "plain", bad)
    harm(bad)
    library = Library([atlases / "odd", bad])
    shelf = next(shelf for shelf in library.shelves.values() if not shelf.available)
    assert reason in (shelf.reason or "")
    assert str(tmp_path) not in (shelf.reason or "")
    assert library.get("odd/atlas").available


def test_the_others_serve(atlases: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(atlases / "plain", bad)
    damage(bad / "neurons.parquet")
    with serving(create_app([bad, atlases / "odd"])) as address, httpx.Client(base_url=address) as client:
        items = {item["name"]: item for item in client.get("/api/v1/atlases").json()["items"]}
        assert items["plain"]["status"] == "unavailable"
        assert "damaged" in items["plain"]["reason"]
        assert items["odd/atlas"]["status"] == "available"
        health = client.get("/api/v1/health").json()
        assert health["status"] == "degraded"
        for path in ("/api/v1/atlases/plain", "/api/v1/atlases/plain/layers", "/plain", "/plain/layers"):
            answer = client.get(path)
            assert answer.status_code == 404
            assert "unavailable" in answer.json()["detail"]
            assert str(tmp_path) not in answer.text
        assert "damaged" in client.get("/").text
        assert client.get("/odd%2Fatlas").status_code == 200


def test_equal_names_and_reserved_ones_get_numbers(tmp_path: Path, atlases: Path) -> None:
    constructed.write(tmp_path / "api", constructed.Shape(name="api"))
    library = Library([atlases / "plain", atlases / "plain", tmp_path / "api"])
    assert list(library.shelves) == ["plain", "plain-2", "api-2"]


def test_a_damaged_picture_is_refused_when_it_is_read(atlases: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(atlases / "plain", bad)
    with serving(create_app([bad])) as address, httpx.Client(base_url=address) as client:
        api = "/api/v1/atlases/plain"
        url = client.get(f"{api}/neurons/conv1/0").json()["examples"]["max"][0]["crop"]["url"]
        pack, place = url.split("/")[-2:]
        before = client.get(url)
        assert before.status_code == 200
        offset = int(place.split("-")[0])
        damage(bad / "pictures" / pack, offset + 60)
        after = client.get(url)
        assert after.status_code == 404
        assert "damaged" in after.json()["detail"]


def test_packs_are_verified_in_the_background(atlases: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(atlases / "plain", bad)
    damage(bad / "pictures/images-000000.tar", 700)
    with serving(create_app([bad, atlases / "odd"])) as address, httpx.Client(base_url=address) as client:
        for _ in range(200):
            health = client.get("/api/v1/health").json()
            states = {each["name"]: each["verification"] for each in health["atlases"]}
            if all(state["packs"] != "running" for state in states.values()):
                break
            time.sleep(0.05)
        assert states["plain"]["packs"] == "failed"
        assert states["plain"]["failed"] == ["pictures/images-000000.tar"]
        assert states["odd/atlas"] == {
            "tables": "verified",
            "sizes": "verified",
            "packs": "verified",
            "packs_done": 3,
            "packs_total": 3,
            "failed": [],
            "parts": {},
        }
        assert health["status"] == "degraded"
        assert client.get("/api/v1/atlases/plain/layers").status_code == 200
