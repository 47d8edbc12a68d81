"""Constructed atlases: sealed folders of any size with known numbers and real tiny pictures, made in no time.

The numbers obey the contract (ranks in order, boxes from fields, images counted); they come from no network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from atlas.explain.kinds import SHOWN
from atlas.store import layout, parquet, seal
from atlas.store.codes import Codes
from atlas.store.files import Folder
from atlas.store.pictures import PackWriter, Picture
from atlas.tables import codes as code_tables
from atlas.tables import neurons as neuron_tables
from atlas.tables.columns import PICTURE
from atlas.tables.images import QUARANTINE
from atlas.tables.network import AXIS, LAYERS, SANITY
from tests.constructed_neurons import CROP, field_of, image_bytes, neurons_and_examples

PROPERTIES = ("brightness", "contrast", "hue")


@dataclass(frozen=True)
class Shape:
    """What to make. `layers`: (name, channels). `k` examples for max and min, ten for spread.

    `classes`: none makes images without classes; `predictions=False` a network without them. `without`: optional tables
    that are left out. `kinds`: of pictures that are drawn, the first three of them tested.
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
    predictions: bool = True
    without: tuple[str, ...] = ()
    kinds: tuple[str, ...] = SHOWN
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
    parquet.write(folder, "layers", _layers(shape))
    counts["examples"] = neurons_and_examples(folder, shape, images, rng)
    for name, table in _small(folder, shape, images, rng).items():
        if name not in shape.without:
            parquet.write(folder, name, table)
    index = _codes(folder, shape, images, rng)
    folder.put(layout.state(0), b"")
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
        "accuracy": {"top1": 0.5, "images": shape.images} if shape.classes and shape.predictions else None,
        "counts": counts,
        "map": {"pca_explained_variance": [0.5, 0.25]},
        "created": "2026-01-01T00:00:00+00:00",
        "timings": {"scan": 1.0},
        "versions": {"neuron-atlas": "0.1.0"},
    }


def _column(values: Sequence[Picture]) -> pa.Array:
    return pa.array(list(values), PICTURE)


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
    absent = [{**dict.fromkeys(PICTURE.names), "why": "not drawn"}] * (n - drawn)
    known = bool(shape.classes)
    table = pa.table(
        {
            "image_id": ids,
            "source": pa.array(["/somewhere/photos"] * n),
            "key": pa.array([f"{c:03d}/{i}.jpg" for i, c in zip(ids.tolist(), class_id.tolist(), strict=True)]),
            "content": pa.array([hashlib.sha256(b"%d" % i).digest() for i in ids.tolist()], pa.binary()),
            "class_id": pa.array(class_id if known else [None] * n, pa.int32()),
            "class_name": pa.array([shape.classes[c] for c in class_id] if known else [None] * n, pa.string()),
            "width": width,
            "height": height,
            "predicted": pa.array(predicted if shape.predictions else [None] * n, pa.int32()),
            "probability": pa.array(rng.random(n) if shape.predictions else [None] * n, pa.float32()),
            "loss": pa.array(rng.random(n) if known and shape.predictions else [None] * n, pa.float32()),
            "thumbnail": _column(thumbnails + absent),
            "picture": _column(pictures + absent),
        }
    )
    parquet.write(folder, "images", table)
    return table


def _both(value: int) -> dict[str, int]:
    return {"y": value, "x": value}


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
                "tokens": False,
                "prefix_tokens": 0,
                "global_field": False,
                "gated": False,
                "rectified": not last,
                "normalised": f"{name}.bn" if index == 0 else None,
                "axis": {f.name: float(rng.random()) for f in AXIS},
            }
        )
    return pa.Table.from_pylist(rows, LAYERS.columns)


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
                for kind in shape.kinds[:3]
                for which in ("own", "cascade", "all")
            ],
            SANITY.columns,
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
    return pa.Table.from_pylist(rows, QUARANTINE.columns)


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
    to = code_tables.codes(shape.dimensions)
    parquet.write_batches(
        folder, layout.file_of("codes", 0), to, [pa.table({"image_id": images["image_id"], "code": column})]
    )
    for number, (layer, channels) in enumerate(shape.layers):
        some = min(n, 10)
        to = neuron_tables.responses(channels)
        values = {
            side: pa.FixedSizeListArray.from_arrays(pa.array(rng.random(some * channels, np.float32)), channels)
            for side in ("max", "min")
        }
        ids = images["image_id"].slice(0, some)
        parquet.write_batches(
            folder, layout.file_of("responses", number), to,
            [pa.table({"layer": pa.array([layer] * some), "image_id": ids, **values})],
        )  # fmt: skip
    return index.build(folder, Codes(folder), shape.seed)
