"""Options of a dataclass as flags of a command: names, help, defaults and types come from its fields."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields
from typing import Any

from atlas.options import flag


def add_options(
    parser: argparse.ArgumentParser,
    kind: type[Any],
    names: Sequence[str] = (),
    *,
    required: Sequence[str] = (),
    otherwise: str = "",
) -> None:
    """One flag an option, grouped by stage; with `names` only those. What is not given is not among the parsed values.

    `otherwise`: what holds where one is not given, in place of its default; operational ones keep theirs.
    """
    groups: dict[str, Any] = {}
    for option in fields(kind):
        if names and option.name not in names:
            continue
        stage = option.metadata["stage"]
        group = groups.get(stage) or groups.setdefault(stage, parser.add_argument_group(stage) if stage else parser)
        shown = _default(option)
        if otherwise and option.name not in required and not option.metadata["operational"]:
            shown = otherwise
        group.add_argument(flag(option), **_argument(option, shown, required=option.name in required))


def _argument(option: Field[Any], shown: str, *, required: bool) -> dict[str, Any]:
    default = f" (default: {shown})" if shown and not required else ""
    about: dict[str, Any] = {
        "dest": option.name,
        "default": argparse.SUPPRESS,
        "help": (option.metadata["help"] + default).replace("%", "%%"),
    }
    if required:
        about["required"] = True
    kind = str(option.type)
    if kind.startswith("bool"):
        return about | {"action": "store_true"}
    several = option.metadata["several"]
    about["metavar"] = "SRC" if several else option.name.upper()
    if several:
        about["nargs"] = "+"
    if kind.startswith("int"):
        about["type"] = int
    elif kind.startswith("float"):
        about["type"] = float
    return about


def _default(option: Field[Any]) -> str:
    default = option.default
    if default is MISSING:
        return ""
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, tuple):
        return ",".join(map(str, default)) or "none"
    return "none" if default is None else str(default)
