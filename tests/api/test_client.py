"""The client: typed answers, pages fetched as they are needed, rows into Arrow."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from api.app import create_app
from api.client import Client, ServiceError, table
from tests.api.conftest import ODD
from tests.api.serving import serving


@pytest.fixture(scope="module")
def address(service: httpx.Client) -> str:
    return str(service.base_url)


def test_all_that_it_can_ask_for(address: str, atlases: Path) -> None:
    with Client(address) as client:
        assert client.health()["status"] == "ok"
        assert [atlas["name"] for atlas in client.atlases()] == ["plain", "odd/atlas"]
        plain = client.atlas("plain")
        assert plain.about()["name"] == "plain"
        assert [layer["layer"] for layer in plain.layers()] == ["conv1", "block.conv@2", "fc"]
        neuron = plain.neuron("block.conv@2", 3)
        assert Image.open(io.BytesIO(plain.picture(neuron["examples"]["max"][0]["crop"]))).size == (8, 8)
        assert neuron["examples"]["min"][0]["pictures"] == {}
        with pytest.raises(ServiceError, match="not asked for"):
            plain.picture(neuron["examples"]["max"][1]["pictures"]["occlusion"])
        assert len(list(plain.images())) == 40
        assert {image["class_id"] for image in plain.images(2)} == {2}
        assert plain.image(5)["image_id"] == 5
        near = plain.neighbours(5, 3)
        code = next(r["code"] for r in pq.read_table(atlases / "plain/codes").to_pylist() if r["image_id"] == 5)
        assert [n["image_id"] for n in plain.neighbours_of(code, 4)[1:]] == [n["image_id"] for n in near]
        assert [c["class_id"] for c in plain.classes()] == [0, 1, 2, 3]
        assert plain.class_(1)["class_name"] == "bear"
        assert plain.search("bear")[0]["kind"] == "class"
        assert len(list(plain.quarantine())) == 2
        assert len(list(plain.sanity())) == 27
        for name in ODD:
            assert client.atlas("odd/atlas").neuron(name, 0)["layer"] == name


def test_rows_go_into_arrow(address: str) -> None:
    with Client(address) as client:
        plain = client.atlas("plain")
        neurons = table(plain.neurons("conv1", sort="max", order="desc"))
        assert neurons["max"].to_pylist() == sorted(neurons["max"].to_pylist(), reverse=True)
        examples = table(plain.neuron("conv1", 0)["examples"]["max"])
        assert examples["image_id"].type == pa.int64()
        assert pa.types.is_struct(examples["box"].type)
        points = plain.map("pca")
        assert points.column_names[:3] == ["image_id", "x", "y"]
        assert len(points) == 40


def test_what_is_refused_is_said(address: str, atlases: Path) -> None:
    with Client(address) as client, pytest.raises(ServiceError, match="channel 99") as caught:
        client.atlas("plain").neuron("conv1", 99)
    assert caught.value.status == 404
    with serving(create_app([atlases / "plain"], token="abc")) as guarded:
        with Client(guarded) as client, pytest.raises(ServiceError, match="401"):
            client.atlases()
        with Client(guarded, token="abc") as client:
            assert len(client.atlases()) == 1
