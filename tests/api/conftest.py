"""Constructed atlases, and a service over them, once a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from tests import constructed
from tests.api.browsing import Watched, chromium
from tests.api.serving import serving

ODD = ("a/b", "<script>alert(1)</script>", "quo'te\"\n\u202e", "..", "50%2F", "ünïcode 猫")
"""Names of layers that people would not give, and that must be text wherever they appear."""


@pytest.fixture(scope="session")
def atlases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sealed atlases: `plain`, `odd`."""
    folder = tmp_path_factory.mktemp("atlases")
    constructed.write(folder / "plain", constructed.Shape(name="plain"))
    layers = tuple((name, 3) for name in ODD)
    constructed.write(folder / "odd", constructed.Shape(name="odd/atlas", layers=layers, images=30))
    return folder


@pytest.fixture(scope="session")
def service(atlases: Path) -> Iterator[httpx.Client]:
    """A client of a service over `plain` and `odd`."""
    app = create_app([atlases / "plain", atlases / "odd"])
    with serving(app) as address, httpx.Client(base_url=address, timeout=30) as client:
        yield client


SHAPE = constructed.Shape(
    name="shown", layers=(("conv1", 150), ("wide", 1000), ("fc", 12)), images=130,
    classes=("ape", "bear", "<script>alert(1)</script>", "deer"),
)  # fmt: skip


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "broken").mkdir()
    with serving(create_app([constructed.write(folder / "shown", SHAPE), folder / "broken"])) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def watched(browser: Any, host: str) -> Iterator[Watched]:
    tab = Watched(browser, host)
    yield tab
    tab.close()


@pytest.fixture
def scriptless(browser: Any, host: str) -> Iterator[Watched]:
    tab = Watched(browser, host, java_script_enabled=False)
    yield tab
    tab.close()
