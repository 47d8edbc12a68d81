"""Images in any order that can be asked for, against sorting the table by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

from api.app import create_app
from atlas.read import orders
from tests import constructed
from tests.api.serving import serving

A = "/api/v1/atlases/plain"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return constructed.write(
        tmp_path_factory.mktemp("order") / "plain", constructed.Shape(name="plain", images=90, classes=("a", "b", "c"))
    )


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with serving(create_app([folder])) as address, httpx.Client(base_url=address, timeout=60) as opened:
        yield opened


def sorted_by_hand(rows: list[dict[str, Any]], sort: str, down: bool, right: bool | None) -> list[int]:
    if right is not None:
        rows = [row for row in rows if (row["predicted"] == row["class_id"]) == right]
    there = [row for row in rows if row[sort] is not None]
    there.sort(key=lambda row: (-row[sort] if down else row[sort], row["image_id"]))
    return [row["image_id"] for row in [*there, *(row for row in rows if row[sort] is None)]]


@pytest.mark.parametrize("sort", orders.SORTS)
@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("right", [None, True, False])
@pytest.mark.parametrize("class_id", [None, 1])
def test_any_order(
    client: httpx.Client, folder: Path, sort: str, order: str, right: bool | None, class_id: int | None
) -> None:
    rows = [
        row for row in pq.read_table(folder / "images.parquet").to_pylist() if class_id in (None, row["class_id"])
    ]  # fmt: skip
    asked: dict[str, Any] = {"sort": sort, "order": order, "limit": 20}
    asked |= {} if right is None else {"right": str(right).lower()}
    asked |= {} if class_id is None else {"class": class_id}
    found: list[int] = []
    while True:
        answer = client.get(f"{A}/images", params=asked).json()
        found += [item["image_id"] for item in answer["items"]]
        if answer["next"] is None:
            break
        asked["cursor"] = answer["next"]
    expected = sorted_by_hand(rows, sort, order == "desc", right)
    assert found == expected
    assert answer["total"] == len(expected)


def test_without_an_order_numbers_go_upwards_and_losses_downwards(client: httpx.Client) -> None:
    numbers = [item["image_id"] for item in client.get(f"{A}/images").json()["items"]]
    assert numbers == sorted(numbers)
    losses = [item["loss"] for item in client.get(f"{A}/images?sort=loss").json()["items"]]
    assert losses == sorted(losses, reverse=True)
    assert client.get(f"{A}/images?sort=size").status_code == 422


def test_the_page_says_what_the_mistaken_are_taken_for(client: httpx.Client) -> None:
    text = client.get("/plain/images?sort=loss&right=false", headers={"accept": "text/html"}).text
    assert "taken for something else</h1>" in text
    assert ": taken for " in text
    assert '<option value="loss" selected>' in text


def test_a_class_that_is_always_right_has_no_mistakes(folder: Path) -> None:
    from atlas.read.catalog import Atlas

    images = Atlas(folder).store.images
    assert images.orders._ordered(np.empty(0, np.int64), "loss", True, False).tolist() == []


def test_images_without_a_prediction_are_neither_right_nor_wrong(tmp_path: Path) -> None:
    folder = constructed.write(tmp_path / "plain", constructed.Shape(name="plain", images=12, predictions=False))
    with serving(create_app([folder])) as address, httpx.Client(base_url=address) as client:
        for right in ("true", "false"):
            assert client.get(f"{A}/images?right={right}").json()["total"] == 0
        assert client.get(f"{A}/images?sort=loss").json()["total"] == 12
        assert "Sort by" not in client.get("/plain/images", headers={"accept": "text/html"}).text
