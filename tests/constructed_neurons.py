"""Neurons and examples of a constructed atlas: ranks in order, boxes from fields, pictures drawn once and shared."""

from __future__ import annotations

import io
import zlib
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from atlas.explain.kinds import BY_NAME as KINDS
from atlas.store import layout, parquet
from atlas.store.files import Folder
from atlas.store.pictures import PackWriter
from atlas.tables import BY_NAME
from atlas.tables.columns import MEASURES, PICTURE
from atlas.tables.neurons import BIN, QUANTILE, QUANTILES, TOP_CLASS

if TYPE_CHECKING:
    from tests.constructed import Shape

CROP = 32
"""Side of the made-up network's input, pixels."""
CHUNK = 4096
"""Neurons made at a time."""


def image_bytes(rng: np.random.Generator, width: int, height: int, kind: str) -> bytes:
    """A real image file: a tiny picture of smooth colour."""
    corner = rng.integers(0, 255, (2, 2, 3), np.uint8)
    body = io.BytesIO()
    Image.fromarray(corner).resize((width, height)).save(body, kind)
    return body.getvalue()


def field_of(index: int) -> tuple[int, int, int]:
    """Size, stride and start of the field of layer `index`."""
    return 3 + 4 * index, 2 ** min(index, 3), -index


def _pool(folder: Folder, rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """A pack of `count` tiny PNG pictures; where each lies."""
    name = layout.pack("harvest", 0)
    with folder.writing(layout.pack_path(name)) as stream:
        pack = PackWriter(stream, name)
        drawn = [pack.add(f"{i}.png", image_bytes(rng, 8, 8, "PNG")) for i in range(count)]
        pack.close()
    return {key: np.array([d[key] for d in drawn]) for key in ("offset", "length", "crc32")}


def _struct(there: np.ndarray, where: dict[str, np.ndarray], which: np.ndarray, why: str, seed: bool) -> pa.Array:
    """A picture column: picture `which` of the pool where `there`, else the reason."""
    missing = pa.array(~there)
    null = np.zeros(len(there), bool)

    def column(values: np.ndarray, kind: pa.DataType, absent: np.ndarray = ~there) -> pa.Array:
        return pa.array(values, kind, mask=absent)

    no_seed = null if not seed else there
    one = np.ones(len(there), np.float32)
    pack = pa.DictionaryArray.from_arrays(pa.array(where["pack"][which], pa.int32()), where["names"]).cast(pa.string())
    return pa.StructArray.from_arrays(
        [
            pc.if_else(missing, pa.scalar(None, pa.string()), pack),
            column(where["offset"][which], pa.int64()),
            column(where["length"][which], pa.int64()),
            column(where["crc32"][which].astype(np.uint32), pa.uint32()),
            pc.if_else(missing, pa.scalar(why), pa.scalar(None, pa.string())),
            pa.array(one, pa.float32(), mask=~no_seed),
            pa.array(one * np.float32(0.125), pa.float32(), mask=~no_seed),
        ],
        fields=list(PICTURE),
    )


def neurons_and_examples(folder: Folder, shape: Shape, images: pa.Table, rng: np.random.Generator) -> int:
    """Writes neurons, examples, explanations and trust a chunk of neurons at a time."""
    per = 2 * shape.k + 10
    each = per + len(shape.kinds) * shape.k
    pictures = shape.neurons * each
    if shape.sparse:
        where = _holes(folder, pictures)
    else:
        where = _pool(folder, rng, min(pictures, shape.pool))
        where |= {"pack": np.zeros(len(where["offset"]), np.int64), "names": pa.array([layout.pack("harvest", 0)])}
    used = 0
    names = [name for name in ("neurons", "examples", "explanations", "trust") if name not in shape.without]
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(parquet.writing(folder, layout.table(name), BY_NAME[name].columns))
            for name in names
        }

        def write(name: str, layer: str, rows: pa.Table) -> None:
            if name in writers:
                layered = rows.add_column(0, "layer", pa.array([layer] * len(rows), pa.string()))
                whole = parquet.conform(layered, BY_NAME[name].columns)
                writers[name].write_table(whole, row_group_size=parquet.ROW_GROUP)

        for index, (layer, channels) in enumerate(shape.layers):
            write("trust", layer, _trust_rows(shape, [None], channels, rng))
            for first in range(0, channels, CHUNK):
                chunk = np.arange(first, min(first + CHUNK, channels))
                write("examples", layer, _example_rows(shape, index, chunk, images, where, used, rng))
                write("explanations", layer, _explanation_rows(shape, chunk, where, used + per * len(chunk), rng))
                used += each * len(chunk)
                write("trust", layer, _trust_rows(shape, chunk.tolist(), 3, rng))
                write("neurons", layer, _neuron_rows(shape, index, chunk, rng))
    return shape.neurons * per


