"""Constructed atlases, and a service over them, once a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.app import create_app
from tests import constructed
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
