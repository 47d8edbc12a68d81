"""Sheets drawn from pictures of one colour each, so that every cell can be told."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageDraw

from atlas.errors import InputError, NotFoundError, PictureError
from atlas.read import paper, sheets
from atlas.store import layout, parquet, parts, seal
from atlas.store.files import Folder
from atlas.store.pictures import PackWriter, missing
from atlas.tables import BY_NAME
from atlas.tables.columns import PICTURE

CHANNELS, EXAMPLES = 5, 4


def colour(number: int) -> tuple[int, int, int]:
    return (40 + 9 * number, 250 - 11 * number, 7 * number)


def filled(kind: pa.Schema, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows with 0 or an empty text where a column must not be null."""
    complete = []
    for row in rows:
        blank: dict[str, Any] = {}
        for field in kind:
            if field.nullable:
                blank[field.name] = None
            elif pa.types.is_string(field.type):
                blank[field.name] = ""
            elif pa.types.is_binary(field.type):
                blank[field.name] = bytes(32)
            elif pa.types.is_list(field.type):
                blank[field.name] = []
            elif field.type == PICTURE:
                blank[field.name] = missing("not made")
            elif pa.types.is_struct(field.type):
                blank[field.name] = dict.fromkeys(f.name for f in field.type)
            else:
                blank[field.name] = False if pa.types.is_boolean(field.type) else 0
        complete.append({**blank, **row})
    return pa.Table.from_pylist(complete, kind)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(str(tmp_path))
    images, examples, explained, cells = [], [], [], []
    with folder.writing(layout.pack_path("p.tar")) as stream:
        pack = PackWriter(stream, "p.tar")

        def solid(number: int, shape: tuple[int, int] = (8, 8)) -> dict[str, Any]:
            body = io.BytesIO()
            Image.new("RGB", shape, colour(number)).save(body, "PNG")
            return pack.add(f"{pack.count}.png", body.getvalue())

        for image in range(EXAMPLES):
            thumbnail = solid(image, (16, 8)) if image else missing("no thumbnails")
            images.append(
                {"image_id": image, "key": f"{image}", "class_name": f"class {image}", "thumbnail": thumbnail}
            )
            cells.append({"image_id": image, "kind": "tsne", "grid_row": image // 2, "grid_column": image % 2})
        cells.append({"image_id": 0, "kind": "pca"})
        for channel in range(CHANNELS - 1):  # the last has no examples
            for rank in reversed(range(EXAMPLES)):
                row = {"layer": "a", "channel": channel, "side": "max", "rank": rank, "image_id": rank, "response": 1.5}
                again = 0 if rank == 1 else None
                examples.append({**row, "crop": solid(4 * channel + rank), "duplicate_of": again})
                explained.append({**row, "kind": "guided", "picture": solid(20)})
        pack.close()
    neurons = [
        {"layer": "a", "channel": c, "why_max": None if c < CHANNELS - 1 else "all equal"} for c in range(CHANNELS)
    ]
    parquet.write(folder, "images", filled(BY_NAME["images"].columns, images))
    parquet.write(folder, "examples", filled(BY_NAME["examples"].columns, examples))
    parquet.write(folder, "explanations", filled(BY_NAME["explanations"].columns, explained))
    parquet.write(folder, "neurons", filled(BY_NAME["neurons"].columns, neurons))
    parquet.write(folder, "map", filled(BY_NAME["map"].columns, cells))
    parquet.write(folder, "layers", filled(BY_NAME["layers"].columns, [{"layer": "a", "channels": CHANNELS}]))
    counts = dict.fromkeys(("images", "quarantined", "layers", "neurons", "examples"), 0)
    about = {"name": "x", "network": {"name": "n"}, "data": {"sources": [], "count": 0}, "counts": counts}
    seal.seal(folder, {"format_version": layout.FORMAT_VERSION, **about, "settings": {"identity": {}}})
    return folder


def cells(image: Image.Image, size: int) -> dict[tuple[int, int, int], int]:
    """Pixels of each colour that fills at least most of a cell."""
    values, counts = np.unique(np.asarray(image).reshape(-1, 3), axis=0, return_counts=True)
    return {tuple(v): int(c) for v, c in zip(values.tolist(), counts.tolist(), strict=True) if c >= 0.8 * size * size}


def test_neuron(folder: Folder) -> None:
    image = sheets.draw(folder, "neuron", layer="a", channel=2, pictures=("crop", "guided", "deconvnet"), cell=50)
    found = cells(image, 50)
    assert all(found[colour(8 + rank)] == 2500 for rank in range(EXAMPLES))
    assert found[colour(20)] == 4 * 2500
    assert found[paper.EMPTY] > 3 * 2500  # no deconvnet, with the reason written in
    order = [np.argwhere((np.asarray(image) == colour(8 + rank)).all(axis=2))[:, 1].min() for rank in range(EXAMPLES)]
    assert order == sorted(order)


def test_layer(folder: Folder) -> None:
    found = cells(sheets.draw(folder, "layer", layer="a", cell=20), 20)
    assert {key: found[key] for key in map(colour, range(16))} == dict.fromkeys(map(colour, range(16)), 400)


def test_tsne_grid(folder: Folder) -> None:
    image = sheets.draw(folder, "tsne-grid", cell=10)
    assert image.size == (20, 20)
    assert [image.getpixel(at) for at in ((15, 5), (5, 15), (15, 15))] == [colour(1), colour(2), colour(3)]
    assert image.getpixel((5, 5)) == paper.EMPTY


def test_the_same_sheet_is_the_same_file(folder: Folder) -> None:
    first, second = (sheets.png(sheets.draw(folder, "layer", layer="a")) for _ in range(2))
    assert first == second
    assert first.startswith(b"\x89PNG")


def test_a_large_sheet_is_drawn_smaller(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "LARGEST", 1000)
    assert sheets.draw(folder, "tsne-grid", cell=100).size == (30, 30)


@pytest.mark.parametrize(
    ("error", "match", "options"),
    [
        (InputError, "--kind 'x': expected one of neuron, layer, tsne-grid, connections", {"kind": "x"}),
        (InputError, "--cell 2: expected 4 to 1024", {"kind": "layer", "cell": 2}),
        (InputError, "--pictures 'x': expected some of crop, ", {"kind": "layer", "pictures": ("x",)}),
        (InputError, "--layer is missing", {"kind": "layer"}),
        (InputError, "--channel is missing", {"kind": "neuron", "layer": "a"}),
        (InputError, "--channel .* for --kind connections", {"kind": "connections", "layer": "a"}),
        (NotFoundError, "neuron a:9: .* from 0 to 4", {"kind": "connections", "layer": "a", "channel": 9}),
        (NotFoundError, "there is none; `neuron-atlas add", {"kind": "connections", "layer": "a", "channel": 0}),
        (NotFoundError, "layer 'b': .* expected a layer, one of a", {"kind": "layer", "layer": "b"}),
        (NotFoundError, "neuron a:9: .* a channel from 0 to 4", {"kind": "neuron", "layer": "a", "channel": 9}),
        (NotFoundError, r"neuron a:4: no examples .*all equal", {"kind": "neuron", "layer": "a", "channel": 4}),
    ],
)
def test_errors_name_what_and_the_cure(folder: Folder, error: Any, match: str, options: dict[str, Any]) -> None:
    with pytest.raises(error, match=match):
        sheets.draw(folder, **options)


def edge(direction: str, rank: int, channel: int, share: float, **more: Any) -> dict[str, Any]:
    to = {"other_layer": "a", "other_channel": channel, "contribution": share}
    return {"layer": "a", "channel": 2, "direction": direction, "rank": rank, **to, **more}


@pytest.fixture
def connected(folder: Folder) -> Folder:
    """Channel 2 is fed by 0 and 1, by the image, against it by 3, and feeds 3; channel 0 could not be taken apart."""
    edges = [
        edge("from", 0, 0, 0.4, drop=0.9, drop_random=-0.05),
        edge("from", 1, 1, 0.2),
        edge("from", 2, 1, 0.1, other_layer=None, source="image", drop=0.95),
        edge("from", 10, 3, -0.3),
        edge("to", 0, 3, 0.5),
    ]
    part = parts.folder_of(folder, "connections")
    parquet.write(part, "connections", filled(BY_NAME["connections"].columns, edges))
    parquet.write(part, "additivity", filled(BY_NAME["additivity"].columns, [{"layer": "a", "why": "it is gated"}]))
    about = {
        "name": "connections",
        "part": "connections",
        "version": 1,
        "base": seal.read_about(folder)["digest"],
        "summary": {},
        "timings": {},
    }
    about |= {"settings": {"identity": {}}, "created": "2026-01-01T00:00:00+00:00", "versions": {}}
    parts.seal_part(part, about)
    return folder


def test_connections(connected: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write = ImageDraw.ImageDraw.text

    def text(pen: ImageDraw.ImageDraw, xy: Any, words: str, *more: Any, **named: Any) -> None:
        written.append(words)
        write(pen, xy, words, *more, **named)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    image = sheets.draw(connected, "connections", layer="a", channel=2, cell=100)
    found = cells(image, 100)
    own, first, second, against = (colour(4 * channel) for channel in (2, 0, 1, 3))
    assert [found[each] for each in (own, first, second, against)] == [100**2] * 3 + [2 * 100**2]
    assert found[paper.EMPTY] > 0.9 * 100**2  # the image is no neuron: its name is written in
    top = [np.argwhere((np.asarray(image) == each).all(axis=2))[:, 0].min() for each in (own, first, against)]
    assert top == sorted(top)
    shares = [words for words in written if words.endswith("%") and words[0] in "+-"]
    assert shares == ["+40.0%", "+20.0%", "+10.0%", "-30.0%", "+50.0%"]
    tested = [words for words in written if "lost" in words or "not tested" in words]
    assert tested == ["first 1: lost 90%", "others: lost -5%", "first 3: lost 95%", "others: not tested"]
    assert [words for words in written if words in ("Fed by, for it", "Fed by, against it", "Feeds, for it")] == [
        "Fed by, for it",
        "Fed by, against it",
        "Feeds, for it",
    ]
    assert "image" in written


def test_a_neuron_without_connections_says_why(connected: Folder) -> None:
    with pytest.raises(NotFoundError, match=r"neuron a:0: no connections \(it is gated\)"):
        sheets.draw(connected, "connections", layer="a", channel=0)


def test_connections_of_another_atlas_are_refused(connected: Folder) -> None:
    digest = seal.read_about(connected)["digest"].encode()
    connected.put(layout.ATLAS, connected.get(layout.ATLAS).replace(digest, b"0" * 64))
    with pytest.raises(NotFoundError, match="made from another atlas"):
        sheets.draw(connected, "connections", layer="a", channel=2)


def test_no_grid_is_said(folder: Folder) -> None:
    parquet.write(folder, "map", BY_NAME["map"].columns.empty_table())
    with pytest.raises(NotFoundError, match="no t-SNE grid"):
        sheets.draw(folder, "tsne-grid")


def test_a_damaged_picture_is_refused(folder: Folder) -> None:
    path = folder.local("pictures/p.tar")
    body = bytearray(path.read_bytes())
    body[body.index(b"IDAT") + 6] ^= 1
    path.write_bytes(body)
    with pytest.raises(PictureError, match="is damaged: its crc32"):
        sheets.draw(folder, "tsne-grid")
    path.unlink()
    with pytest.raises(PictureError, match="cannot be read"):
        sheets.draw(folder, "tsne-grid")
