"""The pictures of a chunk's examples: same box and size as the crop, a reason where there is none, one answer."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from atlas.explain.aligned import Images
from atlas.explain.crops import picture_shape
from atlas.harvest.drawn import ProjectionSettings, project_found
from atlas.harvest.examples import Found, find
from atlas.network.layers import find_layers
from atlas.store.pictures import PackWriter
from atlas.types import Placement
from tests.drawing import KINDS

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = 24


class Net(nn.Module):
    def __init__(self, bend: Callable[[Tensor], Tensor] = F.relu) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Conv2d(3, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 4, (3, 5), 2, padding=1)
        self.bend = bend

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.b(F.max_pool2d(self.bend(self.a(x)), 2))).mean((2, 3))


def harvested(net: nn.Module, sides: tuple[str, ...] = ("max",), kinds: tuple[str, ...] = KINDS) -> tuple[Found, bytes]:
    """Three images' winners of both layers, placed in the middle, projected into a pack."""
    layers = find_layers(net.eval(), SIZE, SIZE)
    rows = [
        (neuron, side, rank, image, response)
        for neuron in range(8)
        for side, response in (("max", 2.0), ("min", -1.5), ("spread", 0.5))
        for rank, image in enumerate((4, 2, 9))
    ]
    rows[0] = (0, "max", 0, 4, 0.0)  # dead
    columns = list(zip(*rows, strict=True))
    winners = pa.table(dict(zip(("neuron", "side", "rank", "image_id", "response"), map(list, columns), strict=True)))
    winners = winners.append_column("reference", pa.array([0.0] * len(rows), pa.float32()))
    found = find(layers, winners, np.array([2, 4, 9]))
    found.y[:], found.x[:] = 2, 3
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3)).astype(np.uint8)
    images = Images(pixels, lambda p: torch.from_numpy(p).permute(0, 3, 1, 2).float() / 255 - 0.5)
    stream = io.BytesIO()
    pack = PackWriter(stream, "harvest-000000.tar")
    settings = ProjectionSettings(kinds, sides, 2, 60, 4, 0)
    with ThreadPoolExecutor(2) as pool:
        project_found(net, found, images, settings, pack, pool)
    pack.close()
    return found, stream.getvalue()


def test_pictures_lie_on_the_crop() -> None:
    found, body = harvested(Net())
    table = found.table([Placement(1, 1, 0, 0)] * 3, SIZE, SIZE)
    assert (table.column("cell_right").to_numpy() - table.column("cell_left").to_numpy()).min() >= 1
    drawn = 0
    for row in range(len(found)):
        for kind in (*KINDS, "gradient_max"):
            picture = found.explanations[kind].get(row)
            if picture is not None and picture["why"] is None:
                image = Image.open(io.BytesIO(body[picture["offset"] : picture["offset"] + picture["length"]]))
                assert image.size == picture_shape(found.layer(row).field, 60)
                assert picture["seed"] == 1
                assert picture["scale"] > 0
                drawn += 1
    assert drawn > 4 * 15


def test_no_picture_is_invented() -> None:
    found, _ = harvested(Net())
    assert "response is 0" in found.explanations["deconvnet"][0]["why"]
    assert "response is 0" in found.explanations["gradient_max"][0]["why"]
    assert 0 not in found.evidence
    for row, side in enumerate(found.side):
        if side != "max":
            assert row not in found.explanations["guided"]
            assert row not in found.evidence
    rows = found.explained()
    assert rows.num_rows == sum(side == "max" for side in found.side) * (len(KINDS) + 1)
    assert set(rows.column("side").to_pylist()) == {"max"}


def test_the_strongest_are_tested() -> None:
    found, _ = harvested(Net(), ("max", "min", "spread"))
    for row, side in enumerate(found.side):
        tested = found.rank[row] < 2 and side != "spread" and row != 0
        assert (row in found.evidence) == tested
    assert {found.explanations["gradient"][row]["seed"] for row, side in enumerate(found.side) if side == "min"} == {
        -1.0
    }


def test_what_is_refused_says_why_and_the_gradient_is_drawn() -> None:
    found, _ = harvested(Net(F.silu))
    for row, side in enumerate(found.side):
        if side == "max" and row:
            behind = found.layer(row).name == "b"
            assert ("silu" in (found.explanations["deconvnet"][row]["why"] or "")) == behind
            assert found.explanations["gradient"][row]["why"] is None
            if behind and row in found.evidence:
                assert set(found.evidence[row]) == {"gradient"}


def test_one_answer() -> None:
    net = Net()
    first, second = harvested(net), harvested(net)
    assert first[1] == second[1]
    assert first[0].evidence == second[0].evidence


def test_only_what_is_asked_for() -> None:
    found, _ = harvested(Net(), kinds=("guided",))
    assert found.explanations["guided"][1]["why"] is None
    assert set(found.explanations) == {"guided"}
    nothing, body = harvested(Net(), kinds=())
    assert not nothing.evidence
    assert not nothing.explained().num_rows
    assert not body.strip(b"\0")


def test_where_no_rectifier_follows_an_example_is_driven_beyond_its_reference() -> None:
    layers = find_layers(Net().eval(), SIZE, SIZE)
    names = ("neuron", "side", "rank", "image_id", "response", "reference")
    rows = [
        (0, "max", 0, 4, 3.0, 2.5),
        (0, "max", 1, 2, 2.0, 2.5),
        (1, "min", 0, 4, 1.0, 1.5),
        (1, "min", 1, 2, 2.0, 1.5),
    ]
    found = find(layers, pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), np.array([2, 4]))
    assert found.driven.tolist() == [True, False, True, False]
    assert "not above its reference 2.5" in found.why_not(1)
    assert "not below its reference 1.5" in found.why_not(3)
