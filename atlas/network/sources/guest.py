"""Running a user's own code: what it does beside making or running a network is said, and it never ends the job."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import time
from collections.abc import Iterator

from atlas.errors import NetworkError

SAID_AFTER = (5.0, 60.0, 600.0)
"""Seconds after which one that is not done yet is named: it may hang."""
PRINTED = 3
"""Lines that it prints and that are shown; the rest is counted."""
_forked: list[bool] = []
"""A mark a call at hand: whether it forked this process."""


@contextlib.contextmanager
def guest(asked: str, what: str) -> Iterator[None]:
    """Around code of `asked` (`--network FILE.py:FACTORY`) while it does `what`; notes go to standard error, of what it

    - prints (standard output is the command's own),
    - takes: still at it after 5 s, a minute, ten minutes,
    - forks: the copy ends where it comes back, so that only one process goes on.

    Raises `NetworkError` where it would end the process, by `sys.exit`, `exit` or `os._exit`.
    """
    process, ends, printed, before = os.getpid(), os._exit, io.StringIO(), len(_forked)
    done = threading.Event()

    def end(code: int) -> None:
        if os.getpid() != process:
            ends(code)
        raise SystemExit(code)

    _forked.append(False)
    threading.Thread(target=_watch, args=(asked, what, done), daemon=True).start()
    os._exit = end  # type: ignore[assignment]
    try:
        with contextlib.redirect_stdout(printed):
            yield
    except SystemExit as error:
        if os.getpid() != process:
            raise
        raise NetworkError(f"{asked}: {what} ends the process ({_leaving(error)}); expected a network") from None
    finally:
        if os.getpid() != process:
            ends(0)
        os._exit = ends
        done.set()
        if _forked[before]:
            _say(f"{asked}: {what} forked this process; the copy takes no part")
        del _forked[before:]
        _say_printed(asked, what, printed.getvalue())


def _watch(asked: str, what: str, done: threading.Event) -> None:
    begin = time.monotonic()
    for seconds in SAID_AFTER:
        if done.wait(begin + seconds - time.monotonic()):
            return
        _say(f"{asked}: {what} is not done after {seconds:.0f} s; it goes on, Ctrl-C stops it")


def _say_printed(asked: str, what: str, text: str) -> None:
    lines = [line for line in text.splitlines() if line.strip()]
    for line in lines[:PRINTED]:
        _say(f"{asked}: {what} prints: {line[:200]}")
    if len(lines) > PRINTED:
        _say(f"{asked}: {what} prints {len(lines) - PRINTED} lines more")


def _leaving(error: SystemExit) -> str:
    return "SystemExit" if error.code is None else f"SystemExit: {' '.join(str(error.code).split())[:100]}"


def _say(text: str) -> None:
    print(f"note: {text}", file=sys.stderr, flush=True)


def _mark() -> None:
    _forked[:] = [True] * len(_forked)


os.register_at_fork(after_in_parent=_mark)
