"""The probe on Ray Serve: what is refused before anything starts; two replicas, one of them killed under load."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from api.app import create_app
from api.http.errors import ApiError
from api.probing import SAYS, Prober
from atlas.errors import SettingsError
from jobs import replicas
from jobs.cli import main
from probe.answer import see, tell
from probe.protocol import TOKEN, Asked
from probe.subjects import Subject
from tests import tiny_net
from tests.api.serving import serving

ATLAS = "/api/v1/atlases/atlas"


@pytest.mark.parametrize(("text", "expected"), [("1", (1, 1)), ("3", (3, 3)), ("1:8", (1, 8)), ("2:2", (2, 2))])
def test_bounds(text: str, expected: tuple[int, int]) -> None:
    assert replicas.bounds(text) == expected


@pytest.mark.parametrize("text", ["0", "-1", "x", "", "2:", ":2", "3:2", "1:2:3", "1001", "1.5", "9" * 40])
def test_what_are_no_bounds(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--replicas .*expected N, or MIN:MAX"):
        replicas.bounds(text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--replicas", "2"], "--replicas 2: replicas need a cluster; give its --address, or auto"),
        (["--address", "127.0.0.1:1", "--replicas", "none"], "--replicas 'none': expected N"),
        (["--address", "127.0.0.1:1", "--host", "0.0.0.0"], "it needs NEURON_ATLAS_PROBE_TOKEN set"),
    ],
)
def test_refused_in_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "nowhere", "--port", "0", *words]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1


def test_arguments_are_the_flags() -> None:
    for given, said in (({"dirs": ["a"], "colour": "red"}, "args: colour"), ({"network": ["n"]}, "args: no dirs")):
        with pytest.raises(SettingsError, match=said):
            replicas._application(given, None)


def test_a_service_that_others_reach_needs_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    with pytest.raises(SettingsError, match=TOKEN):
        replicas.application({"dirs": ["a"]})


def test_without_ray_serve_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "ray.serve", None)
    monkeypatch.delattr("ray.serve", raising=False)
    assert main(["probe", "nowhere", "--port", "0", "--address", "auto"]) == 2
    assert 'pip install "neuron-atlas[replicas]"' in capsys.readouterr().err


@pytest.mark.parametrize(("lost", "status"), [(0, 200), (2, 200), (9, 503)])
def test_a_question_that_was_lost_is_asked_again(monkeypatch: pytest.MonkeyPatch, lost: int, status: int) -> None:
    asked: list[bytes] = []

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        """Loses the first questions, as Serve does with a replica that ends;"""
        if scope["type"] == "http":
            asked.append(await Request(scope, receive).body())
            own = Response(b'{"atlases": {}}', 200, media_type="application/json")
            answer = PlainTextResponse("Internal Server Error", 500) if len(asked) <= lost else own
            await answer(scope, receive, send)

    async def ask(address: str) -> int:
        prober = Prober(lambda: address, None)
        try:
            return (await prober.ask("POST", "/", {"settings": {}}, body=b"picture")).status_code
        except ApiError as error:
            return error.status if error.headers.get("Retry-After") == "5" else 0
        finally:
            await prober.close()

    monkeypatch.setattr("api.probing.AGAIN_ELSEWHERE", (0.0, 0.0, 0.0))
    with serving(proxy) as address:
        assert asyncio.run(ask(address)) == status
    assert asked == [b"picture"] * min(lost + 1, 4)


def test_places_get_their_full_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.py").touch()
    monkeypatch.chdir(tmp_path)
    assert replicas._full("net.py:make") == f"{tmp_path}/net.py:make"
    assert replicas._full("net.py") == f"{tmp_path}/net.py"
    for same in ("s3://bucket/net.py", "resnet50", "timm:resnet18", "other.py:make"):
        assert replicas._full(same) == same


@pytest.fixture(scope="module")
def deployed(tiny_root: Path, tiny_atlas: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, with two replicas on the tests' Ray, and the address that it says."""
    import ray

    words = [sys.executable, "-m", "jobs.cli", "probe", str(tiny_atlas), "--network", f"{tiny_net.__file__}:net"]
    words += ["--weights", str(tiny_root / "weights.safetensors"), "--images", str(tiny_root / "images")]
    words += ["--address", ray.get_runtime_context().gcs_address, "--replicas", "2", "--device", "cpu", "--port", "0"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said: list[str] = []
        address = next((line for line in process.stderr if said.append(line) or line.startswith(SAYS)), "")  # type: ignore[func-returns-value]
        assert address, "".join(said)
        # What Ray says from here on is read, or the pipe fills and the command waits.
        threading.Thread(target=said.extend, args=(process.stderr,), daemon=True).start()
        yield process, address.removeprefix(SAYS).strip()
        process.terminate()
        process.wait(60)


def running() -> list[Any]:
    """The named actors of the replicas."""
    import ray

    names = ray.util.list_named_actors(all_namespaces=True)
    return [each for each in names if each["name"].startswith(f"SERVE_REPLICA::{replicas.NAME}#")]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_replica_killed_under_load(
    deployed: tuple[subprocess.Popen[str], str], tiny_root: Path, tiny_atlas: Path, subject: Subject
) -> None:
    import ray

    process, address = deployed
    files = [path.read_bytes() for path in sorted((tiny_root / "images" / "ant").glob("*.png"))[:8]]
    told = [tell(subject, see(subject, body), Asked()) for body in files]
    expected = [[[n["response"] for n in layer["neurons"]] for layer in each["layers"]] for each in told]
    assert len(running()) == 2

    with serving(create_app([tiny_atlas], prober=Prober(lambda: address, None))) as service:

        def ask(number: int) -> int:
            """Asks until it is answered, as `Retry-After` says; how often it had to."""
            for tries in range(60):
                answer = httpx.post(f"{service}{ATLAS}/probe", content=files[number % len(files)], timeout=60)
                if answer.status_code == 200:
                    layers = answer.json()["layers"]
                    got = [[n["response"] for n in layer["neurons"]] for layer in layers]
                    assert got == expected[number % len(files)]
                    return tries
                assert answer.status_code in (429, 503), answer.text
                assert "retry-after" in answer.headers, answer.text
                time.sleep(0.2)
            raise AssertionError("never answered")

        with ThreadPoolExecutor(12) as pool:
            asked = [pool.submit(ask, number) for number in range(240)]
            while sum(each.done() for each in asked) < 40:
                time.sleep(0.01)
            victim = running()[0]
            ray.kill(ray.get_actor(victim["name"], namespace=victim["namespace"]), no_restart=True)
            tries = [each.result(120) for each in asked]
        assert len(tries) == 240
        until = time.monotonic() + 60
        while len(running()) < 2 or victim in running():  # Serve has it back
            assert time.monotonic() < until
            time.sleep(0.2)

    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert not running()
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)
