"""Fixtures that every room shares: where the data is, and one tiny atlas a session."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("shared machine", deadline=None)  # a busy neighbour is no finding
hypothesis.settings.load_profile("shared machine")

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


@pytest.fixture(scope="session")
def embedded_ray() -> Iterator[None]:
    """One embedded Ray for all tests of a session that are not about its start: four workers fit."""
    from jobs.cluster import cluster
    from tests import tiny

    with cluster(tiny.settings(Path("unused"), workers="4")):
        yield


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images and weights of the tiny data set: `images/`, `weights.safetensors`."""
    from tests import tiny

    return tiny.write_inputs(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_atlas(tiny_root: Path, embedded_ray: None) -> Path:
    """The sealed atlas that the real job makes of the tiny data set."""
    from jobs.build import build
    from tests import tiny

    build(tiny.settings(tiny_root))
    return tiny_root / "atlas"


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Address of an object store in this process, on a free port of this machine."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket as `s3://NAME`; the environment says where it is."""
    from pyarrow import fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    name = f"test-{uuid.uuid4().hex[:12]}"
    scheme, _, host = s3_endpoint.partition("://")
    made = fs.S3FileSystem(region="us-east-1", endpoint_override=host, scheme=scheme, allow_bucket_creation=True)
    made.create_dir(name)
    return f"s3://{name}"


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small batches gain nothing from threads, and lose much beside other processes."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
