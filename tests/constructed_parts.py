"""A toy part of a constructed atlas: two tables that are registered from here, pictures, a seal."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from atlas import tables
from atlas.store import layout, parquet, parts, seal
from atlas.store.files import Folder
from atlas.store.pictures import PackWriter, missing
from atlas.tables import Rule, Table
from atlas.tables.columns import CHANNEL, IMAGE, LAYER, RANK, column, picture, schema
from atlas.tables.registry import image, neuron

TOYS = Table(
    "toys",
    "neuron",
    "toys that a neuron plays with",
    schema(LAYER, CHANNEL, RANK, column("toy", pa.string(), "name of the toy"), picture("portrait", "the toy")),
    key=("layer", "channel", "rank"),
    references=(neuron(),),
    rules=(Rule("a toy has no name", "SELECT layer, channel, rank FROM toys WHERE toy = ''"),),
    part="toy",
)
BOXES = Table(
    "toy_boxes",
    "image",
    "how many toys an image has",
    schema(IMAGE, column("count", pa.int32(), "toys"), column("fill", pa.float32(), "share that is full", null=True)),
    key=("image_id",),
    references=(image(),),
    part="toy",
)


def register(patch: pytest.MonkeyPatch) -> None:
    """Adds the toy's tables to the registry, for as long as the patch lasts."""
    patch.setattr(tables, "TABLES", (*tables.TABLES, TOYS, BOXES))
    for table in (TOYS, BOXES):
        patch.setitem(tables.BY_NAME, table.name, table)


def add(base: Path, name: str = "toy", *, sealed: bool = True, toys: list[dict[str, Any]] | None = None) -> Path:
    """Writes the part `name` into the atlas, and returns its folder. Needs `register`.

    A toy for conv1 0 and 1, with a portrait of the first; two boxes.
    """
    folder = parts.folder_of(Folder(str(base)), name)
    with folder.writing(layout.pack_path("toy-000000.tar")) as stream:
        pack = PackWriter(stream, "toy-000000.tar")
        body = io.BytesIO()
        Image.new("RGB", (5, 7), (200, 30, 30)).save(body, "PNG")
        portrait = pack.add("portrait.png", body.getvalue())
        pack.close()
    rows = toys or [
        {"layer": "conv1", "channel": 0, "rank": 0, "toy": f"bear of {name}", "portrait": portrait},
        {"layer": "conv1", "channel": 0, "rank": 1, "toy": "<i>ball</i>", "portrait": missing("too round")},
        {"layer": "conv1", "channel": 1, "rank": 0, "toy": "kite", "portrait": missing("flew away")},
    ]
    parquet.write(folder, "toys", pa.Table.from_pylist(rows, TOYS.columns))
    boxes = [{"image_id": 7, "count": 3, "fill": 0.25}, {"image_id": 5, "count": 1, "fill": None}]
    parquet.write(folder, "toy_boxes", pa.Table.from_pylist(boxes, BOXES.columns))
    if sealed:
        about = {
            "name": name,
            "part": name.partition("@")[0],
            "version": 1,
            "base": seal.read_about(Folder(str(base)))["digest"],
            "settings": {"identity": {"top": 2}, "top": 2, "file": "/somewhere/toys.tsv"},
            "summary": {"toys": len(rows), "share": 0.5},
            "created": "2026-01-02T00:00:00+00:00",
            "timings": {"toy": 1.0},
            "versions": {"neuron-atlas": "0.1.0"},
        }
        parts.seal_part(folder, about)
    return folder.local("")
