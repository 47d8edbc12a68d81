"""CONTRIBUTING.md's recipes: what they show of the house stands in it; the rest is applied to a copy, and works there.

The copy gains a kind, a source of networks, a table with a section, a stage and a page, each by its files and its rows;
an atlas is built, verified, queried, browsed and exported with all of them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(python|html|diff)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"(?:# | # |\{# )(\S+?)(?: #\})?\n")


def recipes() -> list[tuple[str, str, str]]:
    """Language, file and text of each block of CONTRIBUTING.md."""
    found = []
    for language, body in BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text()):
        named = NAMED.match(body)
        assert named, f"a block of CONTRIBUTING.md names no file: {body[:60]!r}"
        found.append((language, named[1], body[named.end() :]))
    return found


def apply(house: Path) -> list[str]:
    """Applies what is not in the house yet; the files that it makes or changes."""
    touched = []
    for language, name, body in recipes():
        path = house / name
        if language != "diff" and path.exists():
            assert body.strip() in path.read_text(), f"{name} is not as CONTRIBUTING.md shows it"
        elif language != "diff":
            path.write_text(body)
            touched.append(name)
        elif "".join(added := [line[1:] for line in body.splitlines(True) if line[0] == "+"]) not in path.read_text():
            path.write_text(patched(path.read_text(), body))
            assert all(line in path.read_text() for line in added)
            touched.append(name)
    return touched


def patched(text: str, diff: str) -> str:
    """The text with the lines of a diff added, each run of them after the line of context before it."""
    before, place = "", -1
    for line in diff.splitlines(True):
        if line[0] != "+":
            before, place = "\n" + line[1:], -1
            continue
        if place < 0:
            assert text.count(before) == 1, f"{before!r} is not there once"
            place = text.index(before) + len(before)
        text = text[:place] + line[1:] + text[place:]
        place += len(line) - 1
    return text


BROWSE = """
import json, sys
import warnings; warnings.simplefilter("ignore")
from starlette.testclient import TestClient
from api.app import create_app
with TestClient(create_app([sys.argv[1]]), base_url="http://localhost") as client:
    def of(path):
        answer = client.get(path)
        assert answer.status_code == 200, (path, answer.text[:500])
        return answer
    neuron = of("/api/v1/atlases/atlas/neurons/conv1/0").json()
    print(json.dumps({
        "kinds": sorted(neuron["examples"]["max"][0]["pictures"]),
        "loudest": of("/api/v1/atlases/atlas/layers/conv1/loudest").json()["layer"],
        "section": of("/api/v1/atlases/atlas/layers/conv1").json()["sections"]["parameters"],
        "neuron_page": "Gradient x input" in of("/atlas/neurons/conv1/0").text,
        "layer_page": "counted in the layer" in of("/atlas/layers/conv1").text,
        "page": "Loudest of conv1" in of("/atlas/layers/conv1/loudest").text,
    }))
"""


@pytest.mark.slow
def test_the_recipes_work_as_they_are_written(tiny_root: Path, tmp_path: Path) -> None:
    house = tmp_path / "house"
    for room in ("atlas", "jobs", "api", "probe"):
        shutil.copytree(ROOT / room, house / room, ignore=shutil.ignore_patterns("node_modules", "__pycache__", "src"))
    touched = apply(house)
    # As many files as the laws of the house allow: a file in each wing, and a row a registry.
    expected = """
        atlas/explain/gradient_input.py atlas/explain/kinds.py
        atlas/network/sources/of_one.py atlas/network/sources/__init__.py
        atlas/tables/parameters.py atlas/tables/__init__.py
        api/views/sections/parameters.py api/templates/sections/parameters.html api/views/__init__.py
        api/views/loudest.py api/templates/loudest.html api/views/__init__.py
        jobs/stages/parameters.py jobs/stages/__init__.py
    """
    assert sorted(touched) == sorted(expected.split())

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(house)}, capture_output=True,
            text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def command(*words: str) -> str:
        return run("-c", "import sys; from jobs.cli import main; sys.exit(main(sys.argv[1:]))", *words)

    settings = tiny.settings(tiny_root, tmp_path / "atlas", projections=(), k=2)
    kinds = ("--projections", "gradient,gradient_input")  # the later one counts
    command(*tiny.arguments(settings, "--evidence", "1", "--limit", "32", *kinds))
    atlas = str(tmp_path / "atlas")
    assert "sound" in command("verify", atlas)
    rows = json.loads(command("query", atlas, "SELECT layer, weights FROM parameters", "--format", "json"))
    assert {row["layer"]: row["weights"] for row in rows}["conv1"] > 0
    trusted = json.loads(
        command("query", atlas, "SELECT score FROM trust WHERE kind = 'gradient_input'", "--format", "json")
    )
    assert trusted
    sanity = command("query", atlas, "SELECT DISTINCT kind FROM sanity ORDER BY kind", "--format", "csv")
    assert "gradient_input" in sanity
    assert "conv" in command("layers", "--network", "one:8")
    found = json.loads(run("-c", BROWSE, atlas))
    assert {"gradient", "gradient_input"} <= set(found.pop("kinds"))
    assert found.pop("section")["weights"] > 0
    assert found.pop("loudest") == "conv1"
    assert all(found.values()), found
    command("export", atlas, "-o", str(tmp_path / "site"))
    assert "Loudest of conv1" in (tmp_path / "site/layers/conv1/loudest.html").read_text()
