"""Who may know whom: rooms by their imports, processes by what they load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HARD = ("ray", "fastapi", "jobs", "api")
"""What no room of `atlas/` may know."""
ABOVE_STORE = (
    "atlas.images", "atlas.network", "atlas.scan", "atlas.explain", "atlas.harvest", "atlas.codes", "atlas.analyse",
    "atlas.read",
)  # fmt: skip
FORBIDDEN = {
    "atlas/store": (*HARD, "torch", *ABOVE_STORE),
    "atlas/images": (*HARD, "torch", "atlas.network", "atlas.scan", "atlas.explain", "atlas.harvest", "atlas.read"),
    "atlas/network": (*HARD, "atlas.scan", "atlas.explain", "atlas.harvest", "atlas.codes", "atlas.read"),
    "atlas/codes": (*HARD, "torch", "atlas.network", "atlas.scan", "atlas.explain", "atlas.harvest", "atlas.read"),
    "atlas/analyse": (*HARD, "torch", "atlas.network", "atlas.scan", "atlas.explain", "atlas.harvest", "atlas.read"),
    "atlas/scan": (*HARD, "atlas.explain", "atlas.harvest", "atlas.read"),
    "atlas/explain": (*HARD, "atlas.scan", "atlas.harvest", "atlas.read"),
    "atlas/harvest": (*HARD, "atlas.read"),
    "atlas/read": (*HARD, "torch", "atlas.images", "atlas.network", "atlas.scan", "atlas.explain", "atlas.harvest"),
    "atlas/visualize": (*HARD, "atlas.scan", "atlas.harvest", "atlas.read"),
    "atlas/adversarial": (*HARD, "atlas.scan", "atlas.harvest", "atlas.read"),
    "atlas/invert": (*HARD, "atlas.scan", "atlas.harvest", "atlas.read"),
    "atlas": (*HARD, "starlette"),
    "api": (
        "torch", "torchvision", "ray", "jobs", "atlas.images", "atlas.network", "atlas.scan", "atlas.explain",
        "atlas.harvest", "atlas.codes", "atlas.analyse", "atlas.store", "probe",
    ),
    "probe": (
        "ray", "fastapi", "jobs.planning.plan", "jobs.planning.data", "jobs.job", "jobs.work", "jobs.stages",
        "jobs.pool", "jobs.build", "jobs.add", "api.views", "api.app",
    ),
    "jobs": ("starlette",),
}  # fmt: skip
"""Folder: what none of its files may import, anywhere in the file."""
LISTS = ("atlas.explain.kinds", "probe.protocol")
"""Torch-free, and open to every room: lists, and what the service and the probe share."""
HEAVY = ("torch", "torchvision", "ray", "fastapi", "duckdb", "faiss", "pyarrow", "numpy", "PIL", "scipy", "sklearn")


def imports(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("folder", sorted(FORBIDDEN))
def test_imports_of_each_room(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for path in files:
        for name in imports(path):
            if name.startswith(LISTS):
                continue
            crossed = [f for f in FORBIDDEN[folder] if name == f or name.startswith(f"{f}.")]
            assert not crossed, f"{path.relative_to(ROOT)} imports {name}"


def loaded(code: str) -> set[str]:
    """Top-level packages loaded by a fresh process that runs `code`."""
    script = f"{code}\nimport sys\nprint(' '.join(sorted({{n.partition('.')[0] for n in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def modules(folder: str) -> list[str]:
    """Names of all modules in a folder."""
    paths = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / folder).rglob("*.py"))
    return sorted(".".join(path.parts).removesuffix(".__init__") for path in paths if path.name != "build.py")


def test_importing_atlas_imports_nothing_heavy() -> None:
    assert not loaded("import atlas") & set(HEAVY)


def test_atlas_loads_neither_ray_nor_fastapi() -> None:
    code = "\n".join(f"import {name}" for name in modules("atlas"))
    assert not loaded(code) & {"ray", "fastapi", "starlette", "jobs", "api"}


def test_the_service_loads_neither_torch_nor_ray() -> None:
    code = "\n".join(f"import {name}" for name in modules("api"))
    assert not loaded(code) & {"torch", "torchvision", "ray", "jobs"}


def test_the_probe_loads_no_ray_and_no_stage() -> None:
    code = "\n".join(f"import {name}" for name in modules("probe"))
    assert not loaded(code) & {"ray", "fastapi"}


def test_reading_loads_no_torch() -> None:
    names = [name for room in ("read", "store", "codes", "analyse", "images") for name in modules(f"atlas/{room}")]
    assert not loaded("\n".join(f"import {name}" for name in names)) & {"torch", "ray", "fastapi"}


@pytest.mark.parametrize("words", [["build", "--help"], ["add", "--list"], ["add", "occlusion", "--help"]])
def test_help_loads_no_torch_and_no_ray(words: list[str]) -> None:
    code = f"import sys\nfrom jobs.cli import main\ntry:\n    main({words})\nexcept SystemExit:\n    pass"
    assert not loaded(code) & {"torch", "ray"}
