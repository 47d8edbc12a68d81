"""Options as the fields of a frozen dataclass: default, help, range and choices stand in the option itself.

The command line, a TOML file and Python share the fields' names. `atlas.settings.Settings` is such a class, and so are
the options of each part.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, field, fields
from pathlib import Path
from typing import Any, TypeVar

from atlas.errors import SettingsError

T = TypeVar("T")


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    auto: bool = False,
    several: bool = False,
    operational: bool = False,
    stage: str = "",
    name: str | None = None,
    contents: str = "",
) -> Any:
    """A field: its default (MISSING where it must be given) and all that is said of it.

    `low`, `high`: range of a number, or of each number of a list. `choices`: what a text, or each of a list, may be; a
    list of them may be "none".
    `auto`: a text that is "auto" or a whole number of that range. `several`: a list whose texts may hold commas.
    `operational`: it never changes what is made, only how. `stage`: the stage that it is about. `name`: its name for
    people, where that is a keyword of Python. `contents`: "file", "atlas", "either" or "encoder", where the value says
    where one lies: its contents count, not its place.
    """
    metadata = {
        "help": help, "low": low, "high": high, "choices": choices, "auto": auto, "several": several,
        "operational": operational, "stage": stage, "name": name, "contents": contents,
    }  # fmt: skip
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


def flag(option: Field[Any]) -> str:
    """The option as people type it: `--batch-size`, `-k`."""
    name = option.metadata["name"] or option.name.replace("_", "-")
    return f"-{name}" if len(name) == 1 else f"--{name}"


def check(values: Any) -> None:
    """Compares each option with its own range and choices. Raises `SettingsError` naming the first that is outside."""
    for each in fields(values):
        value, about = getattr(values, each.name), each.metadata
        if value is None:
            continue
        if about["auto"]:
            _check_auto(each, value)
            continue
        for one in value if isinstance(value, tuple) else (value,):
            if about["choices"] and one not in about["choices"]:
                raise SettingsError(f"{_long(each)} {one!r}: expected one of {', '.join(about['choices'])}")
            if about["low"] is not None and not about["low"] <= one <= about["high"]:
                raise SettingsError(f"{_long(each)} {one}: expected {about['low']} to {about['high']}")


def _check_auto(option: Field[Any], value: str) -> None:
    low, high = option.metadata["low"], option.metadata["high"]
    if value != "auto" and not (value.isascii() and value.isdigit() and low <= int(value) <= high):
        raise SettingsError(f"{_long(option)} {value!r}: expected auto, or a number from {low} to {high}")


def _long(option: Field[Any]) -> str:
    return f"--{flag(option).lstrip('-')}"


def identity(values: Any) -> dict[str, Any]:
    """The options that change what is made, as plain JSON values."""
    kept = {each.name for each in fields(values) if not each.metadata["operational"]}
    return {name: plain(value) for name, value in asdict(values).items() if name in kept}


def plain(value: Any) -> Any:
    """A value of an option as JSON has it."""
    return list(value) if isinstance(value, tuple) else value


def made(kind: type[T], values: Mapping[str, Any]) -> T:
    """Options from plain values (a TOML file, JSON, the command line). Raises `SettingsError` naming the key."""
    known = {each.metadata["name"] or each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    clean: dict[str, Any] = {}
    for raw, value in values.items():
        name = raw.replace("-", "_")
        found = known.get(name) or next((each for each in known.values() if each.name == name), None)
        if found is None:
            raise SettingsError(f"unknown key {raw!r}: expected one of {', '.join(sorted(known))}")
        clean[found.name] = _typed(found, value)
    for each in known.values():
        if each.name not in clean and each.default is MISSING:
            raise SettingsError(f"{_long(each)} is missing: {each.metadata['help']}")
    return kind(**clean)


def _typed(option: Field[Any], value: Any) -> Any:
    """`value` as the option's type; lists become tuples, one text becomes a list of its comma-separated parts."""
    kind = str(option.type)
    if value is None and kind.endswith("| None"):
        return None
    if kind.startswith("tuple"):
        if value == "none" and option.metadata["choices"]:
            return ()
        if isinstance(value, str):
            several = option.metadata["several"]
            value = [value] if several else [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, list | tuple):
            return tuple(_number(option, v) if "float" in kind else _text(option, v) for v in value)
    if kind.startswith("bool") and isinstance(value, bool):
        return value
    if kind.startswith("int") and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind.startswith("float") and not isinstance(value, bool):
        return _number(option, value)
    if kind.startswith("str"):
        numbered = option.metadata["auto"] and isinstance(value, int) and not isinstance(value, bool)
        return str(value) if numbered else _text(option, value)
    raise SettingsError(f"{_long(option)} {value!r}: expected {kind}")


def _text(option: Field[Any], value: Any) -> str:
    if not isinstance(value, str):
        raise SettingsError(f"{_long(option)} {value!r}: expected text")
    return value


def _number(option: Field[Any], value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise SettingsError(f"{_long(option)} {value!r}: expected a number") from None


def read_toml(path: str) -> dict[str, Any]:
    """The keys of a settings file, unchecked. Raises `SettingsError` where it cannot be read."""
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"--config {path}: expected a TOML file that can be read ({error})") from None
