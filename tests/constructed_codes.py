"""An unsealed folder as the scan leaves it, of a network in numpy whose neurons are known.

Images have a code of five parts of which one is strong: its class. Maps are 1 x 1, so a neuron's largest and smallest
value are one. Layer `a`: channel 0..4 copy a part of the code (channel `c` detects class `c`), 5 is brightness, 6 is
constant, 7 is noise. Layer `b` is a permutation of `a`. Layer `c`: 0 is a negation of a:0, 1 is a:1 doubled.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from atlas.images import properties
from atlas.settings import Settings
from atlas.store import layout, parquet
from atlas.store.codes import unit
from atlas.store.files import Folder
from atlas.store.pictures import missing
from atlas.tables.codes import codes as codes_schema
from atlas.tables.columns import PICTURE
from atlas.tables.examples import EXAMPLES
from atlas.tables.neurons import responses as responses_schema
from atlas.types import Axis, Field, Layer

CLASSES = 5
DIMENSIONS = 12
PERMUTATION = (3, 0, 6, 1, 5, 2, 7, 4)
"""b:i is a:PERMUTATION[i]."""
K = 9


@dataclass(frozen=True)
class Constructed:
    """The folder, and what `stage.run` takes."""

    folder: Folder
    settings: Settings
    layers: list[Layer]
    neurons: pa.Table
    examples: pa.Table
    properties: pa.Table
    codes: npt.NDArray[np.float32]
    ids: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    responses: dict[str, npt.NDArray[np.float32]]
    sample: npt.NDArray[np.int64]


def make(
    path: Path,
    count: int = 300,
    seed: int = 0,
    *,
    half: bool = False,
    part: int = 128,
    twins: bool = False,
    **options: object,
) -> Constructed:
    """Writes the folder: image_ids are odd numbers, as if every other were quarantined. `twins`: the images that
    excite a:0 most are one photograph."""
    random = np.random.default_rng(seed)
    ids = np.arange(count, dtype=np.int64) * 2 + 1
    classes = random.integers(0, CLASSES, count)
    codes = np.abs(random.normal(0, 0.3, (count, DIMENSIONS)))
    codes[np.arange(count), classes] += 2 + random.random(count)
    if twins:
        codes[np.argsort(-codes[:, 0])[1:4]] = codes[np.argmax(codes[:, 0])]
    codes = codes.astype(np.float32)
    measured = random.random((count, len(properties.NAMES))).astype(np.float32)
    measured[:, properties.NAMES.index("hue")] *= 6
    measured[:, properties.NAMES.index("height")] = 7
    responses = _responses(codes, measured[:, 0], random)
    sample = np.sort(random.permutation(count)[: min(count, 200)])
    folder = Folder(str(path))
    _write(folder, ids, codes, classes, responses, sample, half, part)
    layers = [_layer(i, name, r.shape[1]) for i, (name, r) in enumerate(responses.items())]
    return Constructed(
        folder,
        Settings(images=("x",), network="x", out=str(path), **options),  # type: ignore[arg-type]
        layers,
        _neurons(responses),
        _examples(ids, responses),
        pa.table({"image_id": ids[sample], **dict(zip(properties.NAMES, measured[sample].T, strict=True))}),
        codes,
        ids,
        classes,
        responses,
        sample,
    )


def _responses(
    codes: npt.NDArray[np.float32], brightness: npt.NDArray[np.float32], random: np.random.Generator
) -> dict[str, npt.NDArray[np.float32]]:
    rest = [brightness * 3, np.ones(len(codes)), random.normal(size=len(codes))]
    a = np.concatenate([codes[:, :CLASSES], np.stack(rest, 1)], axis=1).astype(np.float32)
    return {"a": a, "b": a[:, list(PERMUTATION)], "c": np.stack([-a[:, 0], 2 * a[:, 1]], 1)}


def _layer(index: int, name: str, channels: int) -> Layer:
    axis = Axis(1, 1, 0)
    return Layer(index, name, "conv", channels, 1, 1, Field(axis, axis), True, name)


def vectors(values: npt.NDArray[np.floating], kind: pa.DataType) -> pa.Array:
    """A matrix as a fixed_size_list column."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)).cast(kind), values.shape[1])


