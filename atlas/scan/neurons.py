"""From the fold to tables: the rows of neurons and of classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from atlas.arrays import Flags, Floats
from atlas.errors import JobError
from atlas.scan import statistics
from atlas.scan.fold import Fold
from atlas.scan.references import References
from atlas.scan.statistics import ClassSums
from atlas.tables.neurons import BIN, CLASSES, NEURONS, QUANTILE, QUANTILES, TOP_CLASS
from atlas.types import Layer

TOP_CLASSES = 5
NOT_ASKED = "not among the neurons of its layer that examples were asked of (--neurons)"
AT_ONCE = 2048
"""Neurons whose class means are in memory at once; fixed, so that sums are made in one order."""


def neuron_rows(
    fold: Fold, layers: Sequence[Layer], sides: Sequence[str], references: References, asked: Flags
) -> pa.Table:
    """One row a neuron by the table `neurons`, without `vector`. `asked` (neurons,): those that may have examples.

    Raises `JobError` where nothing was scanned.
    """
    m = fold.moments
    if not m.images:
        raise JobError("no image could be used: all are in quarantine; see quarantine.parquet for the reasons")
    layer = np.repeat([entry.name for entry in layers], [entry.channels for entry in layers])
    channel = np.concatenate([np.arange(entry.channels, dtype=np.int32) for entry in layers])
    rectified = np.repeat([entry.rectified for entry in layers], [entry.channels for entry in layers])
    histograms, quantiles = _histograms(fold)
    dead = pa.array(m.active == 0, pa.bool_(), mask=~rectified)
    columns: dict[str, Any] = {
        "layer": layer,
        "channel": channel,
        "images": np.full(fold.neurons, m.images, np.int64),
        "mean": m.mean,
        "std": np.sqrt(m.m2 / m.images),
        "min": m.min_low,
        "max": m.max_high,
        "activation_rate": pa.array(m.active / m.images, mask=~rectified),
        "reference_max": references.high,
        "reference_min": references.low,
        "map_mean": m.map_total / m.images,
        "dead": dead,
        "why_max": _why("max", sides, m.max_high, m.max_low, m.images, asked),
        "why_min": _why("min", sides, m.min_high, m.min_low, m.images, asked),
        "quantiles": quantiles,
        "histogram": histograms,
        "top_classes": _top_classes(fold, rectified),
        "selectivity": pa.array(_selectivity(fold), pa.float32(), from_pandas=True),
    }
    absent = [f.name for f in NEURONS.columns if f.name not in columns]
    columns |= {name: pa.nulls(fold.neurons, NEURONS.columns.field(name).type) for name in absent}
    return pa.table([pa.array(columns[f.name], f.type) for f in NEURONS.columns], schema=NEURONS.columns)


def _why(side: str, sides: Sequence[str], high: Floats, low: Floats, images: int, asked: Flags) -> list[str | None]:
    if side not in sides:
        return [f"side {side} was not asked for"] * len(high)
    same = [f"all {images} responses are {h:.6g}" if h == lo else None for h, lo in zip(high, low, strict=True)]
    return [why if wanted else NOT_ASKED for why, wanted in zip(same, asked.tolist(), strict=True)]


def _histograms(fold: Fold) -> tuple[pa.Array, pa.Array]:
    pieces = [_histograms_of(fold, part) for part in _parts(fold)]
    return pa.concat_arrays([rows for rows, _ in pieces]), pa.concat_arrays([at for _, at in pieces])


def _histograms_of(fold: Fold, part: slice) -> tuple[pa.Array, pa.Array]:
    m = fold.moments
    histogram, low, high = fold.histogram[part], m.max_low[part], m.max_high[part]
    neuron, bins = np.nonzero(histogram)
    count = histogram[neuron, bins].astype(np.int64)
    left, right = statistics.edges_of(bins)
    left, right = np.maximum(left, low[neuron]), np.minimum(right, high[neuron])
    offsets = np.searchsorted(neuron, np.arange(len(histogram) + 1)).astype(np.int32)
    rows = pa.StructArray.from_arrays([pa.array(left), pa.array(right), pa.array(count)], fields=list(BIN))
    at = np.empty((len(histogram), len(QUANTILES)), np.float32)
    for i in range(len(histogram)):
        one = slice(offsets[i], offsets[i + 1])
        at[i] = statistics.quantiles(bins[one], count[one], QUANTILES, low[i], high[i])
    quantiles = pa.StructArray.from_arrays([pa.array(c) for c in at.T.copy()], fields=list(QUANTILE))
    return pa.ListArray.from_arrays(pa.array(offsets), rows), quantiles


def _class_mean(sums: ClassSums, total: NDArray[Any], part: slice) -> NDArray[np.float64]:
    """(classes that occur, neurons of the part)."""
    return np.asarray(total[:, part] / sums.images[:, None])


def _parts(fold: Fold) -> Iterator[slice]:
    """Some neurons at a time: class means of all of them are as large as the fold."""
    return (slice(start, min(start + AT_ONCE, fold.neurons)) for start in range(0, fold.neurons, AT_ONCE))


def _top_classes(fold: Fold, rectified: Flags) -> pa.Array:
    sums = fold.classes
    count = min(TOP_CLASSES, len(sums.classes))
    pieces = []
    for part in _parts(fold):
        mean, share = _class_mean(sums, sums.total, part), _class_mean(sums, sums.active, part)
        order = np.argsort(-mean, axis=0, kind="stable")[:count].T  # (neurons, count)
        neuron = np.arange(mean.shape[1])[:, None]
        columns = [
            pa.array(sums.classes[order].reshape(-1), pa.int32()),
            pa.array(mean[order, neuron].reshape(-1), pa.float32()),
            pa.array(share[order, neuron].reshape(-1), pa.float32(), mask=np.repeat(~rectified[part], count)),
        ]
        pieces.append(pa.StructArray.from_arrays(columns, fields=list(TOP_CLASS)))
    values = pa.concat_arrays(pieces)
    return pa.ListArray.from_arrays(pa.array(np.arange(fold.neurons + 1, dtype=np.int32) * count), values)


def _selectivity(fold: Fold) -> Floats:
    sums = fold.classes
    return np.concatenate(
        [statistics.selectivity(_class_mean(sums, sums.rectified, part), sums.images) for part in _parts(fold)]
    )


def class_rows(fold: Fold, layers: Sequence[Layer]) -> Iterator[pa.Table]:
    """The class profile, a table a layer, by the table `classes`: channels ascend, and classes within a channel."""
    sums = fold.classes
    classes = sums.classes.astype(np.int32)
    start = 0
    for layer in layers:
        part = slice(start, start + layer.channels)
        start += layer.channels
        count = layer.channels * len(classes)
        mean, share = _class_mean(sums, sums.total, part), _class_mean(sums, sums.active, part)
        yield pa.table(
            [
                pa.array([layer.name] * count, pa.string()),
                pa.array(np.repeat(np.arange(layer.channels, dtype=np.int32), len(classes))),
                pa.array(np.tile(classes, layer.channels)),
                pa.array(mean.T.astype(np.float32).reshape(-1)),
                pa.array(share.T.astype(np.float32).reshape(-1)) if layer.rectified else pa.nulls(count, pa.float32()),
            ],
            schema=CLASSES.columns,
        )
