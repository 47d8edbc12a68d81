"""The process: limits, silent and slow clients, an orderly end, and what it never imports."""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from api import server
from atlas.errors import SettingsError

pytestmark = pytest.mark.slow
A = "/api/v1/atlases/plain"
RUN = (
    "import sys; from api.server import serve; "
    "serve(sys.argv[1:], port=0, ready=lambda u: print(u, file=sys.stderr, flush=True))"
)


class Process:
    """A service in a process of its own."""

    def __init__(self, *folders: Path, code: str = RUN) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, folders)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert self.process.stderr is not None
        self.address = self.process.stderr.readline().decode().strip().rstrip("/")
        assert self.address.startswith("http"), self.process.stderr.read()
        self.log: list[bytes] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.log.extend(self.process.stdout)

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self._reading.join(10)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return code


@pytest.fixture
def process(atlases: Path) -> Iterator[Process]:
    started = Process(atlases / "plain")
    try:
        yield started
    finally:
        started.end()


def connect(address: str) -> socket.socket:
    host, _, port = address.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def test_a_line_of_json_a_request(process: Process) -> None:
    with httpx.Client(base_url=process.address) as client:
        client.get(f"{A}/neurons/conv1/1")
        client.head("/nope%0Ax?q=%00")
        client.get(f"{A}/images/5/thumbnail")
    assert process.end() == 0
    lines = [json.loads(line) for line in process.log]
    assert [(line["method"], line["status"], line["route"]) for line in lines] == [
        ("GET", 200, "neuron"),
        ("HEAD", 404, "page:atlas"),
        ("GET", 200, "thumbnail"),
    ]
    assert set(lines[0]) == {"time", "method", "path", "query", "route", "status", "bytes", "seconds", "client"}


def test_sigterm_answers_what_has_begun(process: Process) -> None:
    with connect(process.address) as slow, connect(process.address) as idle:
        slow.sendall(f"POST {A}/neighbours HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30\r\n\r\n".encode())
        time.sleep(0.3)
        process.process.send_signal(signal.SIGTERM)
        assert idle.recv(100) == b""  # it had nothing to wait for
        time.sleep(0.3)
        slow.sendall(b'{"code":[1,2,3,4,5,6,7,8]}    ')
        received = b""
        while more := slow.recv(65536):
            received += more
        assert received.startswith(b"HTTP/1.1 200")
    with pytest.raises(ConnectionRefusedError):
        connect(process.address)
    assert process.end() == 0


def times_of(address: str, count: int) -> list[float]:
    times = []
    with httpx.Client(base_url=address, timeout=30) as client:
        for number in range(count):
            begin = time.perf_counter()
            assert client.get(f"{A}/neurons/conv1/{number % 6}").status_code == 200
            times.append(time.perf_counter() - begin)
    return times


def test_silent_and_slow_clients_do_not_stop_others(process: Process) -> None:
    silent = min(10_000, server.open_files() - 600)
    with ExitStack() as stack:
        held = []
        for _ in range(silent):
            held.append(stack.enter_context(connect(process.address)))
        for number in range(100):
            reader = stack.enter_context(connect(process.address))
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.sendall(f"GET {A}/neurons/conv1/{number % 6} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 20)
            writer = stack.enter_context(connect(process.address))
            writer.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
            held += [reader, writer]
        stop = threading.Event()

        def trickle() -> None:
            while not stop.wait(1):
                for each in held[silent:]:
                    try:
                        each.recv(1, socket.MSG_DONTWAIT)
                        each.send(b"x")
                    except OSError:
                        pass

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            times = sorted(times_of(process.address, 300))
        finally:
            stop.set()
            thread.join()
    assert times[int(0.99 * len(times))] < 0.25, times[-5:]


def test_too_many_connections_push_the_idle_ones_out(atlases: Path) -> None:
    code = RUN.replace("serve(sys", "import api.server as s; s.open_files = lambda: 20 + s.RESERVED_FILES; serve(sys")
    process = Process(atlases / "plain", code=code)
    try:
        with ExitStack() as stack:
            for _ in range(200):  # Crowd allows 64
                stack.enter_context(connect(process.address))
            assert statistics.median(times_of(process.address, 5)) < 1
    finally:
        process.end()


def test_a_silent_connection_is_closed(atlases: Path) -> None:
    code = RUN.replace("serve(sys", "import api.server as s; s.HEADER_SECONDS = s.BODY_SECONDS = 0.5; serve(sys")
    process = Process(atlases / "plain", code=code)
    try:
        body = f"POST {A}/neighbours HTTP/1.1\r\nContent-Length: 30\r\n\r\n".encode()
        for begin in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nX: ", body):
            with connect(process.address) as held:
                held.sendall(begin)
                told = b"".join(iter(lambda: held.recv(4096), b""))  # until it is closed
                assert told.startswith(b"HTTP/1.1 408 ") if begin is body else told == b""
        with connect(process.address) as held:  # kept alive, then silent in the middle of a header
            held.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert held.recv(4096).startswith(b"HTTP/1.1 200")
            held.sendall(b"GET /li")
            while more := held.recv(4096):
                assert b"HTTP/1.1 2" not in more
    finally:
        process.end()


def test_the_process_has_neither_torch_nor_ray(atlases: Path) -> None:
    code = (
        "import sys; from api.library import Library; import atlas, api.app, api.server, api.client\n"
        "lib = Library(sys.argv[1:]); s = next(iter(lib.shelves.values())); assert s.available, s.reason\n"
        "s.atlas.neighbours(5, 3); s.atlas.query('SELECT 1').fetchall()\n"
        "bad = {'torch', 'torchvision', 'ray', 'jobs', 'atlas.scan', 'atlas.harvest', 'atlas.codes'}\n"
        "print(sorted(bad & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(atlases / "plain")],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "[]"


def test_other_machines_need_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEURON_ATLAS_TOKEN", raising=False)
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org", ""):
        with pytest.raises(SettingsError, match="--token"):
            server.checked_token(host, None)
        assert server.checked_token(host, "abc") == "abc"
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        assert server.checked_token(host, None) is None
    monkeypatch.setenv("NEURON_ATLAS_TOKEN", "from the environment".replace(" ", "-"))
    assert server.checked_token("0.0.0.0", None) == "from-the-environment"
    assert server.checked_token("0.0.0.0", "given") == "given"
    with pytest.raises(SettingsError, match="printable"):
        server.checked_token("127.0.0.1", "two words")
    for empty in (server.checked_token,):
        with pytest.raises(SettingsError, match="is empty"):
            empty("127.0.0.1", "")
    monkeypatch.setenv("NEURON_ATLAS_TOKEN", "")
    with pytest.raises(SettingsError, match="is empty"):
        server.checked_token("127.0.0.1", None)


def test_an_address_that_is_taken_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"--port {port}: cannot be bound"):
            server.bound("127.0.0.1", port)


@pytest.mark.parametrize("port", [-1, 65_536, 99_999])
def test_a_port_that_is_none_is_said(port: int) -> None:
    with pytest.raises(SettingsError, match=f"--port {port}: expected 0 to 65535"):
        server.bound("127.0.0.1", port)


def test_a_folder_that_is_not_there_is_said_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="expected the folder of a sealed atlas"):
        server.serve([os.fspath(tmp_path / "none")], port=0)
