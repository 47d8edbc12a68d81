"""Constructed atlases: sealed folders of any size with known numbers and real tiny pictures, made in no time.

The numbers obey the contract (ranks in order, boxes from fields, images counted); they come from no network.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from atlas.store import layout, schema, seal, tables
from atlas.store.codes import Codes
from atlas.store.files import Folder
from atlas.store.pictures import PackWriter, Picture
from atlas.types import PROJECTIONS

CROP = 32
"""Side of the made-up network's input, pixels."""
PROPERTIES = ("brightness", "contrast", "hue")
CHUNK = 4096
"""Neurons made at a time."""


@dataclass(frozen=True)
class Shape:
    """What to make. `layers`: (name, channels). `k` examples for max and min, ten for spread.

    `pool`: pictures that are drawn, and shared. `sparse`: every picture has its own place, in packs that are holes,
    for atlases too large to draw.
    """

    name: str = "constructed"
    layers: tuple[tuple[str, int], ...] = (("conv1", 6), ("block.conv@2", 5), ("fc", 4))
    images: int = 40
    classes: tuple[str, ...] = ("apple", "bear", "cat", "deer")
    k: int = 9
    dimensions: int = 8
    quarantined: int = 2
    sparse: bool = False
    pool: int = 200
    seed: int = 0

    @property
    def neurons(self) -> int:
        return sum(channels for _, channels in self.layers)


def write(path: Path, shape: Shape | None = None) -> Path:
    """Writes a sealed atlas into `path`, which must be empty or absent, and returns it."""
    shape = shape or Shape()
    folder = Folder(str(path))
    rng = np.random.default_rng(shape.seed)
    images = _images(folder, shape, rng)
    counts = {"images": len(images), "quarantined": shape.quarantined, "layers": len(shape.layers)}
    counts["neurons"] = shape.neurons
    tables.write(folder, "layers", _layers(shape))
    counts["examples"] = _neurons_and_examples(folder, shape, images, rng)
    for name, table in _small(folder, shape, images, rng).items():
        tables.write(folder, name, table)
    index = _codes(folder, shape, images, rng)
    folder.put(layout.STATE, b"")
    seal.seal(folder, {**_about(shape, counts), "index": index})
    return path


def _about(shape: Shape, counts: dict[str, int]) -> dict[str, Any]:
    return {
        "format_version": layout.FORMAT_VERSION,
        "name": shape.name,
        "network": {"name": "constructed", "source_digest": "0" * 64, "weights_digest": "1" * 64},
        "data": {
            "sources": ["/somewhere/photos"],
            "count": shape.images + shape.quarantined,
            "manifest_digest": "2" * 64,
        },
        "preprocessing": {
            "resize": CROP,
            "crop": CROP,
            "mean": [0.5] * 3,
            "std": [0.25] * 3,
            "interpolation": "bilinear",
        },
        "settings": {"k": shape.k, "sides": ["max", "min", "spread"], "seed": shape.seed, "sample": 10},
        "accuracy": {"top1": 0.5, "images": shape.images} if shape.classes else None,
        "counts": counts,
        "map": {"pca_explained_variance": [0.5, 0.25]},
        "created": "2026-01-01T00:00:00+00:00",
        "timings": {"scan": 1.0},
        "versions": {"neuron-atlas": "0.1.0"},
    }


def image_bytes(rng: np.random.Generator, width: int, height: int, kind: str) -> bytes:
    """A real image file: a tiny picture of smooth colour."""
    corner = rng.integers(0, 255, (2, 2, 3), np.uint8)
    body = io.BytesIO()
    Image.fromarray(corner).resize((width, height)).save(body, kind)
    return body.getvalue()


def _column(values: Sequence[Picture]) -> pa.Array:
    return pa.array(list(values), schema.PICTURE)


