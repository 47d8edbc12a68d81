"""The merge of many partial results: cut by neurons, bounded in memory, the same however it is cut."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from atlas.images import properties
from atlas.scan import merge
from atlas.scan import partial as partials
from atlas.scan import pieces as cutting
from atlas.scan.pieces import Piece, blocks, pieces
from atlas.store import layout
from atlas.store.files import Folder
from atlas.types import Axis, Field, Layer
from tests.scan.test_partial import NEURONS, K, make

IMAGES = 4
BLOB = 1_000_000
FIELD = Field(Axis(1, 1, 0), Axis(1, 1, 0))


def layer(number: int, channels: int) -> Layer:
    return Layer(number, f"layer{number}", "conv", channels, 1, 1, FIELD, number % 2 == 0, "m")


LAYERS = (layer(0, 2), layer(1, 3))


def write(folder: Folder, chunks: int, layers: Sequence[Layer] = LAYERS, padding: int = 0) -> None:
    for chunk in range(chunks):
        partial = make(chunk * IMAGES, IMAGES, chunk)
        measured = np.ones((IMAGES, len(properties.NAMES)), np.float32)
        partial = replace(partial, sample=replace(partial.sample, properties=measured), quarantine=[])
        about = {"padding": "x" * padding}
        folder.put(layout.scan_chunk(chunk), partials.dump(partial, about, blocks(layers)))


def folded(folder: Folder, piece: Piece, count: int) -> merge.Folded:
    chunks = merge.Chunks(count, count, K)
    found = merge.survey(folder, chunks, sample=9)
    asked = np.ones(piece.neurons, bool)
    sample = (found.sample_ids, found.sample_chunks)
    return merge.fold_piece(folder, piece, LAYERS, chunks, *sample, ("max", "min", "spread"), asked)


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        ([3], [(0, 1, [(0, 3)])]),
        ([3, 4, 1], [(0, 3, [(0, 8)])]),
        ([8, 8], [(0, 1, [(0, 8)]), (1, 2, [(8, 16)])]),
        ([20, 2, 7], [(0, 1, [(0, 8), (8, 16), (16, 20)]), (1, 2, [(20, 22)]), (2, 3, [(22, 29)])]),
    ],
)  # fmt: skip
def test_pieces_are_whole_layers(channels: list[int], expected: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "MOST", 8)
    layers = [layer(number, count) for number, count in enumerate(channels)]
    found = [(p.first, p.last, [(b.first, b.last) for b in p.blocks]) for p in pieces(layers)]
    assert found == expected
    assert [block.number for block in blocks(layers)] == list(range(len(blocks(layers))))


def test_however_the_neurons_are_cut_the_tables_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for most in (512, 3, 1):
        monkeypatch.setattr(cutting, "MOST", most)
        folder = Folder(str(tmp_path / str(most)))
        write(folder, 11)
        every = [folded(folder, piece, 11).tables for piece in pieces(LAYERS)]
        rows = {name: [row for tables in every for row in tables[name].to_pylist()] for name in every[0]}
        rows["winners"].sort(key=lambda row: (row["neuron"], row["side"], row["rank"]))
        responses = [(tmp_path / str(most) / layout.file_of("responses", n)).read_bytes() for n in range(2)]
        found.append((rows, responses))
    assert found[0] == found[1] == found[2]
    assert len(found[0][0]["neurons"]) == NEURONS


def test_a_chunk_takes_no_memory_once_it_is_folded(tmp_path: Path) -> None:
    def took(count: int) -> int:
        folder = Folder(str(tmp_path / str(count)))
        write(folder, count, padding=BLOB)
        return min(peak(folder, count) for _ in range(3))  # other threads of the tests' process count too

    def peak(folder: Folder, count: int) -> int:
        tracemalloc.start()
        try:
            folded(folder, pieces(LAYERS)[0], count)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    took(2)  # what is loaded once
    assert took(48) < took(12) + 5 * BLOB
