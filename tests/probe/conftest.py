"""The tiny atlas with its network, asked without and with a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from atlas.errors import ImageError
from atlas.images.manifest import read_images
from probe.subjects import Subject, open_subject
from probe.work import Desk
from tests import tiny_net


def places(root: Path) -> dict[str, object]:
    """Where the originals of the tiny atlas lie."""
    return {
        "network": f"{tiny_net.__file__}:net",
        "weights": str(root / "weights.safetensors"),
        "images": (str(root / "images"),),
        "device": "cpu",
    }


@pytest.fixture(scope="session")
def subject(tiny_root: Path, tiny_atlas: Path) -> Iterator[Subject]:
    before = torch.get_num_threads()
    yield open_subject(str(tiny_atlas), places(tiny_root), threads=1)
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def desk(subject: Subject) -> Iterator[Desk]:
    found = Desk([subject])
    yield found
    found.close()


@pytest.fixture(scope="session")
def bodies(subject: Subject) -> dict[int, bytes]:
    """The files of all images that were scanned, by image_id."""
    assert subject.manifest is not None
    return {i: body for i, body in read_images(subject.manifest.table) if not isinstance(body, ImageError)}