def _images(folder: Folder, shape: Shape, rng: np.random.Generator) -> pa.Table:
    """images.parquet, with a drawn thumbnail and picture for each (sparse: for the first fifty)."""
    n = shape.images
    # Quarantined images keep their numbers: here the first of all, and those after the last.
    ids = np.arange(n) + (1 if shape.quarantined else 0)
    width, height = rng.integers(40, 65, n), rng.integers(40, 65, n)
    classes = max(len(shape.classes), 1)
    class_id = np.arange(n) % classes
    predicted = np.where(rng.random(n) < 0.5, class_id, rng.integers(0, classes, n))
    drawn = min(n, 50) if shape.sparse else n
    thumbnails: list[Picture] = []
    pictures: list[Picture] = []
    name = layout.pack("images", 0)
    with folder.writing(layout.pack_path(name)) as stream:
        pack = PackWriter(stream, name)
        for i in range(drawn):
            thumbnails.append(
                pack.add(f"thumbnail-{i}.jpg", image_bytes(rng, int(width[i]) // 2, int(height[i]) // 2, "JPEG"))
            )
            pictures.append(pack.add(f"picture-{i}.jpg", image_bytes(rng, int(width[i]), int(height[i]), "JPEG")))
        pack.close()
    absent = [{**dict.fromkeys(schema.PICTURE.names), "why": "not drawn"}] * (n - drawn)
    known = bool(shape.classes)
    table = pa.table(
        {
            "image_id": ids,
            "source": pa.array(["/somewhere/photos"] * n),
            "key": pa.array([f"{c:03d}/{i}.jpg" for i, c in zip(ids.tolist(), class_id.tolist(), strict=True)]),
            "class_id": pa.array(class_id if known else [None] * n, pa.int32()),
            "class_name": pa.array([shape.classes[c] for c in class_id] if known else [None] * n, pa.string()),
            "width": width,
            "height": height,
            "predicted": predicted,
            "probability": rng.random(n),
            "loss": pa.array(rng.random(n) if known else [None] * n, pa.float32()),
            "thumbnail": _column(thumbnails + absent),
            "picture": _column(pictures + absent),
        }
    )
    tables.write(folder, "images", table)
    return table


def field_of(index: int) -> tuple[int, int, int]:
    """Size, stride and start of the field of layer `index`."""
    return 3 + 4 * index, 2 ** min(index, 3), -index


def _both(value: int) -> dict[str, int]:
    return {"y": value, "x": value}


def _trusts(rng: np.random.Generator) -> dict[str, dict[str, float | int]]:
    names = [f.name for f in schema.EVIDENCE]
    return {
        kind: {**{n: float(rng.random()) for n in names}, "score": float(rng.random()), "n": 3} for kind in PROJECTIONS
    }


def _layers(shape: Shape) -> pa.Table:
    rng = np.random.default_rng(shape.seed + 1)
    rows = []
    for index, (name, channels) in enumerate(shape.layers):
        size, stride, start = field_of(index)
        last = index == len(shape.layers) - 1
        rows.append(
            {
                "layer": name,
                "index": index,
                "kind": "linear" if last else "conv",
                "channels": channels,
                "height": 8,
                "width": 8,
                "field_size": _both(size),
                "field_stride": _both(stride),
                "field_start": _both(start),
                "whole_input": False,
                "rectified": not last,
                "trust": _trusts(rng),
                "axis": {f.name: float(rng.random()) for f in schema.AXIS},
            }
        )
    return pa.Table.from_pylist(rows, schema.LAYERS)


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
        fields=list(schema.PICTURE),
    )


def _neurons_and_examples(folder: Folder, shape: Shape, images: pa.Table, rng: np.random.Generator) -> int:
    """Writes neurons.parquet and examples.parquet a chunk of neurons at a time."""
    per = 2 * shape.k + 10
    pictures = shape.neurons * (per + 5 * shape.k)
    if shape.sparse:
        where = _holes(folder, pictures)
    else:
        where = _pool(folder, rng, min(pictures, shape.pool))
        where |= {"pack": np.zeros(len(where["offset"]), np.int64), "names": pa.array([layout.pack("harvest", 0)])}
    used = 0
    with (
        tables.writing(folder, layout.table("neurons"), schema.NEURONS) as neurons,
        tables.writing(folder, layout.table("examples"), schema.EXAMPLES) as examples,
    ):
        for index, (layer, channels) in enumerate(shape.layers):
            for first in range(0, channels, CHUNK):
                chunk = np.arange(first, min(first + CHUNK, channels))
                rows = _example_rows(shape, index, chunk, images, where, used, rng)
                used += len(rows) + 5 * shape.k * len(chunk)
                layered = rows.add_column(0, "layer", pa.array([layer] * len(rows)))
                examples.write_table(tables.conform(layered, schema.EXAMPLES), row_group_size=tables.ROW_GROUP)
                mine = _neuron_rows(shape, index, chunk, rng).add_column(0, "layer", pa.array([layer] * len(chunk)))
                neurons.write_table(tables.conform(mine, schema.NEURONS), row_group_size=tables.ROW_GROUP)
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

    def pictures(name: str, number: int, there: np.ndarray) -> pa.Array:
        base = used if name == "crop" else used + n * per + (number - 1) * k * n
        local = at if name == "crop" else np.cumsum(there) - 1
        return _struct(there, where, (base + np.maximum(local, 0)) % total, _WHY[name], name != "crop")

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
            "crop": pictures("crop", 0, np.ones(n * per, bool)),
            **{kind: pictures(kind, i + 1, first_side) for i, kind in enumerate((*PROJECTIONS, "gradient_max"))},
            "occlusion": pictures("occlusion", 5, first_side & (rank < 1)),
            "evidence": _evidence(first_side & (rank < 3), rng),
            "duplicate_of": pa.array(np.roll(ids, 1), pa.int64(), mask=~(first_side & (rank == 4))),
        }
    )


