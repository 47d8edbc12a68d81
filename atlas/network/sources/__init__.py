"""Where networks come from: a row a source. The first row that takes a name makes the network."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Source:
    """A source of networks. `takes`: whether a `--network` is one of its names; `about` says what they look like.

    Its module has `read(name) -> bytes | None` (what must travel to another machine: code, a configuration),
    `make(name, body, channels) -> (module, digest)`, `default_state(name, body, channels)`,
    `preprocessing(name, body)` and `labels(name, body)`. `foreign`: the name alone says nothing about another
    machine's files, so that an atlas may name it.
    """

    name: str
    about: str
    takes: Callable[[str], bool]
    module: str
    foreign: bool = True

    def load(self) -> Any:
        return importlib.import_module(self.module)


SOURCES: tuple[Source, ...] = (
    Source(
        "timm",
        "timm:NAME, any name timm takes (arch.tag, hf-hub:user/name, local-dir:PATH)",
        lambda name: name.startswith("timm:"),
        "atlas.network.sources.of_timm",
    ),
    Source("file", "FILE.py:FACTORY", lambda name: ":" in name, "atlas.network.sources.of_file", foreign=False),
    Source("torchvision", "a torchvision classifier", lambda name: True, "atlas.network.sources.of_torchvision"),
)


def source_of(name: str) -> Source:
    """The source that takes a name."""
    return next(source for source in SOURCES if source.takes(name))


def may_come_from_an_atlas(name: str) -> bool:
    """Whether a name may be taken from a stranger's atlas: that of a registered network, no file or folder here."""
    return source_of(name).foreign and not name.startswith("timm:local-dir:")