def _holes(folder: Folder, count: int) -> dict[str, np.ndarray]:
    """Places of `count` pictures in packs of holes, shuffled as a harvest in units would."""
    in_pack = 250_000
    packs = -(-count // in_pack)
    for number in range(packs):
        target = folder.local(layout.pack_path(layout.pack("harvest", number)))
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as stream:
            stream.truncate(in_pack * 1024 + 1024)
    order = np.random.default_rng(0).permutation(count)
    return {
        "names": pa.array([layout.pack("harvest", number) for number in range(packs)]),
        "pack": order // in_pack,
        "offset": (order % in_pack) * 1024 + 512,
        "length": np.full(count, 400),
        "crc32": np.full(count, zlib.crc32(bytes(400))),
    }


def _example_rows(
    shape: Shape, index: int, chunk: np.ndarray, images: pa.Table, where: dict[str, np.ndarray], used: int,
    rng: np.random.Generator,
) -> pa.Table:  # fmt: skip
    k, n = shape.k, len(chunk)
    per = 2 * k + 10
    side = np.tile(np.repeat([0, 1, 2], [k, k, 10]), n)
    rank = np.tile(np.concatenate([np.arange(k), np.arange(k), np.arange(10)]), n)
    of = np.repeat(chunk, per)
    row = (of * 7 + rank * 3 + side * 11 + index) % len(images)
    ids = images["image_id"].to_numpy()[row]
    width, height = images["width"].to_numpy()[row], images["height"].to_numpy()[row]
    y, x = rng.integers(0, 8, n * per), rng.integers(0, 8, n * per)
    size, stride, start = field_of(index)
    left, top = start + stride * x, start + stride * y
    scale = np.minimum(width, height) / CROP
    off_x, off_y = (width - CROP * scale) / 2, (height - CROP * scale) / 2
    response = np.choose(side, [20.0 - rank - of % 5, -3.0 + 0.25 * rank, 12.0 - rank])
    first_side = side == 0
    total = len(where["offset"])
    at = np.arange(n * per)

    return pa.table(
        {
            "channel": of,
            "side": pa.DictionaryArray.from_arrays(pa.array(side), pa.array(["max", "min", "spread"])).cast(
                pa.string()
            ),
            "rank": rank,
            "image_id": ids,
            "response": response.astype(np.float32),
            "y": y,
            "x": x,
            "field_left": left,
            "field_top": top,
            "field_right": left + size,
            "field_bottom": top + size,
            "image_left": off_x + scale * left,
            "image_top": off_y + scale * top,
            "image_right": off_x + scale * (left + size),
            "image_bottom": off_y + scale * (top + size),
            "cell_left": x * CROP / 8,
            "cell_top": y * CROP / 8,
            "cell_right": (x + 1) * CROP / 8,
            "cell_bottom": (y + 1) * CROP / 8,
            "crop": _struct(np.ones(n * per, bool), where, (used + at) % total, "none", False),
            "duplicate_of": pa.array(np.roll(ids, 1), pa.int64(), mask=~(first_side & (rank == 4))),
        }
    )


def _explanation_rows(
    shape: Shape, chunk: np.ndarray, where: dict[str, np.ndarray], used: int, rng: np.random.Generator
) -> pa.Table:
    """A row for each kind of each example of side max; occlusion of the strongest alone, and one that is missing."""
    kinds, k = len(shape.kinds), shape.k
    n = len(chunk) * k * kinds
    rank = np.tile(np.repeat(np.arange(k), kinds), len(chunk))
    kind = np.tile(np.arange(kinds), len(chunk) * k)
    one = np.array([KINDS[name].scale == "heat" if name in KINDS else False for name in shape.kinds], bool)[kind]
    there = ~one | (rank < 1)
    tested = (rank < 3) & (kind < 3)
    return pa.table(
        {
            "channel": np.repeat(chunk, k * kinds),
            "side": pa.array(["max"] * n, pa.string()),
            "rank": rank,
            "kind": pa.DictionaryArray.from_arrays(pa.array(kind), pa.array(shape.kinds, pa.string())).cast(
                pa.string()
            ),
            "picture": _struct(there, where, (used + np.arange(n)) % len(where["offset"]), "not asked for", True),
            **{name: pa.array(rng.random(n, np.float32), mask=~tested) for name in MEASURES},
        }
    )


def _trust_rows(shape: Shape, channels: list[int | None], n: int, rng: np.random.Generator) -> pa.Table:
    kinds = shape.kinds[:3]
    count = len(channels) * len(kinds)
    return pa.table(
        {
            "channel": pa.array([channel for channel in channels for _ in kinds], pa.int32()),
            "kind": pa.array([kind for _ in channels for kind in kinds], pa.string()),
            **{name: pa.array(rng.random(count, np.float32)) for name in (*MEASURES, "score")},
            "n": np.full(count, n),
        }
    )


def _neuron_rows(shape: Shape, index: int, chunk: np.ndarray, rng: np.random.Generator) -> pa.Table:
    n, bins = len(chunk), 12
    classes = len(shape.classes)
    counts = np.full(bins, shape.images // bins)
    counts[3] += shape.images % bins
    edges = np.tile(np.arange(bins + 1, dtype=np.float32) - 3, (n, 1))
    histogram = pa.ListArray.from_arrays(
        pa.array(np.arange(n + 1) * bins, pa.int32()),
        pa.StructArray.from_arrays(
            [pa.array(edges[:, :-1].ravel()), pa.array(edges[:, 1:].ravel()), pa.array(np.tile(counts, n))],
            fields=list(BIN),
        ),
    )
    tops = min(5, classes)
    top = (chunk[:, None] + np.arange(tops)) % max(classes, 1)
    top_classes = pa.ListArray.from_arrays(
        pa.array(np.arange(n + 1) * tops, pa.int32()),
        pa.StructArray.from_arrays(
            [
                pa.array(top.ravel().astype(np.int32)),
                pa.array((9.0 - np.tile(np.arange(tops), n)).astype(np.float32)),
                pa.array(rng.random(n * tops, np.float32)),
            ],
            fields=list(TOP_CLASS),
        ),
    )
    quantiles = pa.StructArray.from_arrays(
        [pa.array(np.full(n, q * 20, np.float32)) for q in QUANTILES], fields=list(QUANTILE)
    )
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array(rng.random(n * shape.dimensions, np.float32)), shape.dimensions
    )
    rectified = index < len(shape.layers) - 1
    return pa.table(
        {
            "channel": chunk,
            "images": np.full(n, shape.images),
            "mean": rng.random(n),
            "std": rng.random(n),
            "min": np.full(n, -3.0),
            "max": 20.0 - chunk % 5,
            "activation_rate": pa.array(rng.random(n), mask=np.full(n, not rectified)),
            "reference_max": np.full(n, 0.0 if rectified else 1.5),
            "reference_min": np.full(n, 0.0 if rectified else -1.5),
            "map_mean": rng.random(n),
            "dead": pa.array([False] * n if rectified else [None] * n, pa.bool_()),
            "why_max": pa.nulls(n, pa.string()),
            "why_min": pa.nulls(n, pa.string()),
            "quantiles": quantiles,
            "histogram": histogram,
            "top_classes": top_classes,
            "selectivity": pa.array(rng.random(n) if classes > 1 else [None] * n, pa.float32()),
            "vector": vectors.cast(pa.list_(pa.float32())),
        }
    )