_WHY = {
    "crop": "none",
    **dict.fromkeys((*PROJECTIONS, "gradient_max"), "side is not projected"),
    "occlusion": "not asked for",
}


def _evidence(there: np.ndarray, rng: np.random.Generator) -> pa.Array:
    absent = pa.array(~there)
    kinds = []
    for _ in PROJECTIONS:
        values = [pa.array(rng.random(len(there), np.float32)) for _ in schema.EVIDENCE]
        kinds.append(pa.StructArray.from_arrays(values, fields=list(schema.EVIDENCE), mask=absent))
    return pa.StructArray.from_arrays(kinds, fields=list(schema.EVIDENCES), mask=absent)


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
            fields=list(schema.BIN),
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
            fields=list(schema.TOP_CLASS),
        ),
    )
    trust = pa.StructArray.from_arrays(
        [
            pa.StructArray.from_arrays(
                [*(pa.array(rng.random(n, np.float32)) for _ in range(5)), pa.array(np.full(n, 3, np.int32))],
                fields=list(schema.TRUST),
            )
            for _ in PROJECTIONS
        ],
        fields=list(schema.TRUSTS),
    )
    quantiles = pa.StructArray.from_arrays(
        [pa.array(np.full(n, q * 20, np.float32)) for q in schema.QUANTILES], fields=list(schema.QUANTILE)
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
            "fires": rng.random(n),
            "dead": pa.array([False] * n if rectified else [None] * n, pa.bool_()),
            "why_max": pa.nulls(n, pa.string()),
            "why_min": pa.nulls(n, pa.string()),
            "quantiles": quantiles,
            "histogram": histogram,
            "top_classes": top_classes,
            "selectivity": pa.array(rng.random(n) if classes > 1 else [None] * n, pa.float32()),
            "trust": trust,
            "vector": vectors.cast(pa.list_(pa.float32())),
        }
    )


def _of_neurons(shape: Shape, each: int) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """Columns layer and channel, `each` rows a neuron, and the number of the row among them."""
    channels = [count for _, count in shape.layers]
    layer = np.repeat(np.repeat(np.arange(len(channels)), channels), each)
    channel = np.repeat(np.concatenate([np.arange(count) for count in channels]), each)
    names = pa.array([name for name, _ in shape.layers])
    column = pa.DictionaryArray.from_arrays(pa.array(layer), names).cast(pa.string())
    return column, channel, np.tile(np.arange(each), shape.neurons)


def _small(folder: Folder, shape: Shape, images: pa.Table, rng: np.random.Generator) -> dict[str, pa.Table]:
    """The other tables."""
    n = len(images)
    layer, channel, rank = _of_neurons(shape, 3)
    by = pa.DictionaryArray.from_arrays(pa.array(rank), pa.array(["code", "classes", "responses"])).cast(pa.string())
    other = [(name, c) for name, count in shape.layers[-2:] for c in range(min(count, 50))]
    pick = (channel * 5 + rank) % len(other)
    ids = images["image_id"].to_numpy()
    classes = len(shape.classes)
    return {
        "similar": pa.table(
            {
                "layer": layer,
                "channel": channel,
                "rank": np.zeros(len(rank), np.int32),
                "other_layer": pa.array([other[i][0] for i in pick]),
                "other_channel": [other[i][1] for i in pick],
                "by": by,
                "similarity": 0.9 - 0.1 * rank,
            }
        ),
        "near_misses": pa.table(
            {
                "layer": layer,
                "channel": channel,
                "rank": rank,
                "image_id": ids[(channel * 3 + rank) % n],
                "similarity": 0.8 - 0.1 * rank,
                "response": np.full(len(rank), -1.0),
            }
        ),
        "properties": pa.table(
            {
                "layer": layer,
                "channel": channel,
                "property": pa.DictionaryArray.from_arrays(pa.array(rank), pa.array(PROPERTIES)).cast(pa.string()),
                "association": rng.uniform(-1, 1, len(rank)),
                "n": np.full(len(rank), 10),
                "significant": rank == 0,
            }
        ),
        "classes": _profiles(shape, classes, rng),
        "map": pa.concat_tables([_map(ids, kind, rng) for kind in ("tsne", "pca")]),
        "quarantine": _quarantine(shape),
        "filters": _filters(folder, shape, rng),
        "sanity": pa.Table.from_pylist(
            [
                {
                    "layer": name,
                    "kind": kind,
                    "randomised": which,
                    "measure": "ssim absolute",
                    "neurons": 2,
                    "similarity": 0.5,
                }
                for name, _ in shape.layers
                for kind in PROJECTIONS
                for which in ("own", "cascade", "all")
            ],
            schema.SANITY,
        ),
    }


