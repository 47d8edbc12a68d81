"""From the fold to tables: the rows of neurons and classes, and the winners of every side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from atlas.arrays import Floats, Ints
from atlas.errors import JobError
from atlas.scan import statistics
from atlas.scan.fold import Fold
from atlas.store import schema
from atlas.types import Layer

TOP_CLASSES = 5
AT_ONCE = 2048
"""Neurons whose class means are in memory at once; fixed, so that sums are made in one order."""
SPREAD = 10
"""Examples of side spread: the middle image of each tenth of the response sample."""

WINNERS = pa.schema(
    [
        ("neuron", pa.int32()),  # counted over all layers
        ("side", pa.string()),
        ("rank", pa.int32()),
        ("image_id", pa.int64()),
        ("response", pa.float32()),
    ]
)


def neuron_rows(fold: Fold, layers: Sequence[Layer], sides: Sequence[str]) -> pa.Table:
    """One row a neuron by `schema.NEURONS`, without trust and vector. Raises `JobError` where nothing was scanned."""
    m = fold.moments
    if m is None or not m.images:
        raise JobError("no image could be used: all are in quarantine; see quarantine.parquet for the reasons")
    layer = np.repeat([entry.name for entry in layers], [entry.channels for entry in layers])
    channel = np.concatenate([np.arange(entry.channels, dtype=np.int32) for entry in layers])
    rectified = np.repeat([entry.rectified for entry in layers], [entry.channels for entry in layers])
    histograms, quantiles = _histograms(fold)
    dead = pa.array(m.fires == 0, pa.bool_(), mask=~rectified)
    columns: dict[str, Any] = {
        "layer": layer,
        "channel": channel,
        "images": np.full(fold.neurons, m.images, np.int64),
        "mean": m.mean,
        "std": np.sqrt(m.m2 / m.images),
        "min": m.min_low,
        "max": m.max_high,
        "fires": m.fires / m.images,
        "dead": dead,
        "why_max": _why("max", sides, m.max_high, m.max_low, m.images),
        "why_min": _why("min", sides, m.min_high, m.min_low, m.images),
        "quantiles": quantiles,
        "histogram": histograms,
        "top_classes": _top_classes(fold),
        "selectivity": pa.array(_selectivity(fold), pa.float32(), from_pandas=True),
    }
    absent = [f.name for f in schema.NEURONS if f.name not in columns]
    columns |= {name: pa.nulls(fold.neurons, schema.NEURONS.field(name).type) for name in absent}
    return pa.table([pa.array(columns[f.name], f.type) for f in schema.NEURONS], schema=schema.NEURONS)


def _why(side: str, sides: Sequence[str], high: Floats, low: Floats, images: int) -> list[str | None]:
    if side not in sides:
        return [f"side {side} was not asked for"] * len(high)
    return [f"all {images} responses are {h:.6g}" if h == lo else None for h, lo in zip(high, low, strict=True)]


def _histograms(fold: Fold) -> tuple[pa.Array, pa.Array]:
    pieces = [_histograms_of(fold, part) for part in _parts(fold)]
    return pa.concat_arrays([rows for rows, _ in pieces]), pa.concat_arrays([at for _, at in pieces])


def _histograms_of(fold: Fold, part: slice) -> tuple[pa.Array, pa.Array]:
    m = fold.moments
    assert m is not None
    histogram, low, high = fold.histogram[part], m.max_low[part], m.max_high[part]
    neuron, bins = np.nonzero(histogram)
    count = histogram[neuron, bins].astype(np.int64)
    left, right = statistics.edges_of(bins)
    left, right = np.maximum(left, low[neuron]), np.minimum(right, high[neuron])
    offsets = np.searchsorted(neuron, np.arange(len(histogram) + 1)).astype(np.int32)
    rows = pa.StructArray.from_arrays([pa.array(left), pa.array(right), pa.array(count)], fields=list(schema.BIN))
    at = np.empty((len(histogram), len(schema.QUANTILES)), np.float32)
    for i in range(len(histogram)):
        one = slice(offsets[i], offsets[i + 1])
        at[i] = statistics.quantiles(bins[one], count[one], schema.QUANTILES, low[i], high[i])
    quantiles = pa.StructArray.from_arrays([pa.array(c) for c in at.T.copy()], fields=list(schema.QUANTILE))
    return pa.ListArray.from_arrays(pa.array(offsets), rows), quantiles


def _class_mean(fold: Fold, total: NDArray[Any], part: slice) -> NDArray[np.float64]:
    """(classes that occur, neurons of the part)."""
    present = fold.class_images > 0
    return np.asarray(total[present, part] / fold.class_images[present, None])


def _parts(fold: Fold) -> Iterator[slice]:
    """Some neurons at a time: class means of all of them are as large as the fold."""
    return (slice(start, min(start + AT_ONCE, fold.neurons)) for start in range(0, fold.neurons, AT_ONCE))


def _top_classes(fold: Fold) -> pa.Array:
    classes = np.flatnonzero(fold.class_images)
    count = min(TOP_CLASSES, len(classes))
    pieces = []
    for part in _parts(fold):
        mean, share = _class_mean(fold, fold.class_total, part), _class_mean(fold, fold.class_fires, part)
        order = np.argsort(-mean, axis=0, kind="stable")[:count].T  # (neurons, count)
        neuron = np.arange(mean.shape[1])[:, None]
        columns = [
            pa.array(classes[order].reshape(-1), pa.int32()),
            pa.array(mean[order, neuron].reshape(-1), pa.float32()),
            pa.array(share[order, neuron].reshape(-1), pa.float32()),
        ]
        pieces.append(pa.StructArray.from_arrays(columns, fields=list(schema.TOP_CLASS)))
    values = pa.concat_arrays(pieces)
    return pa.ListArray.from_arrays(pa.array(np.arange(fold.neurons + 1, dtype=np.int32) * count), values)


def _selectivity(fold: Fold) -> Floats:
    images = fold.class_images[fold.class_images > 0]
    return np.concatenate(
        [statistics.selectivity(_class_mean(fold, fold.class_rectified, part), images) for part in _parts(fold)]
    )


def class_rows(fold: Fold, layers: Sequence[Layer]) -> Iterator[pa.Table]:
    """The class profile, a table a layer, by `schema.CLASSES`: channels ascend, and classes within a channel."""
    classes = np.flatnonzero(fold.class_images).astype(np.int32)
    start = 0
    for layer in layers:
        part = slice(start, start + layer.channels)
        start += layer.channels
        count = layer.channels * len(classes)
        mean, share = _class_mean(fold, fold.class_total, part), _class_mean(fold, fold.class_fires, part)
        yield pa.table(
            [
                pa.array([layer.name] * count, pa.string()),
                pa.array(np.repeat(np.arange(layer.channels, dtype=np.int32), len(classes))),
                pa.array(np.tile(classes, layer.channels)),
                pa.array(mean.T.astype(np.float32).reshape(-1)),
                pa.array(share.T.astype(np.float32).reshape(-1)),
            ],
            schema=schema.CLASSES,
        )


def winners_of(fold: Fold, sides: Sequence[str]) -> pa.Table:
    """Winners of sides max and min; a side on which all responses are equal has none."""
    m = fold.moments
    assert m is not None
    tables = []
    for side, (response, image_id), equal in (
        ("max", fold.strongest, m.max_high == m.max_low),
        ("min", fold.weakest, m.min_high == m.min_low),
    ):
        if side in sides:
            neuron, rank = np.nonzero((image_id >= 0) & ~equal[:, None])
            tables.append(_winners(neuron, side, rank, image_id[neuron, rank], response[neuron, rank]))
    return pa.concat_tables([WINNERS.empty_table(), *tables])


def spread_of(high: Floats, image_ids: Ints, first_neuron: int) -> pa.Table:
    """Winners of side spread from the response sample: `high` (images, neurons of a layer), `image_ids` ascending.

    The sample is ordered by response (ties to the smaller image_id) and cut into tenths; the middle one of each is an
    example, the strongest tenth first. A sample of fewer than ten images gives each of them once.
    """
    images = len(high)
    order = np.argsort(-high, axis=0, kind="stable")  # (images, neurons), strongest first
    tenths = min(SPREAD, images)
    bounds = (np.arange(tenths + 1) * images) // max(tenths, 1)
    middle = ((bounds[:-1] + bounds[1:] - 1) // 2).astype(np.int64)
    differs = np.flatnonzero(high.max(axis=0) > high.min(axis=0)) if images else np.zeros(0, np.int64)
    chosen = order[middle][:, differs]  # (tenths, neurons that differ)
    neuron = np.repeat(differs, tenths)
    rank = np.tile(np.arange(tenths), len(differs))
    image = chosen.T.reshape(-1)
    return _winners(neuron + first_neuron, "spread", rank, image_ids[image], high[image, neuron])


def _winners(neuron: Ints, side: str, rank: Ints, image_id: Ints, response: Floats) -> pa.Table:
    columns = [
        pa.array(neuron, pa.int32()),
        pa.array([side] * len(neuron), pa.string()),
        pa.array(rank, pa.int32()),
        pa.array(image_id, pa.int64()),
        pa.array(response, pa.float32()),
    ]
    return pa.table(columns, schema=WINNERS)
