"""The service with a probe behind it: a child process, its answers, its refusals, its end and its return."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from pydantic import TypeAdapter

import atlas
from api.app import create_app
from api.client import Client
from api.probing import Child, Prober
from api.views.probe import Probed
from api.views.probe_more import Accuracy, PlaceList
from jobs.probe import command
from probe import protocol
from tests import tiny_net
from tests.api.serving import serving

ATLAS = "/api/v1/atlases/atlas"


@pytest.fixture(scope="module")
def child(tiny_root: Path, tiny_atlas: Path) -> Iterator[Child]:
    flags = {"network": [f"{tiny_net.__file__}:net"], "weights": [str(tiny_root / "weights.safetensors")]}
    found = Child(command([str(tiny_atlas)], flags | {"images": [str(tiny_root / "images")]}, "cpu", "1"))
    found.wait()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def service(child: Child, tiny_atlas: Path) -> Iterator[httpx.Client]:
    app = create_app([tiny_atlas], prober=Prober(lambda: child.address, child.token))
    with serving(app) as address, httpx.Client(base_url=address, timeout=60) as client:
        yield client


def problem(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert said["status"] == status
    assert "Traceback" not in said["detail"]
    return str(said["detail"])


def body_of(root: Path) -> bytes:
    return (root / "images" / "ant" / "003.png").read_bytes()


def test_an_answer_has_addresses(service: httpx.Client, tiny_root: Path) -> None:
    answer = service.post(f"{ATLAS}/probe?k=2&ablate=conv1:1,fc:0&to=mean", content=body_of(tiny_root))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    told = answer.json()
    TypeAdapter(Probed).validate_python(told)
    first = told["layers"][0]["neurons"][0]
    assert service.get(first["url"]).json()["channel"] == first["channel"]
    assert service.get(told["neighbours"][0]["url"]).status_code == 200
    assert told["prediction"][0]["class_name"] in ("ant", "bee", "cat", "dog")
    assert len(told["changed"]["changes"]) == 4


def test_sixteen_at_once_get_what_one_gets(service: httpx.Client, tiny_root: Path) -> None:
    files = sorted((tiny_root / "images" / "ant").glob("*.png"))[:16]
    alone = [service.post(f"{ATLAS}/probe", content=path.read_bytes()).content for path in files]

    def ask(path: Path) -> bytes:
        return httpx.post(str(service.base_url) + f"{ATLAS}/probe", content=path.read_bytes(), timeout=60).content

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, files)) == alone


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("k=0", 422), ("k=x", 422), ("layers=nope", 404), ("ablate=conv1", 422), ("ablate=conv1:99", 404),
        ("ablate=conv1:-1", 422), ("to=none", 422), ("edit=sharpen", 422), ("edit=shuffle:0", 422), ("huh=1", 422),
        ("ablate=" + ",".join(f"c:{i}" for i in range(1000)), 422),
        ("ablate=" + ",".join(f"conv1:{i}" for i in range(5000)), 414),
    ],
)  # fmt: skip
def test_wrong_questions(service: httpx.Client, tiny_root: Path, query: str, status: int) -> None:
    problem(service.post(f"{ATLAS}/probe?{query}", content=body_of(tiny_root)), status)


@pytest.mark.parametrize("body", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0" + b"\0" * 40])
def test_what_is_no_image(service: httpx.Client, body: bytes) -> None:
    assert "image" in problem(service.post(f"{ATLAS}/probe", content=body), 422)


def test_bodies_that_are_too_large(service: httpx.Client) -> None:
    problem(service.post(f"{ATLAS}/probe", content=b"x" * (protocol.LARGEST + 1)), 413)
    pieces = (b"x" * 65536 for _ in range(330))
    problem(service.post(f"{ATLAS}/probe", content=pieces), 413)


def test_without_a_probe_it_says_how_to_start_one(tiny_atlas: Path) -> None:
    with serving(create_app([tiny_atlas])) as address:
        answer = httpx.post(f"{address}{ATLAS}/probe", content=b"x")
        assert "--probe" in problem(answer, 503)


def test_a_full_queue_says_so(child: Child, tiny_atlas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.probing.QUEUE", 0)
    with serving(create_app([tiny_atlas], prober=Prober(lambda: child.address, child.token))) as address:
        answer = httpx.post(f"{address}{ATLAS}/probe", content=b"x")
        problem(answer, 429)
        assert int(answer.headers["retry-after"]) >= 1


def test_the_secret_is_asked_for(child: Child, tiny_atlas: Path) -> None:
    assert httpx.post(f"{child.address}{ATLAS[1:]}/probe", content=b"x").status_code == 401
    with serving(create_app([tiny_atlas], prober=Prober(lambda: child.address, "wrong"))) as address:
        assert protocol.TOKEN in problem(httpx.post(f"{address}{ATLAS}/probe", content=b"x"), 503)


def test_another_atlas_is_refused_naming_both(child: Child) -> None:
    headers = {"authorization": f"Bearer {child.token}", protocol.OF: "a" * 64 + "/b/c"}
    answer = httpx.post(f"{child.address}{ATLAS[1:]}/probe", content=b"x", headers=headers)
    assert answer.status_code == 409
    assert "aaaaaaaaaaaa" in answer.json()["detail"]


def test_killed_it_comes_back_and_browsing_goes_on(service: httpx.Client, child: Child, tiny_root: Path) -> None:
    before = service.post(f"{ATLAS}/probe", content=body_of(tiny_root)).content
    os.kill(child.process_id, signal.SIGKILL)
    problem(service.post(f"{ATLAS}/probe", content=body_of(tiny_root)), 503)
    assert service.get("/atlas").status_code == 200
    begin = time.monotonic()
    while service.post(f"{ATLAS}/probe", content=body_of(tiny_root)).status_code != 200:
        assert time.monotonic() - begin < 60
        time.sleep(0.2)
    assert service.post(f"{ATLAS}/probe", content=body_of(tiny_root)).content == before


def test_other_weights_are_refused_naming_both(tiny_root: Path, tiny_atlas: Path, tmp_path: Path) -> None:
    from atlas.errors import SettingsError
    from tests import tiny

    other = tiny.write_weights(tmp_path / "other.safetensors", seed=1)
    flags = {"network": [f"{tiny_net.__file__}:net"], "weights": [str(other)]}
    with pytest.raises(SettingsError, match=r"weights_digest [0-9a-f]{12}, expected [0-9a-f]{12}"):
        Child(command([str(tiny_atlas)], flags, "cpu", "1")).wait()


def test_pictures_have_their_evidence_in_headers(service: httpx.Client, tiny_root: Path) -> None:
    answer = service.get(f"{ATLAS}/probe/pictures?layer=conv1&channel=1&kind=lrp&rank=0")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["neuron-atlas-source"] == "original"
    assert float(answer.headers["neuron-atlas-sufficiency-random"]) < 2
    again = service.get(f"{ATLAS}/probe/pictures?layer=conv1&channel=1&kind=lrp&rank=0")
    assert again.content == answer.content
    maps = service.post(f"{ATLAS}/probe/pictures?layer=block&kind=maps", content=body_of(tiny_root))
    assert 0 < float(maps.headers["neuron-atlas-zeros"]) < 1
    problem(service.post(f"{ATLAS}/probe/pictures?layer=nope&kind=maps", content=body_of(tiny_root)), 404)
    problem(service.get(f"{ATLAS}/probe/pictures?layer=conv1&channel=1&rank=99"), 404)


def test_places_and_accuracy(service: httpx.Client) -> None:
    told = service.post(f"{ATLAS}/probe/places?layer=block&y=2&x=3&k=3&image=8").json()
    TypeAdapter(PlaceList).validate_python(told)
    assert (told["items"][0]["image_id"], told["items"][0]["y"], told["items"][0]["x"]) == (8, 2, 3)
    problem(service.post(f"{ATLAS}/probe/places?layer=block&y=99&x=0&image=8"), 422)
    counted = service.get(f"{ATLAS}/probe/accuracy?edit=gray&n=5").json()
    TypeAdapter(Accuracy).validate_python(counted)


def test_without_pictures_none_leaves(child: Child, tiny_atlas: Path) -> None:
    with serving(
        create_app([tiny_atlas], pictures=False, prober=Prober(lambda: child.address, child.token))
    ) as address:
        problem(httpx.get(f"{address}{ATLAS}/probe/pictures?layer=conv1&channel=1"), 403)


def test_from_python(service: httpx.Client, tiny_root: Path, tiny_atlas: Path) -> None:
    path = tiny_root / "images" / "ant" / "003.png"
    with Client(str(service.base_url)) as client:
        told = client.atlas("atlas").probe(path, k=3, ablate=[("conv1", 2)])
    network = {"network": f"{tiny_net.__file__}:net", "weights": str(tiny_root / "weights.safetensors")}
    here = atlas.open(tiny_atlas).probe(path, k=3, ablate="conv1:2", device="cpu", **network)
    for over, own in zip(told["layers"], here["layers"], strict=True):
        assert [n["response"] for n in over["neurons"]] == [n["response"] for n in own["neurons"]]
    assert told["changed"] is not None