def write_codes(
    folder: Folder, ids: npt.NDArray[np.int64], codes: npt.NDArray[np.float32], half: bool, part: int
) -> None:
    """Writes `codes/part-*.parquet` of at most `part` rows."""
    kind = pa.float16() if half else pa.float32()
    values = codes.astype(np.float16) if half else codes
    for number, start in enumerate(range(0, max(1, len(ids)), part)):
        rows = slice(start, start + part)
        table = pa.table({"image_id": ids[rows], "code": vectors(values[rows], kind)})
        parquet.write_batches(folder, layout.file_of("codes", number), codes_schema(codes.shape[1], half=half), [table])


def _write(
    folder: Folder,
    ids: npt.NDArray[np.int64],
    codes: npt.NDArray[np.float32],
    classes: npt.NDArray[np.int64],
    responses: dict[str, npt.NDArray[np.float32]],
    sample: npt.NDArray[np.int64],
    half: bool,
    part: int,
) -> None:
    write_codes(folder, ids, codes, half, part)
    count = len(ids)
    images = pa.table(
        {
            "image_id": ids,
            "source": ["s"] * count,
            "key": [f"{i}.png" for i in ids],
            "content": [bytes(32)] * count,
            "class_id": pa.array(classes, pa.int32()),
            "width": pa.array([32] * count, pa.int32()),
            "height": pa.array([32] * count, pa.int32()),
            "predicted": pa.array(classes, pa.int32()),
            "probability": pa.array([1.0] * count, pa.float32()),
            "thumbnail": pa.array([missing("none")] * count, PICTURE),
            "picture": pa.array([missing("none")] * count, PICTURE),
        }
    )
    parquet.write(folder, "images", images)
    present = np.unique(classes)
    rows = []
    for number, (name, values) in enumerate(responses.items()):
        table = pa.table(
            {
                "layer": [name] * len(sample),
                "image_id": ids[sample],
                "max": vectors(values[sample], pa.float32()),
                "min": vectors(values[sample], pa.float32()),
            }
        )
        parquet.write_batches(folder, layout.file_of("responses", number), responses_schema(values.shape[1]), [table])
        for channel in range(values.shape[1]):
            for c in present:
                of_class = values[classes == c, channel]
                rows.append((name, channel, int(c), float(of_class.mean()), float((of_class > 0).mean())))
    columns = dict(
        zip(("layer", "channel", "class_id", "mean", "share"), map(list, zip(*rows, strict=True)), strict=True)
    )
    parquet.write(folder, "classes", pa.table(columns))


def _neurons(responses: dict[str, npt.NDArray[np.float32]]) -> pa.Table:
    pairs = [(name, channel) for name, values in responses.items() for channel in range(values.shape[1])]
    return pa.table(
        {"layer": [layer for layer, _ in pairs], "channel": pa.array([channel for _, channel in pairs], pa.int32())}
    )


def _examples(ids: npt.NDArray[np.int64], responses: dict[str, npt.NDArray[np.float32]]) -> pa.Table:
    rows = []
    for name, values in responses.items():
        for channel, column in enumerate(values.T):
            if column.min() == column.max():
                continue
            for side, sign in (("max", -1), ("min", 1)):
                for rank, at in enumerate(np.argsort(sign * column, kind="stable")[:K]):
                    rows.append((name, channel, side, rank, int(ids[at]), float(column[at])))
    names = ("layer", "channel", "side", "rank", "image_id", "response")
    columns = list(map(list, zip(*rows, strict=True))) if rows else [[] for _ in names]
    found = pa.table(dict(zip(names, columns, strict=True)))
    types = [EXAMPLES.columns.field(name).type for name in names]
    return found.cast(pa.schema(list(zip(names, types, strict=True))))


def cosine(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """Cosine of two vectors."""
    return float(unit(a[None])[0] @ unit(b[None])[0])
