"""One driver an output folder: a lease that expires, so that a driver that was killed does not lock anybody out.

`work/lease.json` says who holds it and until when. It is made by a put that fails where the file is there already: an
exclusive create on a disk; on a bucket `If-None-Match: *`, where boto3 is installed and the store knows it. Taking over
an expired lease puts with `If-Match` likewise, elsewhere puts, waits, and looks whose it is. Where two drivers slip
through all the same they do no harm: chunks are deterministic and every put is whole.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from atlas.errors import JobError, SettingsError
from atlas.store import layout
from atlas.store.files import Folder
from jobs import conditional
from jobs.progress import say

SECONDS = 30.0
"""How long a lease holds; it is renewed four times as often. Long enough for a bucket that answers late."""


@dataclass(frozen=True)
class Holder:
    """Who holds the lease: a process, on a machine, until some time (seconds since 1970)."""

    id: str
    host: str
    place: str
    process: int
    begun: str
    expires: float

    def is_dead(self) -> bool:
        """Whether the process ran here and is gone: then nobody has to wait for the lease to expire."""
        return self.place == _place() and self.begun != _begun(self.process)


def _place() -> str:
    """This boot of this machine, and this process namespace: process numbers mean the same here."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116
    return f"{socket.gethostname()}/{uuid.getnode():x}"


def _begun(process: int) -> str:
    """When a process of this machine began, in ticks since boot; empty where there is none."""
    with suppress(OSError, IndexError):
        after = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return "" if after[0] == "Z" else after[19]
    try:
        os.kill(process, 0)
    except (OSError, OverflowError):
        return ""
    return "alive"


@contextmanager
def held(folder: Folder, seconds: float = SECONDS) -> Iterator[Callable[[], None]]:
    """Holds the lease of an output folder for as long as the block runs, and gives a check that it is held still.

    Raises `SettingsError` where another driver lives; the check raises `JobError` once another one has taken over.
    """
    mine = Holder(uuid.uuid4().hex, socket.gethostname(), _place(), os.getpid(), _begun(os.getpid()), 0.0)
    try:
        _acquire(folder, mine, seconds)
    except OSError as error:
        line = " ".join(str(error).split())[:300]
        raise SettingsError(f"--out {folder.location}: cannot be written ({line}); mend it, or take another") from None
    lost: list[str] = []
    stop = threading.Event()
    renewing = threading.Thread(target=_renew, args=(folder, mine, seconds, stop, lost), name="lease", daemon=True)
    renewing.start()

    def check() -> None:
        if lost:
            raise JobError(
                f"--out {folder.location}: {lost[0]} has taken over; let it go on, or stop it and start again"
            )

    try:
        yield check
    finally:
        stop.set()
        renewing.join()
        with suppress(OSError):
            if not lost and (now := _read(folder)[0]) is not None and now.id == mine.id:
                folder.remove(layout.LEASE)


def _acquire(folder: Folder, mine: Holder, seconds: float) -> None:
    said = False
    seen: tuple[Holder, float] | None = None
    while True:
        holder, version = _read(folder)
        if holder is None and version is None:
            if conditional.create(folder, layout.LEASE, _body(mine, seconds)):
                return _confirm(folder, mine)
            continue  # somebody was faster
        if holder is not None and holder.id == mine.id:
            return None  # our own put was answered late, and tried again
        now = time.monotonic()
        if holder is None or holder.is_dead():
            expired = True
        else:
            if seen is None or seen[0] != holder:
                if seen is not None and seen[0].id == holder.id:
                    raise _refusal(folder, holder)  # it was renewed before our eyes
                seen = (holder, now)
            # Its clock may be another one: what counts is that nobody renews it while we look, for as long as it holds.
            expired = now - seen[1] > seconds or time.time() > holder.expires + seconds
        if expired:
            if conditional.replace(folder, layout.LEASE, _body(mine, seconds), version):
                return _confirm(folder, mine)
            continue
        if holder is not None and not said:
            if holder.place == mine.place:
                raise _refusal(folder, holder)
            say(
                f"{folder.location}: waiting to see whether the build of {holder.host} (process {holder.process}) lives"
            )
            said = True
        time.sleep(min(seconds / 20, 1.0))


def _refusal(folder: Folder, holder: Holder) -> SettingsError:
    return SettingsError(
        f"--out {folder.location}: another build is at work there (process {holder.process} on {holder.host}); "
        "wait for it, or stop it and run the same command again"
    )


def _confirm(folder: Folder, mine: Holder) -> None:
    """Without a conditional put two drivers may both have written: the file says whose the lease is."""
    if not conditional.certain(folder):
        time.sleep(1.0)
    holder, _ = _read(folder)
    if holder is not None and holder.id != mine.id:
        raise _refusal(folder, holder)


def _renew(folder: Folder, mine: Holder, seconds: float, stop: threading.Event, lost: list[str]) -> None:
    while not stop.wait(seconds / 4):
        with suppress(OSError):  # the store is out of reach for a moment; the lease still holds for a while
            holder, version = _read(folder)
            if holder is not None and holder.id != mine.id:
                lost.append(f"the build of {holder.host} (process {holder.process})")
                return
            if holder is not None:
                conditional.renew(folder, layout.LEASE, _body(mine, seconds), version)


def _body(mine: Holder, seconds: float) -> bytes:
    return json.dumps(asdict(replace(mine, expires=time.time() + seconds)), indent=1).encode()


def _read(folder: Folder) -> tuple[Holder | None, Any]:
    """The holder, and what a conditional put needs to know of the file; (None, None) where there is no lease."""
    found = conditional.read(folder, layout.LEASE)
    if found is None:
        return None, None
    body, version = found
    try:
        return Holder(**json.loads(body)), version
    except (ValueError, TypeError):
        return None, version  # half a file, or of another release: nobody's
