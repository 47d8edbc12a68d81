"""The README cannot drift: its options and routes are made from the code, and its commands are run.

python -m tests.test_docs    writes the generated parts anew
"""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import httpx
import pytest

from atlas.options import flag
from atlas.settings import Settings
from atlas.store import layout
from atlas.tables import TABLES
from jobs import cli

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"


def options() -> str:
    """The options of build as a table."""
    rows = ["| option | default | means |", "|---|---|---|"]
    for setting in fields(Settings):
        default = "" if setting.default is MISSING else setting.default
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else "" if default is None else str(default)
        rows.append(
            f"| `{flag(setting)}` | {f'`{shown}`' if shown else ''} | {setting.metadata['help']} |".replace(
                "|  |", "| |"
            )
        )
    return "\n".join(rows)


def routes() -> str:
    """The routes of the service as a table."""
    rows = ["| route | gives |", "|---|---|"]
    paths = asyncio.run(_openapi())["paths"]
    for path, methods in sorted(paths.items()):
        for method, about in methods.items():
            rows.append(f"| `{method.upper()} {path}` | {about['summary']} |")
    return "\n".join(rows)


def described_tables() -> str:
    """The tables of an atlas and of its parts, with their columns."""
    rows = ["| table | a row a | says | columns |", "|---|---|---|---|"]
    for table in TABLES:
        where = f"`{table.path}{'/' if table.files else ''}`" + (f" of part `{table.part}`" if table.part else "")
        columns = ", ".join(f"`{name}`" for name in table.columns.names)
        rows.append(f"| {where} | {', '.join(table.key)} | {table.meaning} | {columns} |")
    return "\n".join(rows)


async def _openapi() -> dict[str, Any]:
    from api.app import create_app

    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app([])), base_url="http://localhost") as client:
        document: dict[str, Any] = (await client.get("/api/v1/openapi.json")).json()
        return document


def generated(text: str) -> str:
    """The README's text with its generated parts made anew."""
    for name, make in (("options", options), ("routes", routes), ("tables", described_tables)):
        part = f"<!-- {name} -->\n{make()}\n<!-- /{name} -->"
        text = re.sub(rf"<!-- {name} -->.*<!-- /{name} -->", lambda _, part=part: part, text, flags=re.DOTALL)
    return text


def blocks(language: str) -> list[str]:
    """The README's code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README.read_text("utf-8"), re.DOTALL)


def commands() -> list[list[str]]:
    """Every `neuron-atlas` command of the README, as words."""
    joined = "".join(blocks("sh")).replace("\\\n", " ")
    found = [shlex.split(line, comments=True) for line in joined.splitlines()]
    return [words for words in found if words[:1] == ["neuron-atlas"]]


def test_generated_parts_are_fresh() -> None:
    text = README.read_text("utf-8")
    assert text == generated(text), "run: python -m tests.test_docs"


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_is_understood(words: list[str]) -> None:
    cli._parser().parse_args(words[1:])


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z][a-z -]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    known = {name for target in targets for name in target.split()}
    wanted = set(re.findall(r"make ([a-z-]+)", README.read_text("utf-8")))
    assert wanted <= known


def test_every_file_of_the_folder_is_said() -> None:
    text = README.read_text("utf-8")
    for name in (*(table.path for table in TABLES), layout.SUMS, layout.ATLAS, layout.INDEX):
        assert name in text


RUN = [w for w in commands() if w[1] in ("info", "layers", "verify", "neighbours", "query", "picture", "export")]


@pytest.mark.parametrize("words", RUN, ids=" ".join)
def test_commands_run(words: list[str], tiny_atlas: Path, tmp_path: Path) -> None:
    (tmp_path / "demo-atlas").symlink_to(tiny_atlas)
    line = [sys.executable, "-m", "jobs.cli", *words[1:]]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_python_runs(tiny_atlas: Path, tmp_path: Path) -> None:
    (tmp_path / "demo-atlas").symlink_to(tiny_atlas)
    for block in blocks("python"):
        done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    README.write_text(generated(README.read_text("utf-8")), "utf-8")
