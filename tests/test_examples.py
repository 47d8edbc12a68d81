"""`examples/`: notebooks run in order on one atlas, the settings file makes the same one, commands are understood."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from atlas.options import read_toml
from atlas.settings import from_mapping
from atlas.store import seal
from atlas.store.files import Folder
from jobs import cli

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
NOTEBOOKS = ("first_atlas", "sql", "one_neuron")  # the first makes the atlas that the others read
QUIET = ("--HTMLExporter.mathjax_url=", "--HTMLExporter.require_js_url=")
"""What nbconvert's page would load whatever is shown; Mermaid it loads only where there is a diagram."""


def cells(name: str) -> list[dict[str, object]]:
    """The cells of a notebook."""
    found: list[dict[str, object]] = json.loads((EXAMPLES / f"{name}.ipynb").read_text("utf-8"))["cells"]
    return found


def written(path: Path) -> str:
    """A file's text as people read it: a notebook's cells, one after another."""
    if path.suffix != ".ipynb":
        return path.read_text("utf-8")
    return "\n\n".join("".join(map(str, cell["source"])) for cell in cells(path.stem))  # type: ignore[call-overload]


def commands(text: str) -> list[str]:
    """The commands in a text: between backticks, or a line of their own, in a comment or not; `\\` goes on."""
    text = text.replace("\\\n", " ")
    inline = re.findall(r"`(neuron-atlas\s[^`]*)`", text)
    lines = re.findall(r"^[# ]*(neuron-atlas .*)$", re.sub(r"`[^`]*`", "", text), re.MULTILINE)
    return [" ".join(each.split()) for each in inline + lines]


FILES = sorted(path for path in EXAMPLES.iterdir() if path.suffix in (".ipynb", ".py", ".toml"))
SAID = sorted({each for path in FILES for each in commands(written(path))})


class Loaded(HTMLParser):
    """What a page asks for without a click."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "srcset", "poster", "data") or (name == "href" and tag != "a"):
                self.asked.append(value or "")
            if name == "style":
                self.handle_data(value or "")

    def handle_data(self, data: str) -> None:
        self.asked += re.findall(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)", data)


def loaded(page: str) -> list[str]:
    """Addresses that a page loads from elsewhere."""
    reader = Loaded()
    reader.feed(page)
    return [each for each in reader.asked if each and not each.startswith(("data:", "#"))]


def test_what_a_page_loads() -> None:
    page = '<a href="http://a">a</a><img src="data:,x"><img src="http://b"><p style="background:url(//c)"></p>'
    assert loaded(page + '<style>@import "https://d"</style>') == ["http://b", "//c", "https://d"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_holds_no_output(name: str) -> None:
    code = [cell for cell in cells(name) if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def test_the_readme_says_how_a_page_loads_nothing() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert f"nbconvert --to html --execute {' '.join(QUIET)} FILE.ipynb" in readme
    assert all(f"(examples/{path.name})" in readme or f"`examples/{path.name}`" in readme for path in FILES)


def test_commands_are_found() -> None:
    assert commands("see `neuron-atlas info\nDIR`, or\n#     neuron-atlas layers \\\n  DIR\n`neuron-atlas[timm]`") == [
        "neuron-atlas info DIR", "neuron-atlas layers DIR",
    ]  # fmt: skip
    assert len(SAID) > 6


@pytest.mark.parametrize("line", SAID)
def test_every_command_is_understood(line: str) -> None:
    given = vars(cli._parser().parse_args(shlex.split(line)[1:]))
    for name in ("config", "network"):
        file = str(given.get(name) or "").partition(":")[0]
        assert not file.endswith((".py", ".toml")) or (EXAMPLES / file).is_file()


def test_every_key_is_understood() -> None:
    for path in EXAMPLES.glob("*.toml"):
        settings = from_mapping(read_toml(str(path)))
        assert (EXAMPLES / settings.network.partition(":")[0]).is_file()


@pytest.mark.usefixtures("one_thread")
def test_a_network_of_timm_with_another_head(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from atlas.network import load

    load.import_torchvision()  # first, as it may need help to be imported at all
    pytest.importorskip("timm")
    name = f"{EXAMPLES / 'timm_network.py'}:net"
    save_file(load.bare(name).state_dict(), tmp_path / "tuned.safetensors")
    network = load.load(name, str(tmp_path / "tuned.safetensors"))
    assert network.module(torch.zeros(1, 3, 64, 64)).shape == (1, 10)


@pytest.mark.slow
def test_notebooks_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in FILES:
        shutil.copy(path, tmp_path)
    for name in NOTEBOOKS:
        line = ["-m", "nbconvert", "--to", "html", "--execute", *QUIET, f"{name}.ipynb"]
        done = subprocess.run(
            [sys.executable, *line],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert done.returncode == 0, f"{name}: {done.stderr[-3000:]}"
        page = (tmp_path / f"{name}.html").read_text("utf-8")
        assert "data:image/png;base64," in page
        assert not loaded(page)
    digest = seal.read_about(Folder(str(tmp_path / "first-atlas")))["digest"]
    monkeypatch.chdir(tmp_path)
    assert cli.main(["build", "--config", "build.toml"]) == 0  # the settings of the notebook: nothing is left to do
    assert seal.read_about(Folder("first-atlas"))["digest"] == digest