def _profiles(shape: Shape, classes: int, rng: np.random.Generator) -> pa.Table:
    layer, channel, class_id = _of_neurons(shape, max(classes, 1))
    keep = slice(0, len(channel) if classes else 0)
    return pa.table(
        {
            "layer": layer[keep],
            "channel": channel[keep],
            "class_id": class_id[keep],
            "mean": rng.random(len(channel))[keep],
            "share": rng.random(len(channel))[keep],
        }
    )


def _map(ids: np.ndarray, kind: str, rng: np.random.Generator) -> pa.Table:
    side = int(np.ceil(np.sqrt(len(ids))))
    grid = kind == "tsne"
    at = np.arange(len(ids))
    return pa.table(
        {
            "image_id": ids,
            "kind": pa.array([kind] * len(ids)),
            "x": rng.normal(size=len(ids)).astype(np.float32),
            "y": rng.normal(size=len(ids)).astype(np.float32),
            "grid_row": pa.array(at // side if grid else [None] * len(ids), pa.int32()),
            "grid_column": pa.array(at % side if grid else [None] * len(ids), pa.int32()),
        }
    )


def _quarantine(shape: Shape) -> pa.Table:
    ids = [0, *range(shape.images + 1, shape.images + shape.quarantined)][: shape.quarantined]
    rows = [
        {
            "image_id": i,
            "source": "/somewhere/photos",
            "key": f"bad-{i}.jpg",
            "reason": "truncated",
            "detail": "ends early",
        }
        for i in ids
    ]
    return pa.Table.from_pylist(rows, schema.QUARANTINE)


def _filters(folder: Folder, shape: Shape, rng: np.random.Generator) -> pa.Table:
    name = layout.pack("filters", 0)
    layer, channels = shape.layers[0]
    count = min(channels, 64)
    with folder.writing(layout.pack_path(name)) as stream:
        pack = PackWriter(stream, name)
        drawn = [pack.add(f"{c}.png", image_bytes(rng, 7, 7, "PNG")) for c in range(count)]
        pack.close()
    return pa.table(
        {
            "layer": pa.array([layer] * count),
            "channel": np.arange(count),
            "kind": pa.array(["weights"] * count),
            "picture": _column(drawn),
        }
    )


def _codes(folder: Folder, shape: Shape, images: pa.Table, rng: np.random.Generator) -> dict[str, Any]:
    """Codes, the index over them, and a response sample of ten images. Returns the index's part of atlas.json."""
    from atlas.codes import index

    n = len(images)
    codes = rng.normal(size=(n, shape.dimensions)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(codes.ravel()), shape.dimensions)
    to = schema.codes(shape.dimensions)
    tables.write_batches(
        folder, layout.part("codes", 0), to, [pa.table({"image_id": images["image_id"], "code": column})]
    )
    for number, (layer, channels) in enumerate(shape.layers):
        some = min(n, 10)
        to = schema.responses(channels)
        values = {
            side: pa.FixedSizeListArray.from_arrays(pa.array(rng.random(some * channels, np.float32)), channels)
            for side in ("max", "min")
        }
        ids = images["image_id"].slice(0, some)
        tables.write_batches(
            folder, layout.part("responses", number), to,
            [pa.table({"layer": pa.array([layer] * some), "image_id": ids, **values})],
        )  # fmt: skip
    return index.build(folder, Codes(folder), shape.seed)
