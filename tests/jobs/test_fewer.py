"""Less work where less is wanted: fewer neurons, no projections, smaller pictures; what is left is what a whole build
makes, byte for byte."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from atlas.explain import draw
from atlas.network.chosen import chosen
from atlas.scan.neurons import NOT_ASKED
from atlas.settings import from_mapping
from atlas.store.sealed import Sealed
from atlas.types import Axis, Field, Layer
from jobs.build import build
from tests import tiny

PICTURES = ("crop", "picture")


def rows(root: Path, table: str) -> list[dict[str, Any]]:
    """Rows of a table, each picture as its bytes."""
    found: list[dict[str, Any]] = pq.read_table(root / f"{table}.parquet").to_pylist()
    for row in found:
        for name in PICTURES:
            value = row.get(name)
            if value and value["pack"]:
                body = (root / "pictures" / value["pack"]).read_bytes()
                row[name] = (body[value["offset"] : value["offset"] + value["length"]], value["scale"], value["seed"])
    return found


def layer(name: str, channels: int) -> Layer:
    axis = Axis(1, 1, 0)
    return Layer(0, name, "conv", channels, 4, 4, Field(axis, axis), True, name, 1)


def test_which_neurons() -> None:
    layers = [layer("a", 5), layer("b", 40)]
    assert chosen(layers, None, 0).all()
    four, nine = chosen(layers, 4, 0), chosen(layers, 9, 0)
    assert [four[:5].sum(), four[5:].sum(), nine[:5].sum(), nine[5:].sum()] == [4, 4, 5, 9]
    assert (nine >= four).all()
    assert (chosen(layers, 4, 1) != four).any()
    assert np.array_equal(chosen(layers[1:], 4, 0), four[5:])  # whatever the other layers are


@pytest.fixture(scope="module")
def fewer(tiny_root: Path, embedded_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny atlas with three neurons a layer."""
    out = tmp_path_factory.mktemp("fewer") / "atlas"
    build(tiny.settings(tiny_root, out, neurons="3"))
    return out


def test_the_neurons_asked_for_are_those_of_a_whole_build(tiny_atlas: Path, fewer: Path) -> None:
    every = rows(tiny_atlas, "neurons")
    some = rows(fewer, "neurons")
    asked = {(r["layer"], r["channel"]) for r in some if r["why_max"] != NOT_ASKED}
    layers = [r["layer"] for r in rows(fewer, "layers")]
    assert sorted(name for name, _ in asked) == sorted(name for name in layers for _ in range(3))
    for whole, part in zip(every, some, strict=True):
        numbers = [n for n in whole if n not in ("why_max", "why_min", "vector")]
        assert {n: part[n] for n in numbers} == {n: whole[n] for n in numbers}  # the scan kept all
        if (part["layer"], part["channel"]) in asked:
            assert part == whole
        else:
            assert part["why_max"] == part["why_min"] == NOT_ASKED
            assert part["vector"] is None
    for table in ("examples", "explanations", "filters"):
        whole_rows = [r for r in rows(tiny_atlas, table) if (r["layer"], r["channel"]) in asked]
        assert rows(fewer, table) == whole_rows
    for table in ("classes", "map", "quarantine"):
        assert rows(fewer, table) == rows(tiny_atlas, table)


def test_no_projections(tiny_root: Path, tmp_path: Path, embedded_ray: None) -> None:
    none = from_mapping({"images": "x", "network": "n", "out": "o", "projections": "none"})
    assert none.projections == ()
    build(tiny.settings(tiny_root, tmp_path / "atlas", projections=none.projections, neurons="2"))
    assert rows(tmp_path / "atlas", "explanations") == []
    assert rows(tmp_path / "atlas", "sanity") == []
    assert all(isinstance(r["crop"], tuple) for r in rows(tmp_path / "atlas", "examples"))


def test_compact_projections(fewer: Path, tiny_root: Path, tmp_path: Path, embedded_ray: None) -> None:
    """At the size of their fields: an enlarged one stays lossless."""
    large, small = tmp_path / "lossless", tmp_path / "compact"
    build(tiny.settings(tiny_root, large, neurons="3", picture_size=32))
    build(tiny.settings(tiny_root, small, neurons="3", picture_size=32, projection_format="compact"))
    assert Sealed(str(small)).about["settings"]["projection_format"] == "compact"
    kinds, bytes_of = set(), [0, 0]
    for exact, near in zip(rows(large, "explanations"), rows(small, "explanations"), strict=True):
        if not isinstance(exact["picture"], tuple):
            assert near == exact
            continue
        images = [Image.open(io.BytesIO(row["picture"][0])).convert("RGB") for row in (exact, near)]
        assert draw.psnr(*images) >= draw.LEAST_PSNR
        assert {**near, "picture": None} == {**exact, "picture": None}
        assert near["picture"][1:] == exact["picture"][1:]
        kinds.add(near["picture"][0][:4])
        bytes_of = [sum(pair) for pair in zip(bytes_of, (len(r["picture"][0]) for r in (exact, near)), strict=True)]
    assert b"RIFF" in kinds
    assert rows(large, "examples") == rows(small, "examples")
