"""One driver an output: refused while another lives, free at once where it is dead, in a while where nobody knows."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from atlas.errors import JobError, SettingsError
from atlas.store import layout
from atlas.store.files import Folder
from jobs import conditional, lease


@pytest.fixture(params=["disk", "bucket"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "disk":
        return Folder(str(tmp_path / "out"))
    return Folder(f"{request.getfixturevalue('bucket')}/some/out")


def _write(folder: Folder, **changes: object) -> None:
    holder = lease.Holder("other", "elsewhere", "another machine", 1, "1", time.time() + 1000)
    folder.put(layout.LEASE, json.dumps({**asdict(holder), **changes}).encode())


def test_a_lease_is_there_while_it_is_held_and_gone_afterwards(folder: Folder) -> None:
    with lease.held(folder) as check:
        check()
        assert folder.exists(layout.LEASE)
    assert not folder.exists(layout.LEASE)


def test_a_second_driver_is_refused_while_the_first_lives(folder: Folder) -> None:
    with (
        lease.held(folder),
        pytest.raises(SettingsError, match="another build is at work there"),
        lease.held(folder),
    ):
        raise AssertionError("two drivers hold the lease")


def test_a_dead_process_of_this_machine_does_not_lock_anybody_out(folder: Folder) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    _write(folder, place=lease._place(), process=gone.pid)
    start = time.monotonic()
    with lease.held(folder):
        assert time.monotonic() - start < 5


def test_a_silent_lease_of_another_machine_is_taken_when_it_has_expired(folder: Folder) -> None:
    _write(folder)
    start = time.monotonic()
    with lease.held(folder, seconds=0.8):
        assert 0.7 < time.monotonic() - start < 10


def test_a_lease_that_is_renewed_elsewhere_is_respected(folder: Folder) -> None:
    stop = threading.Event()

    def live() -> None:
        while not stop.wait(0.1):
            _write(folder, expires=time.time() + 1)

    _write(folder)
    other = threading.Thread(target=live)
    other.start()
    try:
        with pytest.raises(SettingsError, match="process 1 on elsewhere"), lease.held(folder, seconds=2):
            raise AssertionError("two drivers hold the lease")
    finally:
        stop.set()
        other.join()


def test_a_driver_that_was_taken_over_stops_and_leaves_the_lease(folder: Folder) -> None:
    with lease.held(folder, seconds=0.4) as check:
        _write(folder)
        time.sleep(1.0)
        with pytest.raises(JobError, match="the build of elsewhere"):
            check()
    assert json.loads(folder.get(layout.LEASE))["id"] == "other"


def test_a_damaged_lease_is_nobodys(folder: Folder) -> None:
    folder.put(layout.LEASE, b"{")
    with lease.held(folder):
        pass


def test_of_many_at_once_one_gets_it(folder: Folder) -> None:
    got: list[int] = []
    refused: list[int] = []
    start, end = threading.Barrier(6), threading.Event()

    def drive(number: int) -> None:
        start.wait()
        try:
            with lease.held(folder):
                got.append(number)
                end.wait(10)
        except SettingsError:
            refused.append(number)
            if len(refused) == 5:
                end.set()

    drivers = [threading.Thread(target=drive, args=(number,)) for number in range(6)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert (len(got), len(refused)) == (1, 5)


def test_puts_with_a_condition(folder: Folder) -> None:
    assert conditional.certain(folder)
    assert conditional.read(folder, "work/x") is None
    assert conditional.create(folder, "work/x", b"1")
    assert not conditional.create(folder, "work/x", b"2")
    body, version = conditional.read(folder, "work/x") or (b"", None)
    assert body == b"1"
    assert conditional.replace(folder, "work/x", b"3", version)
    assert not conditional.replace(folder, "work/x", b"4", version)
    conditional.renew(folder, "work/x", b"5", (conditional.read(folder, "work/x") or (b"", None))[1])
    assert folder.get("work/x") == b"5"
