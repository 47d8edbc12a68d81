"""The commands `probe` and `serve --probe`: which atlas each flag means, and the process that holds the networks."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from atlas.errors import SettingsError
from atlas.settings import PLACES
from atlas.store import seal
from atlas.store.files import Folder


def given_for(dirs: Sequence[str], flags: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """What the flags `[ATLAS=]VALUE …` say of each atlas. Raises `SettingsError`, `FolderError`.

    A value without a name is meant for every atlas that has none of its own.
    """
    names = [str(seal.read_about(Folder(folder)).get("name") or "") for folder in dirs]
    found: list[dict[str, Any]] = []
    for name in names:
        mine: dict[str, Any] = {}
        for flag, values in flags.items():
            split = [_split(value, names) for value in values]
            own = [value for of, value in split if of == name] or [value for of, value in split if of is None]
            if len(own) > 1 and flag != "images":
                raise SettingsError(f"--{flag.replace('_', '-')}: {len(own)} values for {name}; expected one an atlas")
            if own:
                mine[flag] = tuple(own) if flag == "images" else own[0]
        found.append(mine)
    return found


def _split(value: str, names: Sequence[str]) -> tuple[str | None, str]:
    name, sign, rest = value.partition("=")
    return (name, rest) if sign and name in names else (None, value)


def threads_for(asked: str) -> int:
    """Threads of the network: as asked, or one a core that this process may use."""
    if asked == "auto":
        return len(os.sched_getaffinity(0))
    if not (asked.isascii() and asked.isdigit() and 1 <= int(asked) <= 1024):
        raise SettingsError(f"--threads {asked!r}: expected auto, or a number from 1 to 1024")
    return int(asked)


def run(
    dirs: Sequence[str], flags: Mapping[str, Any], *, host: str, port: int, device: str, threads: str, child: bool
) -> None:  # fmt: skip
    """Loads the network of each atlas, says the address, and answers until it is told to end."""
    from probe import server

    if child:
        server.end_with_input()
    server.checked_secret(host)
    number = threads_for(threads)
    places = {name: flags.get(name) or () for name in PLACES}
    given = given_for(dirs, places)
    from probe.replica import open_desk

    server.serve(open_desk(dirs, given, device, number), host=host, port=port, ready=say)


def say(address: str) -> None:
    from api.probing import SAYS

    print(f"{SAYS}{address}", file=sys.stderr, flush=True)


def command(dirs: Sequence[str], flags: Mapping[str, Any], device: str, threads: str) -> list[str]:
    """The command line of a probe as a child of this process."""
    words = [sys.executable, "-m", "jobs.cli", "probe", *dirs, "--port", "0", "--child"]
    words += ["--device", device, "--threads", threads]
    for name, values in flags.items():
        if values:
            words += [f"--{name.replace('_', '-')}", *values]
    return words
