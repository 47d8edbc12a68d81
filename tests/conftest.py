"""Fixtures that every room shares: where the data is, and one tiny atlas a session."""

from __future__ import annotations

from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
TOOLS = DATA.parent / "tools"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not DATA.is_dir():
        for item in items:
            if item.get_closest_marker("data"):
                item.add_marker(pytest.mark.skip(reason="needs ../shared/data beside the checkout"))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of test data; tests that use it carry the marker `data`."""
    return DATA


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder of scripts beside the test data."""
    return TOOLS
